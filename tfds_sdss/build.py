"""Builds and loads the samples of `sdss_metallicity`."""

from __future__ import annotations

import difflib
import logging
import pathlib
import re
import shlex

import tensorflow_datasets as tfds

from tfds_sdss import features
from tfds_sdss import files
from tfds_sdss import origin
from tfds_sdss import prepare
from tfds_sdss import staging
from tfds_sdss.prepare import UnknownConfigError
from tfds_sdss.sdss_metallicity import sdss_metallicity_dataset_builder

DATASET = "sdss_metallicity"
_Builder = sdss_metallicity_dataset_builder.Builder
CONFIGS = tuple(config.name for config in _Builder.BUILDER_CONFIGS)
# Name on the command line, and the default name of a sample of one's own.
CUSTOM = "custom"
# Samples without catalog.parquet.
WITHOUT_CATALOG = ("mock", "mock_pretrain", "demo500")
# Samples built from a staging folder.
STAGED = tuple(
  config.name for config in _Builder.BUILDER_CONFIGS if config.columns
)

# Names of the users' samples.
OWN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")

HOW_TO_BUILD_OWN = (
  f"python -m tfds_sdss build {DATASET}/{CUSTOM} --name=NAME --catalog=TABLE "
  "--images=FOLDER ... (docs/data.md)"
)

_log = logging.getLogger(__name__)


class DatasetNotBuiltError(FileNotFoundError):
  """The sample is absent from the data directory, or incomplete."""


def build(
  config_name: str,
  data_dir: str | None = None,
  manual_dir: str | None = None,
  *,
  max_loss: float = staging.MAX_LOSS,
  beam_runner: str | None = None,
  beam_options: str | None = None,
  file_format: str | None = None,
) -> tfds.core.DatasetBuilder:
  """Builds a sample unless it already exists.

  If another process builds the same sample and finishes first, its sample is
  used.

  Args:
    config_name: one of `CONFIGS`, with or without `sdss_metallicity/`.
    data_dir: data directory of TFDS; by default $TFDS_DATA_DIR, or
      ~/tensorflow_datasets.
    manual_dir: staging folder of dr17, dr14 or zenodo; unpacked archive of
      demo500, which is downloaded by default.
    max_loss: largest accepted fraction of a staging folder's galaxies without
      an image.
    beam_runner: name of an Apache Beam runner; by default the runner in
      `beam_options`. If both are None, this process writes the shards.
    beam_options: Beam's options, such as
      `direct_num_workers=2,direct_running_mode=multi_processing`.
    file_format: file format of TFDS; None for ArrayRecord. `tfrecord` needs
      TensorFlow.

  Returns:
    The builder, ready for `as_data_source()` if it is in ArrayRecord.

  Raises:
    UnknownConfigError: if the name is unknown, the sample accepts no
      manual_dir, or it exists in another file format.
    AnotherSourceError: if the sample exists and manual_dir holds other
      galaxies.
    DataError: if an image, a label, a catalogue, the staging folder or max_loss
      is invalid, a path is not local, or too many galaxies lack an image.
    OSError: if the archive of demo500 cannot be downloaded, or manual_dir does
      not contain it.
    DatasetNotBuiltError: if a part of the sample has been deleted.
    BeamError: if Apache Beam is requested but not installed.
  """
  name = _check_name(config_name)
  staging.check_max_loss(max_loss)
  if manual_dir is not None:
    manual_dir = str(_check_manual_dir(name, manual_dir))
  root = data_dir_of(data_dir)
  prepare.check_format(file_format)
  builder = _Builder(config=name, data_dir=root, max_loss=max_loss)
  # TFDS considers any existing folder a complete build.
  if not builder.data_path.exists():
    if name in STAGED and manual_dir is None:
      raise staging.StagingError(
        f"{DATASET}/{name} is built from a staging folder, and none is given. "
        + _how_to_build(name, data_dir)
      )
    config = prepare.download_config(beam_runner, beam_options, manual_dir)
    if prepare.write(builder, config, file_format):
      manual_dir = None  # no need to compare it
  built = load(name, str(root), manual_dir)
  prepare.report(built, file_format)
  return built


