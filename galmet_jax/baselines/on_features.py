"""Models on hand-made image features, for few labels."""

from collections.abc import Sequence

import numpy as np
import threadpoolctl

from galmet_jax import errors
from galmet_jax.baselines import image_features
from galmet_jax.baselines import trees
from galmet_jax.baselines.gp_svr import GpSvr
from galmet_jax.data import galaxies

# A Gaussian process of more galaxies takes minutes.
_MAX_TRAIN = 5_000


def predict(
  train: galaxies.Split, splits: Sequence[galaxies.Split], seed: int
) -> tuple[str, list[np.ndarray]]:
  """Fits a model to the features of the training images.

  Up to 5,000 training galaxies it is the mean of a Gaussian process and a
  support vector machine (gp_svr), else gradient-boosted trees
  (feature_boosting).

  Returns:
    The name of the model and the predictions `[N, T]` of each split.
  """
  is_small = len(train) <= _MAX_TRAIN
  name, predict_parts = ("feature_boosting", _boosting)
  if is_small:
    name, predict_parts = ("gp_svr", _gp_svr)
  return name, predict_parts(train, splits, seed)


def check_weight(weight: float, number: int) -> None:
  """Checks `eval.gp_svr_weight` against the number of training galaxies.

  Raises:
    ConfigError: if it is not zero for more than 5,000.
  """
  if weight and number > _MAX_TRAIN:
    raise errors.ConfigError(
      f"eval.gp_svr_weight is {weight}; expected 0 for more than "
      f"{_MAX_TRAIN:,} training galaxies, found {number:,}. Add "
      "--config.eval.gp_svr_weight=0."
    )


def fit_gp_svr(train: galaxies.Split, seed: int) -> list[GpSvr]:
  """Fits a `GpSvr` for each target."""
  features = image_features.compute(train.images)
  # Threads that wait for each other make small matrices slow on busy machines.
  with threadpoolctl.threadpool_limits(1):
    return [GpSvr.fit(features, labels, seed) for labels in train.targets.T]


def _predict_gp_svr(
  models: Sequence[GpSvr], features: np.ndarray
) -> np.ndarray:
  """Predicts galaxies with features `[N, F]` by T models, `[N, T]`."""
  with threadpoolctl.threadpool_limits(1):
    return np.stack([model.predict(features) for model in models], axis=1)


def mix(
  views: np.ndarray,
  features: np.ndarray,
  models: Sequence[GpSvr],
  weight: float,
) -> np.ndarray:
  """Returns the weighted mean of a network and of models of image features.

  Args:
    views: predictions of the network, `[V, N, T]` for V views.
    features: image features, `[N, F]`.
    models: T models; M T of them for views `[M, V, N, T]` of M members.
    weight: weight of the models, 0 to 1.
  """
  found = _predict_gp_svr(models, features).reshape(
    len(features), *views.shape[:-3], 1, views.shape[-1]
  )
  mixed = (1 - weight) * views + weight * np.moveaxis(found, 0, -2)
  return mixed.astype(views.dtype)


def _gp_svr(
  train: galaxies.Split, splits: Sequence[galaxies.Split], seed: int
) -> list[np.ndarray]:
  models = fit_gp_svr(train, seed)
  return [
    _predict_gp_svr(models, image_features.compute(split.images))
    for split in splits
  ]


def _boosting(
  train: galaxies.Split, splits: Sequence[galaxies.Split], seed: int
) -> list[np.ndarray]:
  features = image_features.compute(train.images)
  others = [image_features.compute(split.images) for split in splits]
  found = [np.empty(split.targets.shape) for split in splits]
  for i, labels in enumerate(train.targets.T):
    known = np.isfinite(labels)
    model = trees.boosting(seed).fit(features[known], labels[known])
    for part, values in zip(others, found, strict=True):
      values[:, i] = model.predict(part)
  return found
