"""Oxygen abundances from stellar masses alone."""

from collections.abc import Sequence

import numpy as np

from galmet_jax.data import galaxies

_MASS = "lgm_tot_p50"
_MASS_BIN = 0.15  # dex
# The median O/H of 20 galaxies of equal mass is accurate to about 0.03 dex.
_MIN_IN_BIN = 20


def predict(
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
      relation = fit(mass, oh)
      predicted[:, i] = evaluate(split.columns[_MASS], *relation)
  return predicted


def fit(mass: np.ndarray, oh: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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


def evaluate(
  mass: np.ndarray, centres: np.ndarray, medians: np.ndarray
) -> np.ndarray:
  """Evaluates a relation from `fit` at masses `[N]`.

  Returns:
    O/H, float64 `[N]`: linear between the bins, constant outside them, and NaN
    for a missing mass.
  """
  return np.where(_is_mass(mass), np.interp(mass, centres, medians), np.nan)


def _is_mass(mass: np.ndarray) -> np.ndarray:
  # SDSS writes -9999 for a missing mass.
  return np.isfinite(mass) & (mass > 0)