def load(
  config_name: str,
  data_dir: str | None = None,
  manual_dir: str | None = None,
) -> tfds.core.DatasetBuilder:
  """Returns the builder of the newest version of a built sample.

  Args:
    config_name: one of `CONFIGS`, with or without `sdss_metallicity/`.
    data_dir: data directory of TFDS, see `build`.
    manual_dir: folder whose galaxies the sample must have, see `build`; None
      for a sample from any source.

  Raises:
    UnknownConfigError: if no sample has this name, or it has no manual_dir.
    DatasetNotBuiltError: if the sample is absent or incomplete.
    AnotherSourceError: if the sample was built from other galaxies than those
      of manual_dir.
    DataError: if manual_dir is not a folder for this sample.
  """
  root = data_dir_of(data_dir)
  name = _check_name(config_name, root)
  folder = root / DATASET / name
  versions = [
    path for path in folder.glob("*") if tfds.core.Version.is_valid(path.name)
  ]
  if not versions:
    raise DatasetNotBuiltError(
      f"expected {DATASET}/{name} in {folder}, found no version of it. "
      + _how_to_build(name, data_dir)
    )
  newest = max(versions, key=lambda path: tfds.core.Version(path.name))
  remedy = (
    f"Delete that folder and build again. {_how_to_build(name, data_dir)}"
  )
  try:
    builder = features.open_builder(newest)
    shards = [
      pathlib.Path(path)
      for split in builder.info.splits.values()
      for path in split.filepaths
    ]
  # The parsers of TFDS and protobuf have no common error class.
  except Exception as error:
    reason = " ".join(str(error).split()).rstrip(".")
    raise DatasetNotBuiltError(
      f"{newest} cannot be read: {reason}. {remedy}"
    ) from error
  absent = [path.name for path in shards if not path.is_file()]
  if absent or not shards:
    raise DatasetNotBuiltError(
      f"{newest} is incomplete: expected {len(shards)} shards, absent "
      f"{', '.join(absent) or 'all'}. {remedy}"
    )
  if manual_dir is not None:
    source = _check_manual_dir(name, manual_dir)
    digest = sdss_metallicity_dataset_builder.digest_of_source(name, source)
    origin.check(newest, source, digest)
  return builder


def own_names(root: pathlib.Path) -> tuple[str, ...]:
  """Returns the names of the user's samples in a data directory."""
  try:
    found = [path.name for path in (root / DATASET).iterdir() if path.is_dir()]
  except OSError:
    found = []
  return tuple(
    sorted(n for n in found if OWN_NAME.fullmatch(n) and n not in CONFIGS)
  )


def _check_name(name: str, root: pathlib.Path | None = None) -> str:
  """Returns a sample's name without `sdss_metallicity/`."""
  known = (*CONFIGS, *(own_names(root) if root else ()))
  bare = name.removeprefix(f"{DATASET}/")
  if bare in known:
    return bare
  close = difflib.get_close_matches(bare, known, n=1)
  hint = f" Did you mean {DATASET}/{close[0]}?" if close else ""
  expected = ", ".join(f"{DATASET}/{config}" for config in known)
  where = f" in {root}" if root else ""
  raise UnknownConfigError(
    f"unknown sample {name!r}{where}, expected one of {expected}.{hint} For "
    f"galaxies of your own: {HOW_TO_BUILD_OWN}"
  )


def data_dir_of(data_dir: str | None) -> pathlib.Path:
  """Returns the data directory of TFDS, see `build`."""
  # TFDS's own constant ignores later changes of TFDS_DATA_DIR.
  root = data_dir or tfds.core.constants.get_default_data_dir()
  flag = "--data_dir" if data_dir else "$TFDS_DATA_DIR"
  return files.local_path(root, flag)


def _check_manual_dir(name: str, manual_dir: str) -> pathlib.Path:
  folder = files.local_path(manual_dir, "--staging")
  if name in STAGED:
    # TFDS ignores a manual_dir that does not exist.
    staging.Staging(folder).read_source()
  elif name != "demo500":
    raise UnknownConfigError(
      f"{DATASET}/{name} is built without a folder, found {folder}. Omit it."
    )
  elif not (folder / "catalogs").is_dir():
    found = "no such folder" if not folder.is_dir() else "no catalogs/ in it"
    raise NotADirectoryError(
      f"manual_dir {folder}: expected catalogs/, train/ and test/ of the "
      f"unpacked archive, found {found}. Pass the folder that contains them."
    )
  return folder


def _how_to_build(name: str, data_dir: str | None) -> str:
  """Returns commands to copy; for real galaxies from either of two sources."""
  flag = field = ""
  if data_dir:
    folder = shlex.quote(str(data_dir))
    flag, field = f" --data_dir={folder}", f" --config.data.data_dir={folder}"
  if name not in CONFIGS:
    return (
      f"Build it: python -m tfds_sdss build {DATASET}/{CUSTOM} --name={name} "
      f"--catalog=TABLE --images=FOLDER ...{flag} (docs/data.md)"
    )
  if name not in STAGED:
    return f"Build it: python -m tfds_sdss build {DATASET}/{name}{flag}"
  skyserver = name if name != "zenodo" else "dr17"
  lines = ["Fetch and build a sample of real galaxies, one of these two."]
  for sample, source, config in (
    ("zenodo", "The authors' archive on Zenodo, one large download", "zenodo"),
    (skyserver, "The paper's images from SkyServer, overnight", "resnet34"),
  ):
    lines += [
      f"{source}:",
      f"  python -m tfds_sdss fetch --source={sample} --out=staging_{sample}",
      f"  python -m tfds_sdss build {DATASET}/{sample}{flag}"
      f" --staging=staging_{sample}",
      f"  python main.py --config=configs/{config}.py{field}"
      + (f" --config.data.name={DATASET}/dr14" if sample == "dr14" else ""),
    ]
  return "\n".join(lines)
