"""Metrics and intervals, compared with scikit-learn and closed forms."""

import json

import numpy as np
import pytest
from sklearn import linear_model
from sklearn import metrics as reference

from galmet_jax import metrics


@pytest.fixture
def sample():
  """Labels and shrunken predictions with heavy-tailed errors."""
  rng = np.random.default_rng(0)
  true = rng.normal(8.9, 0.2, 501)
  predicted = 8.9 + 0.8 * (true - 8.9) + 0.05 * rng.standard_t(2, 501) + 0.01
  return true, predicted


def test_metrics_agree_with_scikit_learn(sample):
  true, predicted = sample
  found = metrics.compute(true, predicted)
  line = linear_model.LinearRegression().fit(true[:, None], predicted)
  expected = {
    "rmse": reference.root_mean_squared_error(true, predicted),
    "mae": reference.mean_absolute_error(true, predicted),
    "bias": np.mean(predicted) - np.mean(true),
    "r2": reference.r2_score(true, predicted),
    "slope": line.coef_[0],
  }
  for name, value in expected.items():
    assert found[name] == pytest.approx(value, rel=1e-10), name
  assert tuple(found) == metrics.NAMES


def test_nmad_by_hand():
  # Δ is 0, 1, -1, 0, 10: median 0, absolute deviations 0, 0, 1, 1, 10.
  found = metrics.compute(
    np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.array([1.0, 3.0, 2.0, 4.0, 15.0])
  )
  assert found["nmad"] == pytest.approx(1.4826)
  assert found["outlier_fraction"] == pytest.approx(0.2)


