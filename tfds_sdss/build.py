"""Build a sample of `sdss_metallicity`, or find one that has been built."""

from __future__ import annotations

import difflib
import importlib.util
import logging
import pathlib
import shlex
import sys

import tensorflow_datasets as tfds

from tfds_sdss import beam
from tfds_sdss import staging
from tfds_sdss.sdss_metallicity import sdss_metallicity_dataset_builder

DATASET = "sdss_metallicity"
_Builder = sdss_metallicity_dataset_builder.Builder
CONFIGS = tuple(config.name for config in _Builder.BUILDER_CONFIGS)
# The samples made from a staging folder.
STAGED = tuple(
  config.name for config in _Builder.BUILDER_CONFIGS if config.columns
)

_log = logging.getLogger(__name__)


class UnknownConfigError(ValueError):
  """There is no sample of this name, or not with such options."""


class DatasetNotBuiltError(FileNotFoundError):
  """The sample isn't in the data directory, or not as a whole."""


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
  """Builds a sample, unless it is there already.

  Args:
    config_name: one of `CONFIGS`, also as `sdss_metallicity/demo500`.
    data_dir: where TFDS keeps its data; by default $TFDS_DATA_DIR, or
      ~/tensorflow_datasets.
    manual_dir: for dr17, dr14 and zenodo the staging folder; for demo500, the
      unpacked archive, if it isn't to be downloaded.
    max_loss: largest part of a staging folder's galaxies that may lack an
      image.
    beam_runner: name of the Apache Beam runner that writes the shards; None
      for the one of `beam_options`, or this process if there are none either.
    beam_options: Beam's options as `tfds build --beam_pipeline_options` takes
      them, such as `direct_num_workers=2,direct_running_mode=multi_processing`.
    file_format: of TFDS; None for ArrayRecord. `tfrecord` needs TensorFlow.

  Returns:
    The builder, ready for `as_data_source()` if it is in ArrayRecord.

  Raises:
    UnknownConfigError: if the name is unknown, or takes no manual_dir, or
      there is such a sample in another file format.
    DataError: if an image, a label or a catalogue is bad, or too many galaxies
      lack an image.
    DownloadFailedError: if upstream's archive can't be fetched.
    NotADirectoryError: if manual_dir isn't the unpacked archive.
    StagingError: if a staging folder is needed, or isn't this sample's.
    DatasetNotBuiltError: if a part of the sample has been deleted.
    BeamError: if Apache Beam is asked for and not installed.
  """
  name = _config(config_name)
  if manual_dir is not None:
    _check_manual_dir(name, pathlib.Path(manual_dir).expanduser())
  root = _data_dir(data_dir)
  if file_format == "tfrecord" and not importlib.util.find_spec("tensorflow"):
    raise UnknownConfigError(
      "the file format tfrecord is written by TensorFlow, which is not "
      "installed. Install it, or build in array_record, the default."
    )
  builder = _Builder(config=name, data_dir=root, max_loss=max_loss)
  # TFDS takes any folder of this name for a complete build.
  if not builder.data_path.exists():
    if name in STAGED and manual_dir is None:
      raise staging.StagingError(
        f"{DATASET}/{name} is built from a staging folder, and none is given. "
        + _how_to_build(name, data_dir)
      )
    config = tfds.download.DownloadConfig(
      manual_dir=manual_dir,
      try_download_gcs=False,
      beam_runner=beam_runner,
      beam_options=beam.pipeline_options(beam_options),
    )
    if not sys.stderr.isatty():
      # In a log file, its nested progress bars would be pages of fragments.
      tfds.disable_progress_bar()
    _log.info("building %s/%s in %s", DATASET, name, builder.data_path)
    for path in builder.data_path.parent.glob("incomplete.*"):
      _log.warning(
        "%s is left of an interrupted build; delete it, unless that build is "
        "still running",
        path,
      )
    builder.download_and_prepare(
      download_config=config, file_format=file_format
    )
  built = load(name, str(root))
  if file_format not in (None, built.info.file_format.value):
    raise UnknownConfigError(
      f"{built.data_path}: expected the file format {file_format}, found "
      f"{built.info.file_format.value}. Build into another data_dir."
    )
  counts = ", ".join(
    f"{split.num_examples} {split.name}" for split in built.info.splits.values()
  )
  _log.info("%s/%s is in %s: %s", DATASET, name, built.data_path, counts)
  return built


def load(
  config_name: str, data_dir: str | None = None
) -> tfds.core.DatasetBuilder:
  """Finds a sample that has been built.

  Args:
    config_name: as for `build`.
    data_dir: as for `build`.

  Returns:
    The builder of the newest version in `data_dir`, read from the files alone.

  Raises:
    UnknownConfigError: if there is no sample of this name.
    DatasetNotBuiltError: if it isn't there or a part of it is absent. The
      message gives the command that builds it.
  """
  name = _config(config_name)
  folder = _data_dir(data_dir) / DATASET / name
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
    builder = tfds.builder_from_directory(newest)
  # Broken JSON raises what the parsers of TFDS and protobuf see fit.
  except Exception as error:
    raise DatasetNotBuiltError(
      f"{newest} cannot be read: {error}. {remedy}"
    ) from error
  shards = [
    pathlib.Path(path)
    for split in builder.info.splits.values()
    for path in split.filepaths
  ]
  absent = [path.name for path in shards if not path.is_file()]
  if absent or not shards:
    raise DatasetNotBuiltError(
      f"{newest} is incomplete: expected {len(shards)} shards, absent "
      f"{', '.join(absent) or 'all'}. {remedy}"
    )
  return builder


def _config(name: str) -> str:
  """Returns a sample's bare name, if there is such a sample."""
  bare = name.removeprefix(f"{DATASET}/")
  if bare in CONFIGS:
    return bare
  close = difflib.get_close_matches(bare, CONFIGS, n=1)
  hint = f" Did you mean {DATASET}/{close[0]}?" if close else ""
  raise UnknownConfigError(
    f"unknown sample {name!r}, expected one of "
    f"{', '.join(f'{DATASET}/{item}' for item in CONFIGS)}.{hint}"
  )


def _data_dir(data_dir: str | None) -> pathlib.Path:
  # Asked anew each time, for TFDS's own constant ignores later changes of
  # TFDS_DATA_DIR.
  root = data_dir or tfds.core.constants.get_default_data_dir()
  return pathlib.Path(root).expanduser()


def _check_manual_dir(name: str, folder: pathlib.Path) -> None:
  if name in STAGED:
    # Of a folder that isn't there TFDS says nothing at all.
    staging.Staging(folder).read_source()
    return
  if name != "demo500":
    raise UnknownConfigError(
      f"expected no folder with {DATASET}/{name}, which reads no files, found "
      f"{folder}. Leave it out."
    )
  if not (folder / "catalogs").is_dir():
    found = "no such folder" if not folder.is_dir() else "no catalogs/ in it"
    raise NotADirectoryError(
      f"manual_dir {folder}: expected catalogs/, train/ and test/ of the "
      f"unpacked archive, found {found}. Give the folder that holds them."
    )


def _how_to_build(name: str, data_dir: str | None) -> str:
  flag = f" --data_dir={shlex.quote(str(data_dir))}" if data_dir else ""
  command = f"python -m tfds_sdss build {DATASET}/{name}{flag}"
  if name not in STAGED:
    return f"Build it: {command}"
  return (
    f"Fetch it: python -m tfds_sdss fetch --source={name} --out=STAGING, then "
    f"build it: {command} --staging=STAGING"
  )
