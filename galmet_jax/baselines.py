"""What an image model has to beat, on the same galaxies.

A label may be missing, NaN, in any target but the first. Each target is then
learnt from the training galaxies that have it.
"""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn import ensemble
import threadpoolctl

from galmet_jax.data import galaxies

# Radii of the rings in units of the half image; R90 lies at 0.4.
_RINGS = (0.0, 0.06, 0.12, 0.19, 0.28, 0.4, 0.6, 1.0)
_MAGNITUDES = ("modelMag_g", "modelMag_r", "modelMag_i")
_MASS = "lgm_tot_p50"
_MASS_BIN = 0.15  # dex
# The median of 20 galaxies at one mass is good to about 0.03 dex.
_MIN_IN_BIN = 20


def predict_all(
  train: galaxies.Split,
  split: galaxies.Split,
  targets: Sequence[str],
  seed: int,
) -> dict[str, np.ndarray]:
  """Predicts by every baseline there is for a data set.

  Args:
    train: galaxies to learn from; each target has a label there.
    split: N galaxies to predict.
    targets: names of the T targets.
    seed: of the forest and of the boosting.

  Returns:
    name -> float `[N, T]`, in the order of tables: training_mean,
    random_forest, gradient_boosting and, where there is something to predict
    by it, mass_metallicity, which is NaN where it has no prediction.
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
  """Predicts the training mean, the floor of any model: `[N, T]`."""
  return np.broadcast_to(np.nanmean(train.targets, 0), split.targets.shape)


def predict_random_forest(
  train: galaxies.Split, split: galaxies.Split, seed: int
) -> np.ndarray:
  """Predicts by a random forest (Acquaviva 2016): 40 trees, leaves of 8.

  On g, r, i magnitudes where the catalogue has them, as in the paper, and on
  ring colours of the image where it has not (there leaves of 2: these sets are
  small). Each target has a forest of its own.

  Args:
    train: galaxies to learn from.
    split: N galaxies to predict.
    seed: of the forests.

  Returns:
    float `[N, T]`.
  """
  photometry = has_photometry(train)

  def fit(features: np.ndarray, labels: np.ndarray) -> Any:
    forest = ensemble.RandomForestRegressor(
      n_estimators=40 if photometry else 400,
      min_samples_leaf=8 if photometry else 2,
      max_features=1.0 if photometry else 1 / 3,
      random_state=seed,
      n_jobs=-1,
    )
    forest.fit(features, labels)
    # Threads would add up the trees in the order in which they end.
    forest.n_jobs = 1
    return forest

  return _predict_each(fit, train, split)


def predict_gradient_boosting(
  train: galaxies.Split, split: galaxies.Split, seed: int
) -> np.ndarray:
  """Predicts by gradient-boosted trees, on the features of the forest.

  100 trees of 6 leaves, each of at least 10 galaxies, at a rate of 0.05: such
  trees serve 300 galaxies, where scikit-learn's 31 leaves overfit, and 77,000
  no worse. They were chosen on mock galaxies that are in none of the data
  sets. The number of trees is fixed, since stopping early would set galaxies
  aside.

  Args:
    train: galaxies to learn from.
    split: N galaxies to predict.
    seed: of the choice of galaxies that set the features' bins; it is made
      beyond 200,000 of them, and nothing else is random.

  Returns:
    float `[N, T]`.
  """

  def fit(features: np.ndarray, labels: np.ndarray) -> Any:
    boosting = ensemble.HistGradientBoostingRegressor(
      learning_rate=0.05,
      max_iter=100,
      max_leaf_nodes=6,
      min_samples_leaf=10,
      early_stopping=False,
      random_state=seed,
    )
    return boosting.fit(features, labels)

  # On a busy machine threads wait for one another, up to half a minute for 200
  # galaxies; one thread takes some seconds for 77,000.
  with threadpoolctl.threadpool_limits(1, user_api="openmp"):
    return _predict_each(fit, train, split)


def _predict_each(
  fit: Callable[[np.ndarray, np.ndarray], Any],
  train: galaxies.Split,
  split: galaxies.Split,
) -> np.ndarray:
  """Fits and predicts one target after another, each where it is known."""
  features_of = _photometry if has_photometry(train) else ring_colours
  known_features, features = features_of(train), features_of(split)
  columns = []
  for labels in train.targets.T:
    known = np.isfinite(labels)
    model = fit(known_features[known], labels[known])
    columns.append(model.predict(features))
  return np.stack(columns, axis=1)


def predict_mass_metallicity(
  train: galaxies.Split,
  split: galaxies.Split,
  targets: Sequence[str],
) -> np.ndarray:
  """Predicts O/H from the catalogue's stellar mass alone.

  Through the mass-metallicity relation of the training galaxies. The paper
  puts the masses of a network through it: RMSE 0.1208 dex.

  Args:
    train: galaxies that give the relation.
    split: N galaxies to predict.
    targets: names of the T targets; those named oh_... are abundances.

  Returns:
    float64 `[N, T]`: NaN where the mass is missing, and for other targets.
  """
  predicted = np.full((len(split), len(targets)), np.nan)
  if _MASS not in train.columns:
    return predicted
  mass = train.columns[_MASS]
  for i, target in enumerate(targets):
    if not target.startswith("oh_"):
      continue
    oh = train.targets[:, i]
    if (_is_mass(mass) & np.isfinite(oh)).any():
      relation = fit_mass_metallicity(mass, oh)
      predicted[:, i] = mass_metallicity(split.columns[_MASS], *relation)
  return predicted


def fit_mass_metallicity(
  mass: np.ndarray, oh: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Fits a mass-metallicity relation: running medians of O/H.

  In bins of 0.15 dex of mass; one of fewer than 20 galaxies is merged with its
  neighbour. At the median of a bin's masses, not in its middle, a relation
  that is linear there has the median of O/H.

  Args:
    mass: log10 of solar masses, `[N]`; NaN or -9999 where missing.
    oh: 12 + log(O/H), `[N]`; NaN where missing.

  Returns:
    (median mass, median O/H) of the bins, in order of mass, float64 `[B]`
    each.

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
  return (
    np.array([np.median(part) for part in np.split(mass, starts[1:])]),
    np.array([np.median(part) for part in np.split(oh, starts[1:])]),
  )


def mass_metallicity(
  mass: np.ndarray, centres: np.ndarray, medians: np.ndarray
) -> np.ndarray:
  """Evaluates a mass-metallicity relation, for known or predicted masses.

  Args:
    mass: log10 of solar masses, `[N]`; NaN or -9999 where missing.
    centres: mass of the bins, `[B]`, as from `fit_mass_metallicity`.
    medians: O/H of the bins, `[B]`.

  Returns:
    O/H, float64 `[N]`: linear between the bins, constant beyond them, and NaN
    where the mass is missing.
  """
  return np.where(_is_mass(mass), np.interp(mass, centres, medians), np.nan)


def _is_mass(mass: np.ndarray) -> np.ndarray:
  """Tells a mass from NaN and from SDSS's -9999."""
  return np.isfinite(mass) & (mass > 0)


