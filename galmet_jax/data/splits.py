"""Changes to the splits: held-out folds, smaller samples and controls.

Folds and smaller samples leave the test split as it is.
"""

import dataclasses

import ml_collections
import numpy as np

from galmet_jax import errors
from galmet_jax.data import galaxies
from tfds_sdss import splits as tfds_splits
from tfds_sdss.errors import DataError

CONTROLS = ("none", "shuffled_labels", "shuffled_pixels", "blank_images")


def apply_splits(
  splits: dict[str, galaxies.Split],
  config: ml_collections.ConfigDict,
  seed: int,
) -> dict[str, galaxies.Split]:
  """Applies the fold, the sample size and the control of a config.

  Args:
    splits: train, validation and test of the data set.
    config: the `data` block: `fold`, `num_folds`, `num_train` and `control`.
    seed: seed of the sample and of the shuffles.

  Raises:
    ConfigError: for an unknown fold, or more training galaxies than there are.
  """
  splits = dict(splits)
  if config.fold is not None:
    splits |= hold_out(splits, config.fold, config.num_folds)
  if config.num_train is not None:
    splits["train"] = _sample(splits["train"], config.num_train, seed)
  return _apply_control(splits, config.control, seed)


def hold_out(
  splits: dict[str, galaxies.Split], fold: int, num_folds: int
) -> dict[str, galaxies.Split]:
  """Joins training and validation and splits them again, for k-fold validation.

  The folds of the data set keep galaxies that are close on the sky together,
  so that no galaxy has a neighbour in the other split.

  Args:
    splits: train and validation.
    fold: index of the fold that becomes the validation split, from 0.
    num_folds: number of folds: 2, 5 or 10.

  Returns:
    The new train and validation.

  Raises:
    ConfigError: if num_folds does not divide the data set's ten folds, or
      there is no such fold.
  """
  check_fold(fold, num_folds)
  pool = _join(splits["train"], splits["validation"])
  held = _folds(pool, num_folds) == fold
  return {
    "train": take(pool, np.flatnonzero(~held)),
    "validation": take(pool, np.flatnonzero(held)),
  }


def fold_sizes(splits: dict[str, galaxies.Split], num_folds: int) -> np.ndarray:
  """Returns the number of galaxies in each fold, int `[num_folds]`.

  Raises:
    ConfigError: as for `hold_out`.
  """
  check_fold(0, num_folds)
  parts = [_folds(splits[name], num_folds) for name in ("train", "validation")]
  return np.bincount(np.concatenate(parts), minlength=num_folds)


def _folds(split: galaxies.Split, num_folds: int) -> np.ndarray:
  if "fold" not in split.columns:
    raise errors.ConfigError(
      "the data set has no column fold; expected version 2.0.0 or later. "
      "Build it again: python -m tfds_sdss build"
    )
  if not np.isin(split.columns["fold"], range(tfds_splits.NUM_FOLDS)).all():
    raise DataError(
      "the data set has a fold outside 0 to 9. Delete it, and build it again: "
      "python -m tfds_sdss build"
    )
  return split.columns["fold"].astype(int) % num_folds


def check_fold(fold: int, num_folds: int) -> None:
  """Raises ConfigError unless num_folds is 2, 5 or 10, and has the fold."""
  if (
    num_folds < 2
    or tfds_splits.NUM_FOLDS % num_folds
    or not 0 <= fold < num_folds
  ):
    raise errors.ConfigError(
      f"data.fold is {fold} of data.num_folds={num_folds}; expected 2, 5 or 10 "
      "folds, counted from 0. Change --config.data.fold."
    )


def take(split: galaxies.Split, index: np.ndarray) -> galaxies.Split:
  """Returns the galaxies of a split at `index`, int `[n]`."""
  return galaxies.Split(
    split.objid[index],
    split.images[index],
    split.targets[index],
    {name: values[index] for name, values in split.columns.items()},
  )


def _join(one: galaxies.Split, other: galaxies.Split) -> galaxies.Split:
  joined = galaxies.Split(
    np.concatenate([one.objid, other.objid]),
    np.concatenate([one.images, other.images]),
    np.concatenate([one.targets, other.targets]),
    {
      name: np.concatenate([values, other.columns[name]])
      for name, values in one.columns.items()
    },
  )
  return take(joined, np.argsort(joined.objid))


def _sample(train: galaxies.Split, number: int, seed: int) -> galaxies.Split:
  """Draws training galaxies; a smaller sample is a part of a larger one."""
  if not 0 < number <= len(train):
    raise errors.ConfigError(
      f"data.num_train is {number}; expected 1 to {len(train)}, the number of "
      "training galaxies."
    )
  order = np.random.default_rng(seed).permutation(len(train))
  return take(train, np.sort(order[:number]))


def _apply_control(
  splits: dict[str, galaxies.Split], control: str, seed: int
) -> dict[str, galaxies.Split]:
  """Removes information that a network needs, as a check on its results.

  A network that still predicts well uses something other than the images.
  """
  rng = np.random.default_rng(seed)
  if control == "shuffled_labels":
    train = splits["train"]
    targets = train.targets[rng.permutation(len(train))]
    return {**splits, "train": dataclasses.replace(train, targets=targets)}
  if control == "shuffled_pixels":
    return {
      name: dataclasses.replace(split, images=_shuffle(split.images, rng))
      for name, split in splits.items()
    }
  if control == "blank_images":
    return {
      name: dataclasses.replace(split, images=np.zeros_like(split.images))
      for name, split in splits.items()
    }
  assert control == "none", control
  return splits


def _shuffle(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Permutes the pixels of each image; a pixel keeps its three channels."""
  flat = images.reshape(len(images), -1, images.shape[-1])
  shuffled = [image[rng.permutation(len(image))] for image in flat]
  return np.stack(shuffled).reshape(images.shape)
