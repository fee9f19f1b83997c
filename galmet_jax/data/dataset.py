"""Finds or builds the data set of a config and reads its splits."""

import copy
import dataclasses
import pathlib

import ml_collections
import numpy as np
import tensorflow_datasets as tfds

from galmet_jax import errors
from galmet_jax.data import batches
from galmet_jax.data import galaxies
from galmet_jax.data import splits
from galmet_jax.devices import processes
from tfds_sdss import build
from tfds_sdss import sample_info
from tfds_sdss import shards
from tfds_sdss.errors import DataError

# These need no staging folder: mock is rendered, demo500 is a small download.
_BUILT_WHEN_MISSING = ("mock", "mock_pretrain", "demo500")


def resolve(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Returns a config without values that depend on its data set.

  A `data.crop` of None becomes the size of the images, `data.targets` of None
  the label of the sample. A config that has both is returned as it is.

  Args:
    config: the whole config.

  Raises:
    ConfigError: if `data.name` is empty.
    tfds_sdss.prepare.UnknownConfigError: if there is no such sample.
    DamagedFileError: if the description of the sample is damaged.
    DatasetNotBuiltError: as for `load`.
  """
  data = config.get("data", {})
  if data.get("name") == "":
    raise errors.ConfigError(_no_name(config))
  unknown = [x for x in ("crop", "targets") if data.get(x, "") is None]
  if not unknown:
    return config
  info = processes.first_then_others(lambda: describe(config))
  found = {"crop": info.image_size, "targets": (info.label,)}
  resolved = copy.deepcopy(config)
  for name in unknown:
    resolved.data[name] = found[name]
  return resolved


def _no_name(config: ml_collections.ConfigDict) -> str:
  root = build.data_dir_of(config.data.data_dir)
  own = build.own_names(root)
  text = (
    "data.name is empty; expected the name of a sample, such as "
    "--config=configs/custom.py:mysample. "
  )
  if own:
    return (
      f"{text}{root} has {', '.join(own)}: python main.py "
      f"--config=configs/custom.py:{own[0]} ..."
    )
  return (
    f"{text}{root} (--config.data.data_dir) has none of your own. Build one: "
    f"{build.HOW_TO_BUILD_OWN}"
  )


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
  data = read(config)
  check_sizes(data, config, in_folds=config.data.fold is not None)
  return splits.apply_splits(data, config.data, config.seed)


def read(config: ml_collections.ConfigDict) -> dict[str, galaxies.Split]:
  """Returns the data set's own splits; raises the same as `load`."""
  return processes.first_then_others(lambda: _read(config.data))


def _read(config: ml_collections.ConfigDict) -> dict[str, galaxies.Split]:
  builder = _find_or_build(config)
  # Shards of another data set may look like these.
  for problem in shards.compare(builder):
    raise DataError(
      f"{builder.info.full_name}: {problem}. Check the data set: "
      f"{galaxies.verify_command(builder)}"
    )
  return galaxies.load(builder, config)


def describe(config: ml_collections.ConfigDict) -> sample_info.Info:
  """Returns the description of a config's data set, which is built."""
  return sample_info.read(pathlib.Path(_find_or_build(config.data).data_dir))


def check_sizes(
  data: dict[str, galaxies.Split],
  config: ml_collections.ConfigDict,
  *,
  in_folds: bool,
) -> None:
  """Checks that there are galaxies and labels for every fold and sample.

  Args:
    data: the data set's own splits.
    config: the whole config.
    in_folds: whether the training galaxies are divided into folds. All of them
      are checked, so that an ensemble does not fail after its first members.

  Raises:
    ConfigError: if a fold is empty, or training galaxies are too few, or none
      of them has one of the targets.
  """
  number, num_train = len(data["train"]), config.data.num_train
  if in_folds:
    sizes = splits.fold_sizes(data, config.data.num_folds)
    number = int(sizes.sum() - sizes.max())
    if not sizes.all():
      raise errors.ConfigError(
        f"data.num_folds is {config.data.num_folds}; expected galaxies in each "
        f"fold, found {', '.join(map(str, sizes))}. Use fewer folds or more "
        "galaxies."
      )
  if num_train is not None and num_train > number:
    raise errors.ConfigError(
      f"data.num_train is {num_train}; expected 1 to {number}, the number of "
      "training galaxies."
    )
  batches.steps_per_epoch(num_train or number, config.train.batch_size)
  _check_labels(data, config, in_folds=in_folds)


def _check_labels(
  data: dict[str, galaxies.Split],
  config: ml_collections.ConfigDict,
  *,
  in_folds: bool,
) -> None:
  """Raises ConfigError if a split, or a part to train on, lacks a target."""
  targets = config.data.targets
  absent = [name for name in targets if name not in data["train"].columns]
  if absent:
    raise errors.ConfigError(
      f"data.targets has {', '.join(absent)}; expected some of "
      f"{', '.join(data['train'].columns)}. Change --config.data.targets."
    )
  # Copies of the images would need much memory.
  bare = {
    name: dataclasses.replace(
      galaxies.with_targets(split, targets), images=split.objid
    )
    for name, split in data.items()
  }
  if not any(np.isnan(split.targets).any() for split in bare.values()):
    return
  labels = {
    f"galaxies of split {name!r}": part.targets for name, part in bare.items()
  }
  options = config.data.copy_and_resolve_references()
  options.control = "none"
  for fold in range(options.num_folds) if in_folds else [options.fold]:
    options.fold = fold
    train = splits.apply_splits(bare, options, config.seed)["train"]
    held_out = "" if fold is None else f" outside fold {fold}"
    labels[f"{len(train)} training galaxies{held_out}"] = train.targets
  for part, values in labels.items():
    lacking = np.isnan(values).all(0)
    if lacking.any():
      raise errors.ConfigError(
        f"data.targets has {targets[lacking.argmax()]}; expected it for some "
        f"of the {part}, found it for none. Change --config.data.targets or "
        "--config.data.num_train."
      )


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
