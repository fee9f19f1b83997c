"""Models on hand-made image features, for few labels."""

from collections.abc import Sequence

import numpy as np
from sklearn import svm
import threadpoolctl

from galmet_jax.baselines import gaussian_process
from galmet_jax.baselines import image_features
from galmet_jax.baselines import trees
from galmet_jax.data import galaxies

# A Gaussian process of more galaxies takes minutes.
_MAX_TRAIN = 5_000
# Chosen on 400 galaxies with labels of a standard deviation of 0.2 dex; C and
# epsilon are relative to it.
_SVR = {"C": 5.0, "epsilon": 0.25, "gamma": 0.21 / len(image_features.FEATURES)}


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
  known = image_features.compute(train.images)
  others = [image_features.compute(split.images) for split in splits]
  # Threads that wait for each other make small matrices slow on busy machines.
  with threadpoolctl.threadpool_limits(1):
    columns = [
      (predict_gp_svr if is_small else _predict_boosting)(
        known, labels, others, seed
      )
      for labels in train.targets.T
    ]
  predicted = [np.stack(each, axis=1) for each in zip(*columns, strict=True)]
  return "gp_svr" if is_small else "feature_boosting", predicted


def predict_gp_svr(
  features: np.ndarray,
  labels: np.ndarray,
  others: Sequence[np.ndarray],
  seed: int,
) -> list[np.ndarray]:
  """Predicts with the mean of a Gaussian process and a support vector machine.

  Args:
    features: of the training galaxies, `[M, F]`.
    labels: theirs, `[M]`, NaN where unknown.
    others: features `[N, F]` of the galaxies to predict, in several parts.
    seed: see `gaussian_process.fit`.

  Returns:
    The predictions `[N]` of each part.
  """
  known = np.isfinite(labels)
  features, labels = features[known], labels[known].astype(np.float64)
  # A merger or a bad image has extreme values.
  limits = np.quantile(features, (0.01, 0.99), axis=0)
  clipped = np.clip(features, *limits)
  mean, width = clipped.mean(0), clipped.std(0)
  # A feature without scatter is a difference of roundings.
  width = np.where(width > 1e-9, width, np.inf)

  def scale(values: np.ndarray) -> np.ndarray:
    return (np.clip(values, *limits) - mean) / width

  x = scale(features)
  process = gaussian_process.fit(x, labels, image_features.GROUPS, seed)
  centre, spread = labels.mean(), labels.std() or 1.0
  machine = svm.SVR(**_SVR).fit(x, (labels - centre) / spread)
  return [
    (
      process.predict(scale(part))
      + centre
      + spread * machine.predict(scale(part))
    )
    / 2
    for part in others
  ]


def _predict_boosting(
  features: np.ndarray,
  labels: np.ndarray,
  others: Sequence[np.ndarray],
  seed: int,
) -> list[np.ndarray]:
  known = np.isfinite(labels)
  model = trees.boosting(seed).fit(features[known], labels[known])
  return [model.predict(part) for part in others]
