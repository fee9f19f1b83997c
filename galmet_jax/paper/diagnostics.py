"""Do photometry and morphology tell different things? Section 4.1.

Galaxies without a label, or without a prediction by one of the systems (NaN),
are left out, and each bootstrap draw takes the same galaxies for all systems.
`NAME_ci68` is the 68 % interval of NAME over the draws.
"""

from collections.abc import Callable
from collections.abc import Mapping
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
  """Compares the information in colour images with that of its two sources.

  The paper expects 1/MSE(image) = 1/MSE(photometry) + 1/MSE(morphology) of
  independent sources, and does not find it: its RMSEs 0.0851, 0.1296 and
  0.1586 make the image's 1.39 times the sum. The sum is not what independence
  gives, though, since the labels' variance σ² is known before anything is seen:
  a measurement of precision p of a Gaussian label leaves 1/MSE₁ = 1/σ² + p,
  another of q leaves 1/MSE₂ = 1/σ² + q, and both 1/σ² + p + q = 1/MSE₁ +
  1/MSE₂ − 1/σ². The paper counts 1/σ² twice; both expectations are returned.

  Args:
    true: `[N]`, dex.
    photometry: predictions by colours alone (the random forest), `[N]`.
    morphology: predictions by r-band images, `[N]`.
    image: predictions by colour images, `[N]`.
    num_draws: bootstrap draws over galaxies.
    seed: of the draws.

  Returns:
    `n`, and with their intervals

    * information_photometry, _morphology and _image: 1/MSE, in 1/dex²;
      information_prior: 1/σ².
    * information_sum, the paper's expectation, and information_independent,
      with the prior counted once.
    * ratio_to_sum and ratio_to_independent: 1/MSE(image) over each.
    * mse_image, and what independence would give, mse_sum and
      mse_independent, in dex².

    ratio_to_independent and mse_independent are NaN where the sources know
    less than the prior.

  Raises:
    ValueError: if fewer than two galaxies are left.
  """
  true, *predicted = _complete(true, photometry, morphology, image)
  squares = (np.stack(predicted) - true) ** 2

  def statistic(index: np.ndarray) -> dict[str, np.ndarray]:
    mse = squares[:, index].mean(-1)
    # A draw of few galaxies may have no error, or one label alone.
    with np.errstate(divide="ignore", invalid="ignore"):
      by_photometry, by_morphology, by_image = 1 / mse
      prior = 1 / true[index].var(-1)
      total = by_photometry + by_morphology
      independent = total - prior
      # Beyond that there is no such MSE.
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
  """Correlates the errors of each pair of systems (Pearson).

  Independent sources do not give zero: their predictions shrink to the same
  mean. Of posterior means of a Gaussian label, as in `information_sum`, the
  errors correlate by √(MSE₁ MSE₂)/σ².

  Args:
    errors: predicted − true by system, `[N]` each, dex.
    num_draws: bootstrap draws over galaxies.
    seed: of the draws.

  Returns:
    `n`, and for each pair `FIRST:SECOND` and `FIRST:SECOND_ci68`; NaN for
    errors that are all alike.

  Raises:
    ValueError: if fewer than two galaxies are left.
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
        for i in range(len(names))
        for j in range(i + 1, len(names))
      }

  return _with_intervals(statistic, values.shape[1], num_draws, seed)


def paired_rmse_difference(
  true: np.ndarray, a: np.ndarray, b: np.ndarray, num_draws: int, seed: int
) -> dict[str, Any]:
  """Compares two systems on the same galaxies.

  What is hard for one is hard for the other, so that the difference is better
  known than either RMSE.

  Args:
    true: `[N]`, dex.
    a: predictions of one system, `[N]`.
    b: predictions of the other, `[N]`.
    num_draws: bootstrap draws over galaxies.
    seed: of the draws.

  Returns:
    `n`; `difference`, RMSE(a) − RMSE(b) in dex, and `difference_ci68`;
    `fraction_a_worse`, of the draws.

  Raises:
    ValueError: if fewer than two galaxies are left.
  """
  true, *predicted = _complete(true, a, b)
  squares = (np.stack(predicted) - true) ** 2

  def statistic(index: np.ndarray) -> dict[str, np.ndarray]:
    rmse = np.sqrt(squares[:, index].mean(-1))
    return {"difference": rmse[0] - rmse[1]}

  value = statistic(np.arange(len(true)))["difference"]
  draws = metrics.bootstrap(statistic, len(true), num_draws, seed)["difference"]
  return {
    "n": len(true),
    "difference": float(value),
    "difference_ci68": metrics.interval(draws),
    "fraction_a_worse": float((draws > 0).mean()),
  }


def _complete(*arrays: np.ndarray) -> list[np.ndarray]:
  """Returns, as float64, the galaxies that have a value in every array."""
  columns = [np.asarray(array, np.float64) for array in arrays]
  known = ~np.any(np.isnan(np.stack(columns)), axis=0)
  if np.count_nonzero(known) < 2:
    raise ValueError(
      "expected at least two galaxies with a label and every prediction, "
      f"found {np.count_nonzero(known)} among {known.size}. Look for NaN in "
      "the predictions_*.csv of the runs."
    )
  return [column[known] for column in columns]


def _with_intervals(
  statistic: Callable[[np.ndarray], dict[str, np.ndarray]],
  n: int,
  num_draws: int,
  seed: int,
) -> dict[str, Any]:
  """Returns `n`, and each value of a statistic with its interval."""
  result: dict[str, Any] = {"n": n}
  draws = metrics.bootstrap(statistic, n, num_draws, seed)
  for name, value in statistic(np.arange(n)).items():
    result[name] = float(value)
    result[f"{name}_ci68"] = metrics.interval(draws[name])
  return result
