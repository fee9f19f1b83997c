"""Regression metrics with bootstrap intervals."""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

# In the order of tables and of summary.json.
NAMES = ("rmse", "mae", "nmad", "bias", "r2", "slope", "outlier_fraction")


def compute(true: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
  """Computes the metrics of `[..., N]` along the last axis.

  With Δ = predicted − true:

  * rmse: √⟨Δ²⟩; mae: ⟨|Δ|⟩; bias: ⟨Δ⟩.
  * nmad: 1.4826 · median|Δ − median Δ|, a robust standard deviation.
  * r2: 1 − Σ Δ² / Σ (true − ⟨true⟩)².
  * slope: slope of the least-squares line of predicted on true; below one if
    predictions shrink to the mean.
  * outlier_fraction: fraction of galaxies with |Δ| > 3 nmad.

  Returns:
    name -> float64 `[...]`, in the units of the target (r2, slope and
    outlier_fraction have none). NaN where it is undefined: all of no galaxy;
    nmad and outlier_fraction of one; r2 and slope if all labels are equal.
  """
  true = np.asarray(true, np.float64)
  predicted = np.asarray(predicted, np.float64)
  if not true.shape[-1]:
    return {name: np.full(predicted.shape[:-1], np.nan) for name in NAMES}
  delta = predicted - true
  centred = true - true.mean(-1, keepdims=True)
  # Labels may all be equal, as in a bootstrap draw from a small split. The sum
  # of squares is then not always zero, because the mean is rounded.
  equal = np.ptp(true, axis=-1) == 0
  variance = np.where(equal, np.nan, (centred**2).sum(-1))
  r2 = 1 - (delta**2).sum(-1) / variance
  slope = (centred * predicted).sum(-1) / variance
  nmad = 1.4826 * stats.median_abs_deviation(delta, axis=-1)
  outliers = (np.abs(delta) > 3 * nmad[..., None]).mean(-1)
  if true.shape[-1] == 1:
    nmad, outliers = np.full_like(nmad, np.nan), np.full_like(outliers, np.nan)
  return {
    "rmse": np.sqrt((delta**2).mean(-1)),
    "mae": np.abs(delta).mean(-1),
    "nmad": nmad,
    "bias": delta.mean(-1),
    "r2": r2,
    "slope": slope,
    "outlier_fraction": outliers,
  }


def with_intervals(
  true: np.ndarray, predicted: np.ndarray, num_draws: int, seed: int
) -> dict[str, Any]:
  """Computes the metrics and their 68 % bootstrap intervals over galaxies.

  Args:
    true: `[N]`.
    predicted: `[N]`, or `[S, N]` by S networks that differ in their seed. Each
      metric is then the mean of theirs.
    num_draws: bootstrap draws.
    seed: seed of the draws.

  Returns:
    `n`, and for each of NAMES its value and `NAME_ci68`, the 16th and 84th
    percentile of the draws.
  """
  result: dict[str, Any] = {"n": len(true)}
  predicted = np.atleast_2d(predicted)

  def statistic(index: np.ndarray) -> dict[str, np.ndarray]:
    values = compute(true[index], predicted[:, index])
    return {name: value.mean(0) for name, value in values.items()}

  values = statistic(np.arange(len(true)))
  draws = {name: np.empty(0) for name in NAMES}
  if len(true):
    draws = bootstrap(statistic, len(true), num_draws, seed)
  for name in NAMES:
    result[name] = float(values[name])
    result[f"{name}_ci68"] = interval(draws[name])
  return result


def show(value: float | np.ndarray | None, spec: str) -> str:
  """Formats a number for a table; "-" if it is absent or not finite."""
  if value is None or not np.isfinite(value):
    return "-"
  return format(value, spec)


def interval(draws: np.ndarray, level: float = 0.68) -> list[float]:
  """Returns the central interval of the finite draws, or two NaN."""
  finite = draws[np.isfinite(draws)]
  if not len(finite):
    return [np.nan, np.nan]
  ends = (50 - 50 * level, 50 + 50 * level)
  return [float(value) for value in np.percentile(finite, ends)]


def bootstrap(
  statistic: Callable[[np.ndarray], Mapping[str, np.ndarray]],
  n: int,
  num_draws: int,
  seed: int,
) -> dict[str, np.ndarray]:
  """Evaluates a statistic on draws with replacement from n galaxies.

  The statistic maps indices `[draws, n]` to named values `[draws]`. Returns
  name -> values `[num_draws]`.
  """
  rng = np.random.default_rng(seed)
  # Chunks bound the memory: one index array of all draws may not fit.
  chunk = max(1, 2_000_000 // n)
  parts = []
  for start in range(0, num_draws, chunk):
    size = min(chunk, num_draws - start)
    parts.append(statistic(rng.integers(0, n, (size, n))))
  return {
    name: np.concatenate([np.atleast_1d(part[name]) for part in parts])
    for name in parts[0]
  }
