"""Judges calibrated intervals on galaxies outside training and calibration."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

from galmet_jax import metrics
from galmet_jax.calibration import calibration
from galmet_jax.calibration import conformal

# Nominal probabilities of the first panel.
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.68, 0.8, 0.9, 0.95)
# Probabilities of the intervals in tables.
WRITTEN = (0.68, 0.95)
# How often a measured coverage lies within its band.
_BAND = 0.95
PIT_BINS = 20
_NUM_BINS = 5
# Columns of the catalogue in whose bins the coverage is measured.
_COLUMNS = ("lgm_tot_p50", "petroMag_r", "modelMag_r", "petroR90_r")


def judge(
  target: calibration.Target,
  predicted: np.ndarray,
  true: np.ndarray,
  columns: Mapping[str, np.ndarray],
  training_labels: np.ndarray,
  num_draws: int,
  seed: int,
) -> dict[str, Any]:
  """Compares intervals with true values.

  Args:
    target: calibration.
    predicted: predictions `[N]`.
    true: true values `[N]`, NaN where unknown.
    columns: catalogue of the galaxies, `[N]` each.
    training_labels: labels of the training galaxies `[M]`.
    num_draws: draws of the bootstrap.
    seed: seed of the bootstrap and of ties.

  Returns:
    A block of summary.json:

    * n_calibration, bins: size of the calibration.
    * coverage: for each of LEVELS `[level, measured, low, high]`, where low and
      high are the band that holds 95 % of measurements.
    * pit: galaxies in each of 20 bins; pit_band: 95 % of counts;
      pit_ks_p: p-value of a Kolmogorov-Smirnov test for uniformity.
    * bins_of: quantity -> five rows `[median, n, coverage at 68 %, at 95 %]`.
      Bins of the true value are expected to deviate: predictions shrink.
    * half_width_68, half_width_95: medians.
    * interval_score_68, interval_score_95 (Gneiting & Raftery 2007, eq. 43).
    * crps, and beside it crps_gaussian (a Gaussian of one width) and
      crps_training (the distribution of the training labels for all).
    * slope and slope_true (of true on predicted values), each with _ci68.
  """
  known = np.isfinite(true)
  predicted = predicted[known].astype(np.float64)
  true = true[known].astype(np.float64)
  residuals = target.residuals
  block: dict[str, Any] = {
    "n": len(true),
    "n_calibration": len(residuals),
    "bins": len(residuals.counts),
  }
  if not len(true) or not len(residuals):
    return block
  block["coverage"] = [_coverage(residuals, predicted, true, x) for x in LEVELS]
  pit = residuals.probability_below(
    predicted, true, np.random.default_rng(seed)
  )
  block["pit"] = np.histogram(pit, PIT_BINS, (0, 1))[0].tolist()
  block["pit_band"] = _pit_band(len(residuals), len(true))
  block["pit_ks_p"] = float(stats.kstest(pit, "uniform").pvalue)
  quantities = {"predicted": predicted, "true": true}
  quantities |= {
    name: columns[name][known] for name in _COLUMNS if name in columns
  }
  inside = [_inside(residuals, predicted, true, level) for level in WRITTEN]
  block["bins_of"] = {
    name: _in_bins(values, inside) for name, values in quantities.items()
  }
  for level in WRITTEN:
    low, high = residuals.bounds(predicted, level)
    width = high - low
    outside = np.maximum(low - true, 0) + np.maximum(true - high, 0)
    name = f"{100 * level:.0f}"
    block[f"half_width_{name}"] = float(np.median(width) / 2)
    score = width + 2 / (1 - level) * outside
    block[f"interval_score_{name}"] = float(score.mean())
  block["crps"] = float(residuals.crps(predicted, true).mean())
  block["crps_gaussian"] = _crps_gaussian(residuals.values, true - predicted)
  labels = np.sort(training_labels[np.isfinite(training_labels)])
  scores = conformal.crps_of_sample(labels.astype(np.float64), true)
  block["crps_training"] = float(scores.mean())
  block |= _slopes(predicted, true, num_draws, seed)
  return block


def written_coverage(block: Mapping[str, Any]) -> dict[float, float]:
  """Returns the coverage by level of WRITTEN; empty without a coverage."""
  measured = {row[0]: row[1] for row in block.get("coverage", ())}
  return {level: measured[level] for level in WRITTEN if level in measured}


def describe(block: Mapping[str, Any]) -> list[str]:
  """Returns the coverage as lines of text; none without a coverage."""
  parts = [
    f"{100 * level:.0f} % intervals cover {metrics.show(100 * cover, '.1f')} %"
    for level, cover in written_coverage(block).items()
  ]
  if not parts:
    return []
  return [f"    {', '.join(parts)} ({block['n_calibration']} to calibrate)"]


def _inside(
  residuals: conformal.Residuals,
  predicted: np.ndarray,
  true: np.ndarray,
  level: float,
) -> np.ndarray:
  """Returns 1 for each galaxy in its interval, 0 outside, NaN without one."""
  low, high = residuals.bounds(predicted, level)
  found = ((low <= true) & (true <= high)).astype(np.float64)
  return np.where(np.isfinite(low + high), found, np.nan)


def _coverage(
  residuals: conformal.Residuals,
  predicted: np.ndarray,
  true: np.ndarray,
  level: float,
) -> list[float]:
  measured = _inside(residuals, predicted, true, level).mean()
  band = residuals.coverage_band(predicted, level, _BAND)
  return [level, float(measured), *band]


def _pit_band(n: int, number: int) -> list[int]:
  """Returns the range of 95 % of the counts of `number` galaxies in a bin."""
  share = (n + 1) / PIT_BINS
  law = stats.betabinom(number, share, n + 1 - share)
  return [int(x) for x in law.ppf([(1 - _BAND) / 2, (1 + _BAND) / 2])]


def _in_bins(values: np.ndarray, inside: list[np.ndarray]) -> list[list[float]]:
  """Returns median, number and coverages in bins of equal number."""
  order = np.argsort(values[np.isfinite(values)], kind="stable")
  order = np.flatnonzero(np.isfinite(values))[order]
  return [
    [float(np.median(values[part])), len(part)]
    + [float(each[part].mean()) for each in inside]
    for part in np.array_split(order, _NUM_BINS)
    if len(part)
  ]


def _crps_gaussian(residuals: np.ndarray, found: np.ndarray) -> float:
  """Returns the mean CRPS of a Gaussian with the residuals' mean and width."""
  width = residuals.std()
  if not width:
    return float(np.abs(found - residuals.mean()).mean())
  z = (found - residuals.mean()) / width
  score = z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z)
  return float(width * (score - 1 / np.sqrt(np.pi)).mean())


def _slopes(
  predicted: np.ndarray, true: np.ndarray, num_draws: int, seed: int
) -> dict[str, Any]:
  def slopes(index: np.ndarray | slice) -> dict[str, np.ndarray]:
    x, y = true[index], predicted[index]
    return {
      "slope": metrics.compute(x, y)["slope"],
      "slope_true": metrics.compute(y, x)["slope"],
    }

  draws = metrics.bootstrap(slopes, len(true), num_draws, seed)
  result: dict[str, Any] = {}
  for name, value in slopes(slice(None)).items():
    result[name] = float(value)
    result[f"{name}_ci68"] = metrics.interval(draws[name])
  return result
