"""Command line: python -m tfds_sdss build | verify | resemblance."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import logging
import pathlib
import sys

from tfds_sdss import build
from tfds_sdss import catalog
from tfds_sdss import verify

_EXAMPLES = """\
examples:
  python -m tfds_sdss build sdss_metallicity/mock
  python -m tfds_sdss build sdss_metallicity/demo500 --manual_dir=FOLDER
  python -m tfds_sdss verify sdss_metallicity/demo500

exit status: 0 success, 1 verify found problems, 2 the command could not be
carried out (its message starts with "error:"), 130 interrupted.
"""


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog="python -m tfds_sdss",
    description="Builds and checks the samples of galaxies.",
    epilog=_EXAMPLES,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  commands = parser.add_subparsers(dest="command", required=True)
  samples = " or ".join(f"{build.DATASET}/{name}" for name in build.CONFIGS)
  for name, summary in (
    ("build", "build a sample; nothing happens if it is there already"),
    ("verify", "read a built sample from end to end and report its faults"),
  ):
    command = commands.add_parser(name, help=summary, description=summary)
    command.add_argument("sample", help=samples)
    command.add_argument(
      "--data_dir",
      help="where TFDS keeps its data (default: $TFDS_DATA_DIR, or "
      "~/tensorflow_datasets)",
    )
    if name == "build":
      command.add_argument(
        "--manual_dir",
        help="for demo500: the unpacked archive, with catalogs/, train/ and "
        "test/ in it (default: download it)",
      )
  summary = "compare the mock galaxies with real ones"
  command = commands.add_parser(
    "resemblance", help=summary, description=summary
  )
  for flag, text in (
    ("--real", "folder of the real galaxies, laid out as for --manual_dir"),
    ("--out", "folder for the figure and the table"),
  ):
    command.add_argument(flag, required=True, type=pathlib.Path, help=text)
  return parser


def main(argv: Sequence[str] | None = None) -> int:
  """Runs one command and returns its exit status."""
  args = _parser().parse_args(argv)
  # What the modules log, without the chatter of TFDS's own logger.
  handler = logging.StreamHandler()
  handler.setFormatter(logging.Formatter("%(message)s"))
  log = logging.getLogger("tfds_sdss")
  log.addHandler(handler)
  log.setLevel(logging.INFO)
  log.propagate = False
  try:
    return _run(args)
  except (catalog.DataError, build.UnknownConfigError, OSError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print("error: interrupted", file=sys.stderr)
    return 130
  finally:
    log.removeHandler(handler)
    log.propagate = True


def _run(args: argparse.Namespace) -> int:
  if args.command == "build":
    build.build(args.sample, args.data_dir, args.manual_dir)
    return 0
  if args.command == "verify":
    report = verify.verify(args.sample, args.data_dir)
    print(report)
    return 1 if report.problems else 0
  # Here, since the other commands need nothing of what it imports.
  from tfds_sdss import resemblance

  print(resemblance.compare(args.real, args.out).to_string())
  return 0


if __name__ == "__main__":
  sys.exit(main())
