"""Ensembles of trees, fitted to magnitudes or to colours in rings."""

from typing import Any

import numpy as np
from sklearn import base
from sklearn import ensemble
import threadpoolctl

from galmet_jax.data import galaxies

# Ring edges in units of half the image size; R90 is at 0.4.
RINGS = (0.0, 0.06, 0.12, 0.19, 0.28, 0.4, 0.6, 1.0)
_MAGNITUDES = ("modelMag_g", "modelMag_r", "modelMag_i")


def predict_random_forest(
  train: galaxies.Split, split: galaxies.Split, seed: int
) -> np.ndarray:
  """Predicts with a random forest (Acquaviva 2016), `[N, T]`.

  As in the paper, 40 trees with leaves of at least 8 galaxies are fitted to
  g, r, i magnitudes and colours. Data sets without magnitudes are small: they
  get 400 trees with leaves of 2, fitted to ring colours of the images.
  """
  photometry = has_photometry(train)
  forest = ensemble.RandomForestRegressor(
    n_estimators=40 if photometry else 400,
    min_samples_leaf=8 if photometry else 2,
    max_features=1.0 if photometry else 1 / 3,
    random_state=seed,
    n_jobs=-1,
  )
  return _predict_targets(forest, train, split)


def predict_gradient_boosting(
  train: galaxies.Split, split: galaxies.Split, seed: int
) -> np.ndarray:
  """Predicts with gradient-boosted trees, `[N, T]`.

  The features are those of the random forest.
  """
  # On a busy machine OpenMP threads wait for each other, up to 30 s for 200
  # galaxies. One thread fits 77,000 galaxies in a few seconds.
  with threadpoolctl.threadpool_limits(1, user_api="openmp"):
    return _predict_targets(boosting(seed), train, split)


def boosting(seed: int) -> ensemble.HistGradientBoostingRegressor:
  """Returns gradient-boosted trees that are not fitted yet.

  With 100 trees of 6 leaves, each of at least 10 galaxies, and a learning rate
  of 0.05, the model does not overfit 300 galaxies, as scikit-learn's default of
  31 leaves does, and is no worse for 77,000. These settings were chosen on mock
  galaxies outside all data sets. Early stopping is off, since it would hold out
  training galaxies.
  """
  return ensemble.HistGradientBoostingRegressor(
    learning_rate=0.05,
    max_iter=100,
    max_leaf_nodes=6,
    min_samples_leaf=10,
    early_stopping=False,
    # Selects the galaxies that define the feature bins, if above 200,000.
    random_state=seed,
  )


def _predict_targets(
  model: Any,
  train: galaxies.Split,
  split: galaxies.Split,
) -> np.ndarray:
  """Fits a copy of the model to each target; returns predictions `[N, T]`."""
  features_of = _photometry if has_photometry(train) else ring_colours
  train_features, features = features_of(train), features_of(split)
  columns = []
  for labels in train.targets.T:
    known = np.isfinite(labels)
    fitted = base.clone(model).fit(train_features[known], labels[known])
    # Threads would add a forest's trees in the order they finish, which changes
    # the last bits. Boosting ignores the attribute.
    fitted.n_jobs = 1
    columns.append(fitted.predict(features))
  return np.stack(columns, axis=1)


def has_photometry(split: galaxies.Split) -> bool:
  """Whether the tree ensembles use magnitudes instead of ring colours."""
  return all(
    name in split.columns and np.isfinite(split.columns[name]).any()
    for name in _MAGNITUDES
  )


def _photometry(split: galaxies.Split) -> np.ndarray:
  """Returns magnitudes and colours, `[N, 5]`."""
  g, r, i = (split.columns[name] for name in _MAGNITUDES)
  return np.stack([g, r, i, g - r, r - i], axis=1)


def ring_colours(split: galaxies.Split) -> np.ndarray:
  """Returns brightness and colours in concentric rings, `[N, 3 × rings]`.

  For each ring that contains pixels: the mean of R + G + B, and the means of
  R − G and G − B relative to it.
  """
  images = split.images
  size = images.shape[1]
  offset = (np.arange(size) - (size - 1) / 2) / (size / 2)
  radius = np.hypot(offset[:, None], offset[None, :]).ravel()
  ring = np.digitize(radius, RINGS) - 1
  num_rings = len(RINGS) - 1
  members = np.zeros((size * size, num_rings), np.float32)
  inside = ring < num_rings
  members[inside, ring[inside]] = 1
  # Small images have rings without pixels.
  members = members.compress(members.any(0), axis=1)
  # Sums of integers below 2²⁴ are exact in float32, whatever order BLAS uses.
  sums = np.stack(
    [members.T @ image.reshape(-1, 3).astype(np.float32) for image in images]
  )
  rings = sums / members.sum(0)[:, None]
  red, green, blue = rings[..., 0], rings[..., 1], rings[..., 2]
  total = red + green + blue + 1
  return np.concatenate(
    [total, (red - green) / total, (green - blue) / total], axis=1
  )
