"""The commands of python -m tfds_sdss: fetch, build and verify."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import dataclasses
import logging
import sys

from tfds_sdss import beam_shards
from tfds_sdss import build
from tfds_sdss import files
from tfds_sdss import staging
from tfds_sdss import verify
from tfds_sdss.errors import DataError
from tfds_sdss.fetch import cutouts
from tfds_sdss.fetch import request
from tfds_sdss.own import build as own_build
from tfds_sdss.own import options
from tfds_sdss.own import user_tables

_EXAMPLES = """\
examples:
  python -m tfds_sdss fetch --source=dr17 --out=STAGING --contact=ME@EXAMPLE.ORG
  python -m tfds_sdss build sdss_metallicity/dr17 --staging=STAGING
  python -m tfds_sdss verify sdss_metallicity/dr17
  python -m tfds_sdss build sdss_metallicity/custom --name=mine \\
      --catalog=mine.fits --images=cutouts --bands=i,r,g --pixel_scale=0.396 \\
      --columns=id=ID,image=FILE,oh_p50=OH

Every command can be interrupted and repeated: fetch resumes, build starts
again, and a sample that is already built is not changed.

exit status: 0 success; 1 verify found problems, or fetch lost more images than
--max_loss; 2 the command failed (its message starts with "error:");
128 + n stopped by signal n (INT, TERM, HUP or USR1).
"""


_CUSTOM = (build.CUSTOM, f"{build.DATASET}/{build.CUSTOM}")
_CUSTOM_FLAGS = (
  ("catalog", str, "table of galaxies: CSV, ECSV, FITS, VOTable or Parquet"),
  ("images", str, "folder of their RGB images, JPEG or PNG of one size"),
  (
    "columns",
    str,
    "columns of the table, NAME=COLUMN separated by commas: id, image (name of "
    "the file) and one or more to predict, such as oh_p50=LABEL; ra and dec, "
    "in degrees, keep neighbours in one split",
  ),
  ("bands", str, "bands of the images' red, green and blue, such as i,r,g"),
  ("pixel_scale", float, "size of a pixel, arcsec"),
  (
    "field_r90",
    float,
    "instead of --pixel_scale: width of an image in petroR90_r of its galaxy",
  ),
  (
    "ranges",
    str,
    "valid values, NAME=LOW:HIGH separated by commas (default: any number)",
  ),
  ("name", str, f"name of the sample (default: {build.CUSTOM})"),
)


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog="python -m tfds_sdss",
    description="Fetches, builds and verifies samples of galaxies.",
    epilog=_EXAMPLES,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  commands = parser.add_subparsers(dest="command", required=True)
  _add_fetch(commands)
  names = (*build.CONFIGS, build.CUSTOM)
  samples = " or ".join(f"{build.DATASET}/{name}" for name in names)
  for name, summary in (
    ("build", "build a sample, unless it is already built"),
    ("verify", "read a built sample completely and report its faults"),
  ):
    command = commands.add_parser(name, help=summary, description=summary)
    command.add_argument("sample", help=samples)
    command.add_argument(
      "--data_dir",
      help="data directory of TFDS (default: $TFDS_DATA_DIR, or "
      "~/tensorflow_datasets)",
    )
    if name == "build":
      _add_build(command)
      _add_custom(command)
  return parser


def _add_fetch(commands) -> None:
  summary = "fetch a sample into a staging folder, or resume a fetch"
  command = commands.add_parser("fetch", help=summary, description=summary)
  defaults = {f.name: f.default for f in dataclasses.fields(request.Request)}
  add = command.add_argument
  add("--source", required=True, choices=request.SOURCES)
  add("--out", required=True, help="staging folder")
  add("--contact", help="your e-mail address, for the service's operators")
  add("--base_url", help="address of the service, if it has moved")
  for flag, kind, text in (
    ("rate", float, "maximum requests per second (default: %(default)s)"),
    ("connections", int, "parallel requests, 1 to 4 (default: %(default)s)"),
    ("limit", int, "maximum number of galaxies, for a trial"),
    (
      "max_loss",
      float,
      "largest accepted fraction of galaxies without an image "
      "(default: %(default)s)",
    ),
  ):
    add(f"--{flag}", type=kind, default=defaults[flag], help=text)
  add(
    "--field",
    choices=cutouts.FIELDS,
    default=defaults["field"],
    help="width of a dr17 or dr14 image: 5.05 petroR90_r (petro, the default, "
    "as in the paper) or 37.9 arcsec (fixed)",
  )


def _add_build(command: argparse.ArgumentParser) -> None:
  add = command.add_argument
  add(
    "--staging",
    "--manual_dir",
    dest="staging",
    help="folder filled by fetch; for demo500 also the unpacked archive, with "
    "catalogs/, train/ and test/ in it (default: download it)",
  )
  add(
    "--max_loss",
    type=float,
    default=staging.MAX_LOSS,
    help="largest accepted fraction of galaxies without an image "
    "(default: %(default)s)",
  )
  add(
    "--beam_runner",
    help="build with Apache Beam: DirectRunner, FlinkRunner, SparkRunner or "
    "DataflowRunner",
  )
  add(
    "--beam_options",
    help="options of Beam, NAME=VALUE separated by commas, such as "
    "direct_num_workers=2,direct_running_mode=multi_processing",
  )
  add(
    "--file_format",
    choices=("array_record", "tfrecord"),
    help="tfrecord for tfds.load; needs TensorFlow (default: array_record)",
  )


def _add_custom(command: argparse.ArgumentParser) -> None:
  group = command.add_argument_group(f"galaxies of your own ({_CUSTOM[1]})")
  for flag, kind, text in _CUSTOM_FLAGS:
    group.add_argument(f"--{flag}", type=kind, help=text)


def _own_options(args: argparse.Namespace) -> options.Request:
  _refuse_flags(args, ["staging"], "of a fetched sample is")
  absent = [
    f"--{flag}"
    for flag in ("catalog", "images", "columns", "bands")
    if not getattr(args, flag)
  ]
  if absent:
    raise DataError(
      f"{_CUSTOM[1]} needs {', '.join(absent)}. See python -m tfds_sdss build "
      "--help."
    )
  return options.Request(
    files.local_path(args.catalog, "--catalog"),
    files.local_path(args.images, "--images"),
    user_tables.parse_columns(args.columns),
    tuple(band.strip() for band in args.bands.split(",")),
    args.pixel_scale,
    args.field_r90,
    options.parse_ranges(args.ranges or ""),
  )


def _refuse_flags(
  args: argparse.Namespace, flags: Sequence[str], what: str
) -> None:
  given = [f"--{flag}" for flag in flags if getattr(args, flag) is not None]
  if given:
    raise build.UnknownConfigError(
      f"{', '.join(given)} {what} not an option of {args.sample}. Omit it, or "
      f"build {_CUSTOM[1]}."
    )


def run(argv: Sequence[str] | None = None) -> int:
  """Runs one command and returns its exit status."""
  args = _parser().parse_args(argv)
  # Shows this package's messages without those of TFDS's logger.
  handler = logging.StreamHandler()
  handler.setFormatter(logging.Formatter("%(message)s"))
  log = logging.getLogger("tfds_sdss")
  log.addHandler(handler)
  log.setLevel(logging.INFO)
  log.propagate = False
  try:
    return _run(args)
  except (
    DataError,
    build.UnknownConfigError,
    beam_shards.BeamError,
    OSError,
  ) as error:
    message = files.describe(error) if isinstance(error, OSError) else error
    print(f"error: {message}", file=sys.stderr)
    return 2
  finally:
    log.removeHandler(handler)
    log.setLevel(logging.NOTSET)
    log.propagate = True


def _run(args: argparse.Namespace) -> int:
  if args.command == "fetch":
    # A slow import, which the other commands do not need.
    from tfds_sdss.fetch import fetch

    options = vars(args)
    del options["command"]
    options["out"] = files.local_path(args.out, "--out")
    outcome = fetch.fetch(request.Request(**options))
    print(outcome)
    if outcome.is_success:
      return 0
    print(
      f"error: expected at most {args.max_loss:.2%} lost. The failures are in "
      f"{args.out}/failed.csv. Repeat the command to retry those that are not "
      "permanent, or raise --max_loss.",
      file=sys.stderr,
    )
    return 1
  if args.command == "build" and args.sample in _CUSTOM:
    own_build.build(
      _own_options(args),
      args.name or build.CUSTOM,
      args.data_dir,
      max_loss=args.max_loss,
      beam_runner=args.beam_runner,
      beam_options=args.beam_options,
      file_format=args.file_format,
    )
    return 0
  if args.command == "build":
    _refuse_flags(args, [flag for flag, _, _ in _CUSTOM_FLAGS], "is")
    build.build(
      args.sample,
      args.data_dir,
      args.staging,
      max_loss=args.max_loss,
      beam_runner=args.beam_runner,
      beam_options=args.beam_options,
      file_format=args.file_format,
    )
    return 0
  report = verify.verify(args.sample, args.data_dir)
  print(report)
  return 1 if report.problems else 0
