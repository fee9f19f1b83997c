"""Finds or builds the data set of a config and reads its splits."""

import ml_collections
import tensorflow_datasets as tfds

from galmet_jax.data import galaxies
from galmet_jax.data import splits
from galmet_jax.devices import processes
from tfds_sdss import build

# These need no staging folder: mock is rendered, demo500 is a small download.
_BUILT_WHEN_MISSING = ("mock", "demo500")


def load(config: ml_collections.ConfigDict) -> dict[str, galaxies.Split]:
  """Returns the splits train, validation and test of a config.

  Args:
    config: the whole config.

  Raises:
    ConfigError: if the `data` block does not fit the data set.
    DataError: if the data set is damaged or has bad labels or images.
    AnotherSourceError: if `data.manual_dir` is given, and the data set was
      built from other galaxies.
    DatasetNotBuiltError: if the data set is missing and cannot be built
      without a staging folder.
  """
  data = processes.first_then_others(
    lambda: galaxies.load(_find_or_build(config.data), config.data)
  )
  return splits.apply_splits(data, config.data, config.seed)


def _find_or_build(
  config: ml_collections.ConfigDict,
) -> tfds.core.DatasetBuilder:
  sample = config.name.removeprefix("sdss_metallicity/")
  try:
    return build.load(sample, config.data_dir, config.manual_dir)
  except build.DatasetNotBuiltError:
    if sample not in _BUILT_WHEN_MISSING:
      raise
  print(f"Building {config.name}, once.", flush=True)
  return build.build(sample, config.data_dir, config.manual_dir)
