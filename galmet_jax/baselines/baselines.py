"""Baselines without a network, evaluated on the same galaxies.

Labels may be missing (NaN) in any target but the first. Each baseline fits a
target on the training galaxies that have it.
"""

from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from galmet_jax.baselines import mass_metallicity
from galmet_jax.baselines import on_features
from galmet_jax.baselines import trees
from galmet_jax.data import galaxies


def predict_all(
  train: galaxies.Split,
  splits: Mapping[str, galaxies.Split],
  targets: Sequence[str],
  seed: int,
) -> dict[str, dict[str, np.ndarray]]:
  """Fits every baseline that the data set allows and predicts splits.

  Each of the T targets must have a training label.

  Returns:
    For each split, name -> float `[N, T]`, in the order of tables:
    training_mean, random_forest, gradient_boosting, gp_svr (feature_boosting
    above 5,000 training galaxies, see `on_features`) and, if the galaxies have
    masses and O/H, mass_metallicity, NaN where it has no prediction.
  """
  name_of_features, with_features = on_features.predict(
    train, list(splits.values()), seed
  )
  found = {}
  for (name, split), by_features in zip(
    splits.items(), with_features, strict=True
  ):
    found[name] = {
      "training_mean": predict_mean(train, split),
      "random_forest": trees.predict_random_forest(train, split, seed),
      "gradient_boosting": trees.predict_gradient_boosting(train, split, seed),
      name_of_features: by_features,
    }
    by_mass = mass_metallicity.predict(train, split, targets)
    if np.isfinite(by_mass).any():
      found[name]["mass_metallicity"] = by_mass
  return found


def predict_mean(train: galaxies.Split, split: galaxies.Split) -> np.ndarray:
  """Predicts the mean training label for every galaxy, `[N, T]`."""
  return np.broadcast_to(np.nanmean(train.targets, 0), split.targets.shape)
