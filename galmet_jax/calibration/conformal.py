"""Conformal intervals from the residuals of galaxies outside training.

Split conformal prediction with signed residuals in bins of the predicted value
(Mondrian; Vovk et al. 2005, section 4.5). An interval is for the value that a
spectrum would give: it includes the noise of the labels.
"""

import dataclasses

import numpy as np
from scipy import stats

_GALAXIES_PER_BIN = 100
_MAX_BINS = 10
# Draws from the distribution of a coverage.
_DRAWS = 20_000


@dataclasses.dataclass(frozen=True)
class Residuals:
  """Sorted residuals, true − predicted, in K bins of the predicted value.

  Attributes:
    edges: inner edges of the bins, float64 `[K - 1]`; a value on an edge
      belongs to the bin above it.
    values: residuals of all bins, one bin after the other, each sorted;
      float64 `[n]`.
    counts: number of residuals in each bin, int64 `[K]`.
  """

  edges: np.ndarray
  values: np.ndarray
  counts: np.ndarray

  @classmethod
  def fit(cls, predicted: np.ndarray, true: np.ndarray) -> "Residuals":
    """Collects the residuals of n galaxies `[n]` that training has not seen.

    K is n // 100, but at least 1 and at most 10; the edges are quantiles of the
    predicted values.
    """
    predicted = np.asarray(predicted, np.float64)
    residuals = np.asarray(true, np.float64) - predicted
    num_bins = np.clip(len(predicted) // _GALAXIES_PER_BIN, 1, _MAX_BINS)
    edges = np.empty(0)
    if num_bins > 1:
      levels = np.arange(1, num_bins) / num_bins
      edges = np.unique(np.quantile(predicted, levels))
      # No bin is empty, even if many predicted values are equal.
      edges = edges[edges > predicted.min()]
    index = np.searchsorted(edges, predicted, side="right")
    order = np.lexsort((residuals, index))
    counts = np.bincount(index, minlength=len(edges) + 1)
    return cls(edges, residuals[order], counts)

  def __len__(self) -> int:
    return len(self.values)

  def bin_of(self, predicted: np.ndarray) -> np.ndarray:
    """Returns the bins of predicted values `[N]`, int64 `[N]`."""
    return np.searchsorted(self.edges, predicted, side="right")

  def of_bin(self, index: int) -> np.ndarray:
    """Returns the sorted residuals of a bin."""
    stop = int(self.counts[: index + 1].sum())
    return self.values[stop - int(self.counts[index]) : stop]

  def bounds(
    self, predicted: np.ndarray, level: float
  ) -> tuple[np.ndarray, np.ndarray]:
    """Returns the interval that covers the true value with a probability.

    Of n residuals in a bin, the bounds are those of rank ⌊(n + 1) α / 2⌋ and
    ⌈(n + 1) (1 − α / 2)⌉, where α = 1 − level. The probability is then at least
    `level`, averaged over calibration sets, for any distribution of residuals.

    Args:
      predicted: predicted values `[N]`.
      level: the probability, from 0 to 1.

    Returns:
      Lower and upper bound, float64 `[N]`. NaN where the bin has too few
      residuals for a finite one.
    """
    predicted = np.asarray(predicted, np.float64)
    offsets = np.array(
      [
        [_at(self.of_bin(i), rank) for rank in ranks(int(n), level)]
        for i, n in enumerate(self.counts)
      ]
    )
    low, high = offsets[self.bin_of(predicted)].T
    return predicted + low, predicted + high

  def coverage_band(
    self, predicted: np.ndarray, level: float, probability: float
  ) -> tuple[float, float]:
    """Returns where the fraction inside `bounds` lies, if all is exchangeable.

    Bounds of ranks l and h among the n residuals of a bin have a coverage with
    the distribution Beta(h − l, n + 1 − h + l). The number of galaxies inside
    then has a beta-binomial distribution.

    Args:
      predicted: predicted values of the N galaxies.
      level: the probability of the interval.
      probability: how often the fraction lies within the band.

    Returns:
      The lowest and the highest fraction; NaN if a bound is not finite.
    """
    numbers = np.bincount(self.bin_of(predicted), minlength=len(self.counts))
    rng = np.random.default_rng(0)
    inside = np.zeros(_DRAWS)
    for n, number in zip(self.counts.tolist(), numbers.tolist(), strict=True):
      low, high = ranks(n, level)
      if number and (low < 1 or high > n):
        return np.nan, np.nan
      if number:
        law = stats.betabinom(number, high - low, n + 1 - high + low)
        inside += law.rvs(_DRAWS, random_state=rng)
    tail = (1 - probability) / 2
    low, high = np.quantile(inside / len(predicted), [tail, 1 - tail])
    return float(low), float(high)

  def probability_below(
    self, predicted: np.ndarray, true: np.ndarray, rng: np.random.Generator
  ) -> np.ndarray:
    """Returns the probability integral transform (PIT), float64 `[N]`.

    It is the rank of a residual among those of its bin, over their number plus
    one; uniform in 0-1 for galaxies like those of the calibration.

    Args:
      predicted: predicted values `[N]`.
      true: true values `[N]`.
      rng: spreads a galaxy evenly over its rank.
    """
    residuals = np.asarray(true, np.float64) - predicted
    below, ties = np.empty((2, len(residuals)))
    bins = self.bin_of(predicted)
    for index in range(len(self.counts)):
      here, found = bins == index, self.of_bin(index)
      below[here] = np.searchsorted(found, residuals[here], "left")
      ties[here] = np.searchsorted(found, residuals[here], "right")
    ties -= below
    spread = rng.uniform(size=len(residuals)) * (ties + 1)
    return (below + spread) / (self.counts[bins] + 1)

  def crps(self, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Returns the continuous ranked probability score, float64 `[N]`.

    The predicted distribution is that of the residuals in the galaxy's bin.
    """
    residuals = np.asarray(true, np.float64) - predicted
    scores = np.empty(len(residuals))
    bins = self.bin_of(predicted)
    for index in range(len(self.counts)):
      here = bins == index
      scores[here] = crps_of_sample(self.of_bin(index), residuals[here])
    return scores


def ranks(n: int, level: float) -> tuple[int, int]:
  """Returns the ranks of the bounds among n residuals, from 1.

  A rank of 0 or n + 1 stands for an infinite bound.
  """
  tail = (1 - level) / 2
  # The tolerance keeps rounding errors, as of 0.16 · 100, from a rank too far.
  low = int(np.floor((n + 1) * tail + 1e-9))
  high = int(np.ceil((n + 1) * (1 - tail) - 1e-9))
  return low, high


def _at(values: np.ndarray, rank: int) -> float:
  return float(values[rank - 1]) if 1 <= rank <= len(values) else np.nan


def crps_of_sample(sample: np.ndarray, true: np.ndarray) -> np.ndarray:
  """Returns the CRPS of a sorted sample `[n]` for true values `[N]`.

  E|X − y| − E|X − X'| / 2, for X and X' drawn from the sample.
  """
  n = len(sample)
  sums = np.concatenate([[0.0], np.cumsum(sample)])
  below = np.searchsorted(sample, true)
  # Σ|x − y|: of those below, y − x; of those above, x − y.
  distance = true * (2 * below - n) - 2 * sums[below] + sums[-1]
  weights = 2 * np.arange(1, n + 1) - n - 1
  return distance / n - (weights @ sample) / n**2
