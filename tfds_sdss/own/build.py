"""Builds a sample of a user's own galaxies."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import logging
import pathlib

import tensorflow_datasets as tfds

from tfds_sdss import build as build_lib
from tfds_sdss import origin
from tfds_sdss import prepare
from tfds_sdss import sample_info
from tfds_sdss import staging
from tfds_sdss.own import galaxies
from tfds_sdss.own import options
from tfds_sdss.sdss_metallicity import samples
from tfds_sdss.sdss_metallicity import sdss_metallicity_dataset_builder

_OWN_VERSION = "1.0.0"


def build(
  request: options.Request,
  name: str = build_lib.CUSTOM,
  data_dir: str | None = None,
  *,
  max_loss: float = staging.MAX_LOSS,
  beam_runner: str | None = None,
  beam_options: str | None = None,
  file_format: str | None = None,
) -> tfds.core.DatasetBuilder:
  """Builds a sample of the user's galaxies, unless it already exists.

  Args:
    request: the catalogue, its columns and the images.
    name: name of the sample: letters, digits, _ and -.
    data_dir: data directory of TFDS, see `build.build`.
    max_loss: largest accepted fraction of galaxies without a usable image.
    beam_runner: see `build.build`.
    beam_options: see `build.build`.
    file_format: see `build.build`.

  Returns:
    The builder, as `build.build` does.

  Raises:
    UnknownConfigError: if a sample cannot have this name, or it exists in
      another file format.
    AnotherSourceError: if the sample exists with other galaxies, columns, bands
      or another scale.
    DataError: if the catalogue, an image or max_loss is invalid.
    BeamError: if Apache Beam is requested but not installed.
  """
  if not build_lib.OWN_NAME.fullmatch(name) or name in build_lib.CONFIGS:
    raise prepare.UnknownConfigError(
      f"--name={name}: expected up to 64 letters, digits, _ and -, beginning "
      f"with a letter, and none of {', '.join(build_lib.CONFIGS)}."
    )
  staging.check_max_loss(max_loss)
  root = build_lib.data_dir_of(data_dir)
  prepare.check_format(file_format)
  own = galaxies.read(request, name, max_loss)
  config = samples.SdssMetallicityConfig(
    name=name,
    version=_OWN_VERSION,
    release_notes={_OWN_VERSION: "The user's galaxies."},
    description="Galaxies from a catalogue of the user.",
    own=own,
  )
  # TFDS warns that the config is not one of its list.
  with _without_warnings():
    builder = sdss_metallicity_dataset_builder.Builder(
      config=config, data_dir=root
    )
  is_new = not builder.data_path.exists() and prepare.write(
    builder, prepare.download_config(beam_runner, beam_options), file_format
  )
  built = build_lib.load(name, str(root))
  if not is_new:
    folder = pathlib.Path(built.data_path)
    origin.check(folder, own.source, own.digest())
    differences = sample_info.read(folder).differences(own.info)
    if differences:
      raise origin.AnotherSourceError(
        f"{folder} is built, but with another description: {differences}. "
        f"Delete {folder} and build again, or give another --name."
      )
  prepare.report(built, file_format)
  return built


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
  logger = logging.getLogger("absl")
  before = logger.level
  logger.setLevel(logging.ERROR)
  try:
    yield
  finally:
    logger.setLevel(before)
