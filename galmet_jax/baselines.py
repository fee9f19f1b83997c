"""Baselines without a network, evaluated on the same galaxies.

Labels may be missing (NaN) in any target but the first. Each baseline fits a
target on the training galaxies that have it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn import base
from sklearn import ensemble
import threadpoolctl

from galmet_jax.data import galaxies

# Ring edges in units of half the image size; R90 is at 0.4.
RINGS = (0.0, 0.06, 0.12, 0.19, 0.28, 0.4, 0.6, 1.0)
_MAGNITUDES = ("modelMag_g", "modelMag_r", "modelMag_i")
_MASS = "lgm_tot_p50"
_MASS_BIN = 0.15  # dex
# The median O/H of 20 galaxies of equal mass is accurate to about 0.03 dex.
_MIN_IN_BIN = 20


def predict_all(
  train: galaxies.Split,
  split: galaxies.Split,
  targets: Sequence[str],
  seed: int,
) -> dict[str, np.ndarray]:
  """Fits every baseline that the data set allows and predicts a split.

  Each of the T targets must have a training label.

  Returns:
    name -> float `[N, T]`, in the order of tables: training_mean,
    random_forest, gradient_boosting and, if the galaxies have masses and O/H,
    mass_metallicity, NaN where it has no prediction.
  """
  predicted = {
    "training_mean": predict_mean(train, split),
    "random_forest": predict_random_forest(train, split, seed),
    "gradient_boosting": predict_gradient_boosting(train, split, seed),
  }
  by_mass = predict_mass_metallicity(train, split, targets)
  if np.isfinite(by_mass).any():
    predicted["mass_metallicity"] = by_mass
  return predicted


def predict_mean(train: galaxies.Split, split: galaxies.Split) -> np.ndarray:
  """Predicts the mean training label for every galaxy, `[N, T]`."""
  return np.broadcast_to(np.nanmean(train.targets, 0), split.targets.shape)


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

  The features are those of the random forest. With 100 trees of 6 leaves, each
  of at least 10 galaxies, and a learning rate of 0.05, the model does not
  overfit 300 galaxies, as scikit-learn's default of 31 leaves does, and is no
  worse for 77,000. These settings were chosen on mock galaxies outside all data
  sets. Early stopping is off, since it would hold out training galaxies.
  """
  boosting = ensemble.HistGradientBoostingRegressor(
    learning_rate=0.05,
    max_iter=100,
    max_leaf_nodes=6,
    min_samples_leaf=10,
    early_stopping=False,
    # Selects the galaxies that define the feature bins, if above 200,000.
    random_state=seed,
  )
  # On a busy machine OpenMP threads wait for each other, up to 30 s for 200
  # galaxies. One thread fits 77,000 galaxies in a few seconds.
  with threadpoolctl.threadpool_limits(1, user_api="openmp"):
    return _predict_targets(boosting, train, split)


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


def predict_mass_metallicity(
  train: galaxies.Split,
  split: galaxies.Split,
  targets: Sequence[str],
) -> np.ndarray:
  """Predicts O/H from the catalogue's stellar mass alone.

  Uses the mass-metallicity relation of the training galaxies. (The paper
  applies such a relation to masses predicted by a network: RMSE 0.1208 dex.)

  Returns:
    float64 `[N, T]`, NaN for galaxies without a mass and for targets whose name
    does not start with oh_.
  """
  predicted = np.full((len(split), len(targets)), np.nan)
  if _MASS not in train.columns:
    return predicted
  mass = train.columns[_MASS]
  for i, target in enumerate(targets):
    oh = train.targets[:, i]
    if target.startswith("oh_") and (_is_mass(mass) & np.isfinite(oh)).any():
      relation = fit_mass_metallicity(mass, oh)
      predicted[:, i] = mass_metallicity(split.columns[_MASS], *relation)
  return predicted


def fit_mass_metallicity(
  mass: np.ndarray, oh: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Fits a mass-metallicity relation of running medians.

  The bins are 0.15 dex of mass wide. A bin of fewer than 20 galaxies is merged
  with its neighbour.

  Args:
    mass: log10 of solar masses, `[N]`; NaN or -9999 if missing.
    oh: 12 + log(O/H), `[N]`; NaN if missing.

  Returns:
    (median mass, median O/H) of the bins, in order of mass, float64 `[B]`
    each. Medians of mass instead of bin centres, so that a linear relation is
    recovered exactly.

  Raises:
    ValueError: if no galaxy has both.
  """
  known = _is_mass(mass) & np.isfinite(oh)
  if not known.any():
    raise ValueError(
      f"expected galaxies with a mass and O/H, found none among {len(known)}."
    )
  mass = np.asarray(mass, np.float64)[known]
  oh = np.asarray(oh, np.float64)[known]
  order = np.argsort(mass)
  mass, oh = mass[order], oh[order]
  _, first = np.unique(np.floor(mass / _MASS_BIN), return_index=True)
  starts = [0]
  for start in first[1:]:
    if min(start - starts[-1], len(mass) - start) >= _MIN_IN_BIN:
      starts.append(int(start))
  bins = np.split(np.stack([mass, oh]), starts[1:], axis=1)
  centres, medians = np.stack([np.median(bin, axis=1) for bin in bins], axis=1)
  return centres, medians


def mass_metallicity(
  mass: np.ndarray, centres: np.ndarray, medians: np.ndarray
) -> np.ndarray:
  """Evaluates a relation from `fit_mass_metallicity` at masses `[N]`.

  Returns:
    O/H, float64 `[N]`: linear between the bins, constant outside them, and NaN
    for a missing mass.
  """
  return np.where(_is_mass(mass), np.interp(mass, centres, medians), np.nan)


def _is_mass(mass: np.ndarray) -> np.ndarray:
  # SDSS writes -9999 for a missing mass.
  return np.isfinite(mass) & (mass > 0)


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
