"""The mass-metallicity relation, and how a quantity runs with another."""

import numpy as np

from galmet_jax import metrics

# Of log stellar mass: where Tremonti et al. (2004) fitted their relation.
FITTED = (8.5, 11.5)


def tremonti(mass: np.ndarray) -> np.ndarray:
  """The mean mass-metallicity relation of star-forming galaxies in SDSS.

  Tremonti et al. (2004), ApJ 613, 898, equation 3, who fitted it over
  8.5 < log mass < 11.5.

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
  """Computes the figures of merit of metallicities about the relation.

  Args:
    mass: `[N]`, log10 of solar masses; a galaxy without one (NaN), or outside
      the range of the relation, is left out.
    metallicity: `[N]`, 12 + log(O/H).

  Returns:
    As `metrics.compute`; all NaN if no galaxy is left.
  """
  inside = (mass > FITTED[0]) & (mass < FITTED[1])
  if not inside.any():
    return {name: np.array(np.nan) for name in metrics.NAMES}
  return metrics.compute(tremonti(mass[inside]), metallicity[inside])


def running_quantiles(
  x: np.ndarray, y: np.ndarray, num_bins: int, min_count: int
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
  """Computes quantiles of y in bins of x.

  Args:
    x: `[N]`; where it or y is not finite, the pair is left out.
    y: `[N]`.
    num_bins: of equal width, over the range of x.
    min_count: pairs, one or more, below which a bin has no quantiles.

  Returns:
    the bins' centres `[num_bins]`, and the 16th, 50th and 84th percentile
    `[num_bins]` each, NaN where there are too few.
  """
  finite = np.isfinite(x) & np.isfinite(y)
  x = np.asarray(x, np.float64)[finite]
  y = np.asarray(y, np.float64)[finite]
  edges = np.histogram_bin_edges(x, num_bins)
  # By the inner edges: the greatest x is in the last bin.
  index = np.searchsorted(edges[1:-1], x, side="right")
  quantiles = np.full((3, num_bins), np.nan)
  for i in range(num_bins):
    inside = y[index == i]
    if len(inside) >= min_count:
      quantiles[:, i] = np.percentile(inside, [16, 50, 84])
  low, median, high = quantiles
  return (edges[:-1] + edges[1:]) / 2, (low, median, high)
