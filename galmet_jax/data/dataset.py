"""The galaxies that a config describes: found or built, read, split."""

import pathlib

import ml_collections

from galmet_jax.data import galaxies
from galmet_jax.data import splits
from galmet_jax.devices import processes
from tfds_sdss import build

# Samples that are built when they are missing: one is rendered here, the
# other is a download of a megabyte.
_BUILT_WHEN_MISSING = ("mock", "demo500")


def load(
  config: ml_collections.ConfigDict, cache: pathlib.Path | None
) -> dict[str, galaxies.Split]:
  """Reads the data set, and deals it as the config says.

  Args:
    config: the whole config.
    cache: of decoded images, see `compilation.directory`.

  Returns:
    train, validation and test.

  Raises:
    ConfigError, tfds_sdss.DataError, FileNotFoundError: as `prepare`.
  """
  data = processes.first_then_others(
    lambda: galaxies.load(_find_data(config.data), config.data, cache)
  )
  return splits.apply_splits(data, config.data, config.seed)


def _find_data(config: ml_collections.ConfigDict):
  sample = config.name.removeprefix("sdss_metallicity/")
  try:
    return build.load(sample, config.data_dir)
  except build.DatasetNotBuiltError:
    if sample not in _BUILT_WHEN_MISSING:
      raise
  print(f"Building {config.name}, once.", flush=True)
  return build.build(sample, config.data_dir, config.manual_dir)