def has_photometry(split: galaxies.Split) -> bool:
  """Tells whether there are magnitudes, or trees look at ring colours."""
  return all(name in split.columns for name in _MAGNITUDES)


def _photometry(split: galaxies.Split) -> np.ndarray:
  """Magnitudes and colours, `[N, 5]`."""
  g, r, i = (split.columns[name] for name in _MAGNITUDES)
  return np.stack([g, r, i, g - r, r - i], axis=1)


def ring_colours(split: galaxies.Split) -> np.ndarray:
  """Brightness and colour in rings about the centre, `[N, 3 × rings]`.

  The mean of R + G + B in each ring that has pixels, and R − G and G − B
  relative to it.
  """
  images = split.images
  size = images.shape[1]
  offset = (np.arange(size) - (size - 1) / 2) / (size / 2)
  radius = np.hypot(offset[:, None], offset[None, :]).ravel()
  ring = np.digitize(radius, _RINGS) - 1
  num_rings = len(_RINGS) - 1
  members = np.zeros((size * size, num_rings), np.float32)
  inside = ring < num_rings
  members[inside, ring[inside]] = 1
  # In a small image there are rings without a pixel.
  members = members.compress(members.any(0), axis=1)
  # Whole numbers below 2²⁴: the same from every BLAS, in whichever order.
  sums = np.stack(
    [members.T @ image.reshape(-1, 3).astype(np.float32) for image in images]
  )
  rings = sums / members.sum(0)[:, None]
  red, green, blue = rings[..., 0], rings[..., 1], rings[..., 2]
  total = red + green + blue + 1
  return np.concatenate(
    [total, (red - green) / total, (green - blue) / total], axis=1
  )
