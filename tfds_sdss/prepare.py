"""Runs a builder of TFDS, whatever the sample."""

from __future__ import annotations

import importlib.util
import logging
import pathlib
import shutil
import sys

import tensorflow_datasets as tfds

from tfds_sdss import beam_shards
from tfds_sdss import files
from tfds_sdss import origin

_log = logging.getLogger(__name__)


class UnknownConfigError(ValueError):
  """No sample has this name or supports these options."""


def check_format(file_format: str | None) -> None:
  """Raises UnknownConfigError for tfrecord without TensorFlow."""
  if file_format == "tfrecord" and not importlib.util.find_spec("tensorflow"):
    raise UnknownConfigError(
      "the file format tfrecord needs TensorFlow, which is not installed. "
      "Install it, or build in array_record, the default."
    )


def download_config(
  beam_runner: str | None,
  beam_options: str | None,
  manual_dir: str | None = None,
) -> tfds.download.DownloadConfig:
  """Returns TFDS's options of a build, see `build.build`."""
  return tfds.download.DownloadConfig(
    manual_dir=manual_dir,
    try_download_gcs=False,
    beam_runner=beam_runner,
    beam_options=beam_shards.pipeline_options(beam_options),
  )


def write(
  builder: tfds.core.DatasetBuilder,
  config: tfds.download.DownloadConfig,
  file_format: str | None,
) -> bool:
  """Writes a sample; returns False if another process does so first."""
  if not sys.stderr.isatty():
    # TFDS's nested progress bars would flood a log file.
    tfds.disable_progress_bar()
  name = f"{builder.name}/{builder.builder_config.name}"
  _log.info("building %s in %s", name, builder.data_path)
  _delete_leftovers(pathlib.Path(builder.data_path.parent))
  try:
    builder.download_and_prepare(
      download_config=config, file_format=file_format
    )
  except OSError:
    if not builder.data_path.exists():
      raise
    _log.info("another process has built %s meanwhile", builder.data_path)
    return False
  return True


def report(built: tfds.core.DatasetBuilder, file_format: str | None) -> None:
  """Checks the file format and logs the sizes of the splits."""
  if file_format not in (None, built.info.file_format.value):
    raise UnknownConfigError(
      f"{built.data_path}: expected the file format {file_format}, found "
      f"{built.info.file_format.value}. Build into another data_dir."
    )
  counts = ", ".join(
    f"{split.num_examples} {split.name}" for split in built.info.splits.values()
  )
  name = f"{built.name}/{built.builder_config.name}"
  _log.info("%s is in %s: %s", name, built.data_path, counts)
  if record := origin.read(pathlib.Path(built.data_path)):
    _log.info("built from %s", record["source"])


def _delete_leftovers(folder: pathlib.Path) -> None:
  """Deletes what killed builds left; a running build holds a lock."""
  for path in folder.glob("incomplete.*"):
    try:
      # Empty for an instant: the owner is about to lock it.
      if not (path / files.LOCK).stat().st_size:
        continue
      with files.lock(path):
        shutil.rmtree(path)
      _log.info("deleted %s, left over from an interrupted build", path)
    except files.FolderInUseError:
      _log.info("another process is building in %s", path)
    except OSError:
      _log.warning(
        "%s is left over from an interrupted build; delete it, unless that "
        "build is still running",
        path,
      )