def test_outliers_exceed_three_nmad():
  # The NMAD is 1.4826, so the threshold is 4.448.
  error = np.array([-1.0, 1.0, -1.0, 1.0, -1.0, 1.0, 0.0, 4.44, -4.45])
  found = metrics.compute(np.zeros(9), error)["outlier_fraction"]
  assert found == pytest.approx(1 / 9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_leading_axes_are_independent(sample, dtype):
  rng = np.random.default_rng(1)
  index = rng.integers(0, 501, (3, 2, 80))
  true, predicted = (values.astype(dtype)[index] for values in sample)
  together = metrics.compute(true, predicted)
  for i, j in np.ndindex(3, 2):
    alone = metrics.compute(true[i, j], predicted[i, j])
    for name in metrics.NAMES:
      assert together[name].shape == (3, 2)
      assert together[name].dtype == np.float64
      assert together[name][i, j] == pytest.approx(alone[name], rel=1e-12)


def test_float32_labels_are_summed_in_float64():
  # A float32 sum of 20,000 labels near 9 is off in the fifth digit.
  true = np.full(20_000, 8.9, np.float32)
  predicted = true + np.float32(0.0625)
  true[::2] += np.float32(0.25)
  found = metrics.compute(true, predicted)
  exact = np.where(np.arange(20_000) % 2, 0.0625, -0.1875)
  assert found["bias"] == pytest.approx(exact.mean(), rel=1e-5)
  assert found["rmse"] == pytest.approx(np.sqrt((exact**2).mean()), rel=1e-5)


def test_interval_widths_of_gaussian_errors():
  rng = np.random.default_rng(2)
  n, sigma = 2_000, 0.1
  true = rng.normal(8.9, 0.2, n)
  found = metrics.with_intervals(
    true, true + rng.normal(0, sigma, n), num_draws=2_000, seed=0
  )
  low, high = found["rmse_ci68"]
  expected = sigma / np.sqrt(2 * n)
  assert (high - low) / 2 == pytest.approx(expected, rel=0.1)
  assert found["rmse"] - low == pytest.approx(expected, rel=0.15)
  low, high = found["bias_ci68"]
  assert (high - low) / 2 == pytest.approx(sigma / np.sqrt(n), rel=0.1)


def test_interval_has_the_16th_and_84th_percentile():
  draws = np.concatenate([np.arange(101.0), [np.nan, np.inf]])
  assert metrics.interval(draws) == [16.0, 84.0]
  assert np.isnan(metrics.interval(draws[-2:])).tolist() == [True, True]


def test_metrics_of_several_networks_are_means(sample):
  true, predicted = sample
  both = np.stack([predicted, true + 2 * (predicted - true)])
  found = metrics.with_intervals(true, both, num_draws=50, seed=0)
  single = metrics.with_intervals(true, predicted, num_draws=50, seed=0)
  assert found["rmse"] == pytest.approx(1.5 * single["rmse"])
  for one, other in zip(found["rmse_ci68"], single["rmse_ci68"], strict=True):
    assert one == pytest.approx(1.5 * other)


def test_intervals_contain_their_metrics(sample):
  found = metrics.with_intervals(*sample, num_draws=500, seed=0)
  assert found["n"] == 501
  values = metrics.compute(*sample)
  for name in metrics.NAMES:
    assert found[name] == pytest.approx(float(values[name]), rel=1e-12)
    low, high = found[f"{name}_ci68"]
    assert low < found[name] < high
  assert json.loads(json.dumps(found)) == found


def test_intervals_depend_only_on_the_seed(sample):
  one, two, other = (
    metrics.with_intervals(*sample, num_draws=100, seed=seed)
    for seed in (0, 0, 1)
  )
  assert one == two
  assert one["rmse_ci68"] != other["rmse_ci68"]


def test_chunked_bootstrap_draws_from_all_galaxies():
  n, num_draws = 900_000, 5  # Two draws per chunk.
  sizes = []

  def mean(index):
    sizes.append(index.shape)
    return {"mean": index.mean(-1)}

  found = metrics.bootstrap(mean, n, num_draws, seed=0)["mean"]
  assert sizes == [(2, n), (2, n), (1, n)]
  assert len(np.unique(found)) == num_draws
  # Within five standard errors of the mean of uniform integers.
  assert np.abs(found - n / 2).max() < 5 * n / np.sqrt(12 * n)


@pytest.mark.parametrize(
  ("true", "predicted"),
  [
    ([8.9], [8.7]),
    ([8.9], [8.9]),
    ([8.9] * 6, [8.7, 8.8, 8.9, 8.9, 9.0, 9.2]),
    ([8.7, 9.1], [8.8, 8.9]),
  ],
  ids=["one", "one without error", "equal labels", "two"],
)
def test_undefined_r2_is_nan(true, predicted):
  true, predicted = np.float32(true), np.float32(predicted)
  found = metrics.with_intervals(true, predicted, num_draws=40, seed=0)
  delta = (predicted - true).astype(float)
  assert found["rmse"] == pytest.approx(np.sqrt((delta**2).mean()))
  low, high = found["rmse_ci68"]
  assert low <= found["rmse"] <= high
  # Equal labels have no variance.
  undefined = len(set(true.tolist())) == 1
  for name in ("r2", "slope"):
    for value in (found[name], *found[f"{name}_ci68"]):
      assert np.isfinite(value) != undefined


@pytest.mark.parametrize(
  ("true", "undefined"),
  [
    ([], set(metrics.NAMES)),
    ([8.7], {"nmad", "r2", "slope", "outlier_fraction"}),
    ([8.7, 8.7, 8.7], {"r2", "slope"}),
    # In double precision the mean of these differs from each of them.
    ([8.7] * 11, {"r2", "slope"}),
    ([8.5, 8.7, 9.0], set()),
  ],
)
def test_undefined_metrics_are_nan(true, undefined):
  true = np.array(true)
  predicted = true + np.linspace(0.1, 0.2, len(true))
  values = metrics.with_intervals(true, predicted, 20, seed=0)
  for name in metrics.NAMES:
    assert np.isnan(values[name]) == (name in undefined), name
    assert not np.isinf(values[f"{name}_ci68"]).any()


@pytest.mark.parametrize("value", [None, np.nan, np.inf, -np.inf])
def test_numbers_that_are_undefined_are_shown_as_a_dash(value):
  assert metrics.show(value, ".3f") == "-"
  assert metrics.show(0.25, "+.3f") == "+0.250"
