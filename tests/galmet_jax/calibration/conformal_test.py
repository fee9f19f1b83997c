"""Conformal intervals against closed forms and independent implementations."""

import crepes
import numpy as np
import pytest
from scipy import stats
import scoringrules

from galmet_jax.calibration import conformal


def fit(residuals, predicted=None):
  predicted = np.zeros(len(residuals)) if predicted is None else predicted
  return conformal.Residuals.fit(predicted, predicted + residuals)


def heteroscedastic(rng, n):
  """Returns predictions and true values whose scatter falls with them."""
  predicted = rng.uniform(8, 9, n)
  return predicted, predicted + (9.3 - predicted) * rng.standard_t(4, n) / 10


@pytest.mark.parametrize(
  ("n", "level", "expected"),
  [
    (99, 0.68, (16, 84)),
    (99, 0.95, (2, 98)),
    (199, 0.95, (5, 195)),
    (9, 0.8, (1, 9)),
    (10, 0.95, (0, 11)),
    (38, 0.95, (0, 39)),
    (39, 0.95, (1, 39)),
  ],
)
def test_ranks_are_those_of_n_plus_one(n, level, expected):
  assert conformal.ranks(n, level) == expected


def test_bounds_are_order_statistics():
  residuals = np.random.default_rng(0).permutation(np.arange(1.0, 100.0))
  low, high = fit(residuals).bounds(np.zeros(1), 0.68)
  # The 84th of 99, not the 85th percentile.
  assert (low[0], high[0]) == (16.0, 84.0)


@pytest.mark.parametrize("n", [1, 10, 38])
def test_no_finite_bound_is_nan_not_the_extreme(n):
  low, high = fit(np.arange(float(n))).bounds(np.zeros(3), 0.95)
  assert np.isnan(low).all()
  assert np.isnan(high).all()


@pytest.mark.parametrize("law", [stats.uniform(), stats.expon(), stats.norm()])
@pytest.mark.parametrize(("n", "level"), [(9, 0.8), (24, 0.68), (99, 0.95)])
def test_expected_coverage_is_exact(law, n, level):
  rng = np.random.default_rng(1)
  low, high = conformal.ranks(n, level)
  covered = []
  for _ in range(2_000):
    bounds = fit(law.rvs(n, random_state=rng)).bounds(np.zeros(1), level)
    covered.append(law.cdf(bounds[1][0]) - law.cdf(bounds[0][0]))
  expected = (high - low) / (n + 1)
  assert expected >= level - 1e-9
  error = np.std(covered) / np.sqrt(len(covered))
  np.testing.assert_allclose(np.mean(covered), expected, atol=4 * error)


def test_equal_to_an_independent_implementation():
  rng = np.random.default_rng(2)
  predicted, true = heteroscedastic(rng, 999)
  new = np.sort(rng.uniform(8, 9, 300))
  ours = conformal.Residuals.fit(predicted, true)
  assert ours.counts.tolist() == [111] * 9
  theirs = crepes.ConformalPredictiveSystem().fit(
    true - predicted, bins=ours.bin_of(predicted), seed=0
  )
  for level in (0.68, 0.9):
    expected = theirs.predict_int(new, bins=ours.bin_of(new), confidence=level)
    found = np.stack(ours.bounds(new, level), 1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
  ("n", "bins"), [(1, 1), (99, 1), (200, 2), (302, 3), (1000, 10), (5000, 10)]
)
def test_number_of_bins(n, bins):
  predicted = np.random.default_rng(0).normal(size=n)
  residuals = fit(np.zeros(n), predicted)
  assert len(residuals.counts) == bins
  assert residuals.counts.min() >= n // bins
  assert residuals.counts.sum() == n == len(residuals)


@pytest.mark.parametrize("n", [0, 300])
def test_equal_predictions_are_one_bin(n):
  residuals = fit(np.arange(float(n)))
  assert residuals.counts.tolist() == [n]
  low, _ = residuals.bounds(np.array([-1.0, 0.0, 1.0]), 0.68)
  assert np.isnan(low).all() == (n == 0)


def test_coverage_in_bins_of_simulated_galaxies():
  """At most 3 of 400 coverages lie outside their 99.9 % band."""
  outside = 0
  for seed in range(20):
    rng = np.random.default_rng(seed)
    residuals = conformal.Residuals.fit(*heteroscedastic(rng, 4_000))
    predicted, true = heteroscedastic(rng, 4_000)
    bins = residuals.bin_of(predicted)
    for level in (0.68, 0.95):
      low, high = residuals.bounds(predicted, level)
      inside = (low <= true) & (true <= high)
      for index, n in enumerate(residuals.counts.tolist()):
        here = bins == index
        first, last = conformal.ranks(n, level)
        law = stats.betabinom(here.sum(), last - first, n + 1 - last + first)
        limits = law.ppf([0.0005, 0.9995])
        outside += not limits[0] <= inside[here].sum() <= limits[1]
  assert outside <= 3


def test_calibration_on_training_residuals_is_noticed():
  """Residuals of a fitted model are too small for other galaxies."""
  rng = np.random.default_rng(0)
  features = rng.normal(size=(800, 200))
  true = features[:, 0] + rng.normal(size=800)
  weights = np.linalg.lstsq(features[:400], true[:400], rcond=None)[0]
  predicted = features @ weights
  wrong = conformal.Residuals.fit(predicted[:400], true[:400])
  right = conformal.Residuals.fit(predicted[400:600], true[400:600])
  new, labels = predicted[600:], true[600:]
  for residuals, calibrated in ((wrong, False), (right, True)):
    low, high = residuals.bounds(new, 0.68)
    measured = ((low <= labels) & (labels <= high)).mean()
    least, most = residuals.coverage_band(new, 0.68, 0.999)
    assert (least <= measured <= most) == calibrated


def test_coverage_band_of_one_bin_is_beta_binomial():
  residuals = fit(np.arange(99.0))
  band = residuals.coverage_band(np.zeros(500), 0.68, 0.95)
  expected = stats.betabinom(500, 68, 32).ppf([0.025, 0.975]) / 500
  np.testing.assert_allclose(band, expected, atol=0.006)
  assert np.isnan(residuals.coverage_band(np.zeros(5), 0.99, 0.95)).all()


def test_pit_is_uniform_and_counts_ties():
  rng = np.random.default_rng(3)
  residuals = conformal.Residuals.fit(*heteroscedastic(rng, 4_000))
  pit = residuals.probability_below(*heteroscedastic(rng, 4_000), rng)
  assert stats.kstest(pit, "uniform").pvalue > 0.01
  equal = fit(np.zeros(99)).probability_below(
    np.zeros(5_000), np.zeros(5_000), rng
  )
  assert stats.kstest(equal, "uniform").pvalue > 0.01
  assert fit(np.zeros(99)).probability_below(
    np.zeros(1), np.ones(1), rng
  ) == pytest.approx(0.995, abs=0.005)


@pytest.mark.parametrize("n", [1, 2, 57])
def test_crps_equals_an_independent_implementation(n):
  rng = np.random.default_rng(4)
  sample, true = np.sort(rng.normal(size=n)), rng.normal(size=40)
  expected = [scoringrules.crps_ensemble(y, sample) for y in true]
  found = conformal.crps_of_sample(sample, true)
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
  predicted = rng.normal(size=40)
  np.testing.assert_allclose(
    fit(sample).crps(predicted, predicted + true), expected, atol=1e-12
  )
