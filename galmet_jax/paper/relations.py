"""The mass-metallicity relation, and running quantiles."""

import functools

import numpy as np
from scipy import stats

from galmet_jax import metrics

# Range of log stellar mass that Tremonti et al. (2004) fitted.
FITTED = (8.5, 11.5)


def tremonti(mass: np.ndarray) -> np.ndarray:
  """Evaluates the mean mass-metallicity relation of SDSS galaxies.

  Tremonti et al. (2004), ApJ 613, 898, equation 3, fitted to star-forming
  galaxies over 8.5 < log mass < 11.5.

  Args:
    mass: `[...]`, log10 of solar masses.

  Returns:
    12 + log(O/H), float64 `[...]`.
  """
  mass = np.asarray(mass, np.float64)
  return -1.492 + 1.847 * mass - 0.08026 * mass**2


def scatter_about_tremonti(
  mass: np.ndarray, metallicity: np.ndarray
) -> dict[str, np.ndarray]:
  """Computes the metrics of metallicities about Tremonti's relation.

  Args:
    mass: `[N]`, log10 of solar masses; galaxies without a mass (NaN) or
      outside the fitted range are ignored.
    metallicity: `[N]`, 12 + log(O/H).

  Returns:
    The result of `metrics.compute`; all NaN if no galaxy is in range.
  """
  inside = (mass > FITTED[0]) & (mass < FITTED[1])
  if not inside.any():
    return {name: np.array(np.nan) for name in metrics.NAMES}
  return metrics.compute(tremonti(mass[inside]), metallicity[inside])


def running_quantiles(
  x: np.ndarray, y: np.ndarray, num_bins: int, min_count: int
) -> tuple[np.ndarray, np.ndarray]:
  """Computes quantiles of y in bins of x.

  Args:
    x: `[N]`, finite.
    y: `[N]`, finite.
    num_bins: number of bins of equal width over the range of x.
    min_count: smallest number of pairs for which a bin has quantiles.

  Returns:
    (bin centres `[num_bins]`, 16th, 50th and 84th percentile `[3, num_bins]`,
    NaN for bins with fewer than `min_count` pairs).
  """
  x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
  counts, edges, _ = stats.binned_statistic(x, y, "count", num_bins)
  quantiles = np.stack(
    [
      stats.binned_statistic(
        x, y, functools.partial(np.percentile, q=q), num_bins
      ).statistic
      for q in (16, 50, 84)
    ]
  )
  quantiles[:, counts < min_count] = np.nan
  return (edges[:-1] + edges[1:]) / 2, quantiles
