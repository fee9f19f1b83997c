"""Do photometry and morphology carry different information? (section 4.1).

All functions ignore galaxies with a missing (NaN) label or prediction, and
resample all systems with the same bootstrap draws. `NAME_ci68` is the 68 %
interval of NAME over the draws. They raise ValueError if fewer than two
galaxies are complete.
"""

from collections.abc import Callable
from collections.abc import Mapping
import itertools
from typing import Any

import numpy as np

from galmet_jax import metrics


def information_sum(
  true: np.ndarray,
  photometry: np.ndarray,
  morphology: np.ndarray,
  image: np.ndarray,
  num_draws: int,
  seed: int,
) -> dict[str, Any]:
  """Compares the information in colour images with that in its two sources.

  The paper expects 1/MSE(image) = 1/MSE(photometry) + 1/MSE(morphology) if
  the sources are independent, but its RMSEs 0.0851, 0.1296 and 0.1586 give
  1.39 times that sum. The sum ignores the prior: the variance σ² of the labels
  is known before any measurement. Measurements of precision p and q of a
  Gaussian label give 1/MSE₁ = 1/σ² + p and 1/MSE₂ = 1/σ² + q, and together
  1/σ² + p + q = 1/MSE₁ + 1/MSE₂ − 1/σ². The paper counts 1/σ² twice. This
  function returns both expectations.

  Args:
    true: `[N]`, dex.
    photometry: predictions from colours (the random forest), `[N]`.
    morphology: predictions from r-band images, `[N]`.
    image: predictions from colour images, `[N]`.
    num_draws: bootstrap draws over galaxies.
    seed: seed of the draws.

  Returns:
    `n`, and with their intervals

    * information_photometry, _morphology and _image: 1/MSE, in 1/dex²;
      information_prior: 1/σ².
    * information_sum: the paper's expectation; information_independent: the
      expectation that counts the prior once.
    * ratio_to_sum and ratio_to_independent: 1/MSE(image) over each.
    * mse_image, and the two expectations of it, mse_sum and mse_independent,
      in dex².

    ratio_to_independent and mse_independent are NaN if information_independent
    is not positive.
  """
  true, *predicted = _complete(true, photometry, morphology, image)
  squares = (np.stack(predicted) - true) ** 2

  def statistic(index: np.ndarray) -> dict[str, np.ndarray]:
    mse = squares[:, index].mean(-1)
    # A draw of few galaxies may have zero error or a single label.
    with np.errstate(divide="ignore", invalid="ignore"):
      by_photometry, by_morphology, by_image = 1 / mse
      prior = 1 / true[index].var(-1)
      total = by_photometry + by_morphology
      independent = total - prior
      positive = np.where(independent > 0, independent, np.nan)
      return {
        "information_photometry": by_photometry,
        "information_morphology": by_morphology,
        "information_image": by_image,
        "information_prior": prior,
        "information_sum": total,
        "information_independent": independent,
        "ratio_to_sum": by_image / total,
        "ratio_to_independent": by_image / positive,
        "mse_image": mse[2],
        "mse_sum": 1 / total,
        "mse_independent": 1 / positive,
      }

  return _with_intervals(statistic, len(true), num_draws, seed)


def error_correlations(
  errors: Mapping[str, np.ndarray], num_draws: int, seed: int
) -> dict[str, Any]:
  """Computes the Pearson correlation of the errors of each pair of systems.

  Even independent sources have correlated errors, since their predictions
  shrink to the same mean: for posterior means of a Gaussian label, as in
  `information_sum`, the correlation is √(MSE₁ MSE₂)/σ².

  Args:
    errors: predicted − true by system, `[N]` each, dex.
    num_draws: bootstrap draws over galaxies.
    seed: seed of the draws.

  Returns:
    `n`, and for each pair `FIRST:SECOND` and `FIRST:SECOND_ci68`; NaN for
    constant errors.
  """
  names = list(errors)
  values = np.stack(_complete(*errors.values()))

  def statistic(index: np.ndarray) -> dict[str, np.ndarray]:
    drawn = values[:, index]
    centred = drawn - drawn.mean(-1, keepdims=True)
    norm = np.sqrt((centred**2).sum(-1))
    with np.errstate(invalid="ignore"):
      return {
        f"{names[i]}:{names[j]}": (centred[i] * centred[j]).sum(-1)
        / (norm[i] * norm[j])
        for i, j in itertools.combinations(range(len(names)), 2)
      }

  return _with_intervals(statistic, values.shape[1], num_draws, seed)


def paired_rmse_difference(
  true: np.ndarray, a: np.ndarray, b: np.ndarray, num_draws: int, seed: int
) -> dict[str, Any]:
  """Compares the RMSEs of two systems on the same galaxies.

  The errors of two systems are correlated, so that the difference has a
  narrower interval than either RMSE. For several networks of a system, which
  differ in their seed, the mean of their RMSEs is compared. The intervals then
  hold for other galaxies and other seeds: a bootstrap over galaxies, plus
  Student's t of the scatter between seeds.

  Args:
    true: `[N]`, dex.
    a: predictions of one system, `[N]` or `[S, N]` for S seeds.
    b: predictions of the other, also with another S.
    num_draws: bootstrap draws over galaxies.
    seed: seed of the draws.

  Returns:
    `n`, `difference`, RMSE(a) − RMSE(b) in dex, and its intervals
    `difference_ci68` and `difference_ci95`.
  """
  a, b = np.atleast_2d(a), np.atleast_2d(b)
  true, *predicted = _complete(true, *a, *b)
  squares = (np.stack(predicted) - true) ** 2

  def statistic(index: np.ndarray) -> dict[str, np.ndarray]:
    rmse = np.sqrt(squares[:, index].mean(-1))
    return {"difference": rmse[: len(a)].mean(0) - rmse[len(a) :].mean(0)}

  draws = metrics.bootstrap(statistic, len(true), num_draws, seed)["difference"]
  rmse = np.sqrt(squares.mean(-1))
  variance, freedom = 0.0, 0
  for own in (rmse[: len(a)], rmse[len(a) :]):
    if len(own) > 1:
      variance += own.var(ddof=1) / len(own)
      freedom += len(own) - 1
  if freedom:
    rng = np.random.default_rng(seed + 1)
    draws = draws + np.sqrt(variance) * rng.standard_t(freedom, len(draws))
  return {
    "n": len(true),
    "difference": float(statistic(np.arange(len(true)))["difference"]),
    "difference_ci68": metrics.interval(draws),
    "difference_ci95": metrics.interval(draws, 0.95),
  }


def _complete(*arrays: np.ndarray) -> list[np.ndarray]:
  """Drops galaxies that lack a value in any array; converts to float64."""
  values = np.stack([np.asarray(array, np.float64) for array in arrays])
  known = ~np.isnan(values).any(axis=0)
  if known.sum() < 2:
    raise ValueError(
      "expected at least two galaxies with a label and every prediction, "
      f"found {known.sum()} among {known.size}. Look for NaN in the "
      "predictions_*.csv of the runs."
    )
  return list(values[:, known])


def _with_intervals(
  statistic: Callable[[np.ndarray], dict[str, np.ndarray]],
  n: int,
  num_draws: int,
  seed: int,
) -> dict[str, Any]:
  """Evaluates a statistic on all n galaxies and on bootstrap draws."""
  result: dict[str, Any] = {"n": n}
  draws = metrics.bootstrap(statistic, n, num_draws, seed)
  for name, value in statistic(np.arange(n)).items():
    result[name] = float(value)
    result[f"{name}_ci68"] = metrics.interval(draws[name])
  return result
