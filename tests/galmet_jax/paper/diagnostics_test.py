import numpy as np
import pytest

from galmet_jax.paper import diagnostics

SIGMA, NOISE_A, NOISE_B = 0.2, 0.15, 0.25
TRUE = np.array([1.0, 2.0, 4.0, 8.0])
A = np.array([1.5, 2.0, 3.0, 8.0])
B = np.array([1.0, 4.0, 4.0, 7.0])
C = np.array([1.1, 2.2, 3.8, 8.0])


def gaussian(n, seed):
  """Draws labels, and posterior means from source a, source b and both."""
  rng = np.random.default_rng(seed)
  label = rng.normal(0, SIGMA, n)
  p, q = NOISE_A**-2, NOISE_B**-2
  seen_a = p * (label + rng.normal(0, NOISE_A, n))
  seen_b = q * (label + rng.normal(0, NOISE_B, n))
  prior = SIGMA**-2
  return (
    label,
    seen_a / (prior + p),
    seen_b / (prior + q),
    (seen_a + seen_b) / (prior + p + q),
  )


def values(result):
  return {
    name: value
    for name, value in result.items()
    if name != "n" and not name.endswith(("_ci68", "_ci95"))
  }


def test_information_of_four_galaxies_by_hand():
  found = diagnostics.information_sum(TRUE, A, B, C, num_draws=5, seed=0)
  assert found["n"] == 4
  # The MSEs are 1.25 / 4, 5 / 4 and 0.09 / 4, the variance 85 / 4 - 3.75².
  information = {
    "photometry": 3.2,
    "morphology": 0.8,
    "image": 4 / 0.09,
    "prior": 1 / 7.1875,
    "sum": 4.0,
    "independent": 4 - 1 / 7.1875,
  }
  expected = {f"information_{k}": v for k, v in information.items()} | {
    "ratio_to_sum": 1 / 0.09,
    "ratio_to_independent": 4 / 0.09 / (4 - 1 / 7.1875),
    "mse_image": 0.0225,
    "mse_sum": 0.25,
    "mse_independent": 1 / (4 - 1 / 7.1875),
  }
  assert values(found) == pytest.approx(expected, rel=1e-12)
  assert set(found) == {"n", *expected, *(f"{k}_ci68" for k in expected)}


def test_information_of_independent_sources_adds_up():
  n = 200_000
  found = diagnostics.information_sum(*gaussian(n, 0), num_draws=50, seed=0)
  prior, p, q = SIGMA**-2, NOISE_A**-2, NOISE_B**-2
  # The relative standard error of 1 / MSE is √(2 / n) = 0.003.
  expected = {
    "information_photometry": prior + p,
    "information_morphology": prior + q,
    "information_image": prior + p + q,
    "information_prior": prior,
    "ratio_to_independent": 1,
    "ratio_to_sum": (prior + p + q) / (2 * prior + p + q),
  }
  got = {name: found[name] for name in expected}
  assert got == pytest.approx(expected, rel=0.015)
  assert found["ratio_to_sum_ci68"][1] < 0.8


def test_one_source_twice_adds_no_information():
  label, a, _, _ = gaussian(20_000, 1)
  found = diagnostics.information_sum(label, a, a, a, num_draws=20, seed=0)
  # Every draw resamples all three alike.
  assert found["ratio_to_sum_ci68"] == pytest.approx([0.5, 0.5], rel=1e-12)
  assert found["ratio_to_independent"] < 0.75


def test_sources_worse_than_the_prior_have_no_independent_mse():
  guess = TRUE[::-1]
  found = diagnostics.information_sum(TRUE, guess, guess, C, 5, seed=0)
  assert found["information_independent"] < 0
  assert np.isnan(
    [found["mse_independent"], found["ratio_to_independent"]]
  ).all()
  assert np.isfinite(values(found)["ratio_to_sum"])


def test_interval_widths_of_gaussian_errors():
  n = 5_000
  found = diagnostics.information_sum(*gaussian(n, 2), num_draws=600, seed=0)
  for name in ("photometry", "morphology", "image", "prior"):
    value = found[f"information_{name}"]
    low, high = found[f"information_{name}_ci68"]
    assert low < value < high
    assert (high - low) / 2 == pytest.approx(value * np.sqrt(2 / n), rel=0.15)


def test_paired_interval_equals_plain_resampling():
  true, a, b, _ = gaussian(60, 3)
  found = diagnostics.paired_rmse_difference(true, a, b, num_draws=300, seed=4)
  rng = np.random.default_rng(4)
  draws = []
  for index in rng.integers(0, 60, (300, 60)):
    one, other = ((x[index] - true[index]) ** 2 for x in (a, b))
    draws.append(np.sqrt(np.mean(one)) - np.sqrt(np.mean(other)))
  np.testing.assert_allclose(
    found["difference_ci68"], np.percentile(draws, [16, 84]), rtol=1e-10
  )


def test_paired_difference_is_antisymmetric():
  true, a, _, _ = gaussian(30, 5)
  worse = true + 1.1 * (a - true)
  found = diagnostics.paired_rmse_difference(true, worse, a, 200, seed=0)
  rmse = np.sqrt(np.mean((a - true) ** 2))
  assert found["difference"] == pytest.approx(0.1 * rmse, rel=1e-12)
  other = diagnostics.paired_rmse_difference(true, a, worse, 200, seed=0)
  assert other["difference"] == -found["difference"]
  low, high = found["difference_ci68"]
  # The larger errors give a larger RMSE in every draw.
  assert low > 0
  assert other["difference_ci68"] == pytest.approx([-high, -low], rel=1e-12)


def test_paired_difference_of_several_seeds():
  """The means of the RMSEs are compared, also of 3 seeds with 1."""
  true, a, b, c = gaussian(500, 14)
  seeds = np.stack([a, b, true + 1.2 * (a - true)])
  found = diagnostics.paired_rmse_difference(true, seeds, c, 2_000, seed=0)
  rmse = np.sqrt(np.mean((seeds - true) ** 2, axis=1))
  mean = rmse.mean() - np.sqrt(np.mean((c - true) ** 2))
  assert found["difference"] == pytest.approx(mean, rel=1e-12)
  low, high = found["difference_ci95"]
  between = np.sqrt(rmse.var(ddof=1) / 3)
  # Student's t with 2 degrees of freedom: 4.30 at 97.5 %.
  assert (high - low) / 2 > 0.9 * 4.30 * between


def test_correlations_equal_numpy():
  rng = np.random.default_rng(6)
  errors = dict(zip("abc", rng.normal(size=(3, 40)), strict=True))
  errors["c"] += errors["a"]
  found = diagnostics.error_correlations(errors, num_draws=100, seed=7)
  expected = np.corrcoef([*errors.values()])
  assert values(found) == pytest.approx(
    {"a:b": expected[0, 1], "a:c": expected[0, 2], "b:c": expected[1, 2]}
  )
  draws = [
    np.corrcoef(errors["a"][index], errors["c"][index])[0, 1]
    for index in np.random.default_rng(7).integers(0, 40, (100, 40))
  ]
  np.testing.assert_allclose(
    found["a:c_ci68"], np.percentile(draws, [16, 84]), rtol=1e-10
  )


def test_errors_of_independent_sources_correlate():
  label, a, b, _ = gaussian(200_000, 8)
  errors = {"a": a - label, "b": b - label}
  found = diagnostics.error_correlations(errors, num_draws=2, seed=0)
  prior = SIGMA**-2
  product = (prior + NOISE_A**-2) * (prior + NOISE_B**-2)
  # The standard error is 1 / √n = 0.0022.
  assert found["a:b"] == pytest.approx(prior / np.sqrt(product), abs=0.01)


def test_correlation_is_independent_of_scale_and_bias():
  rng = np.random.default_rng(9)
  error = rng.normal(size=50)
  errors = {"a": error, "b": 3 * error + 1, "c": -error, "d": np.ones(50)}
  found = diagnostics.error_correlations(errors, num_draws=10, seed=0)
  expected = {"a:b": 1, "a:c": -1, "b:c": -1}
  assert {k: found[k] for k in expected} == pytest.approx(expected)
  assert np.isnan([found["a:d"], *found["a:d_ci68"]]).all()


def all_diagnostics(true, a, b, c):
  return (
    diagnostics.information_sum(true, a, b, c, 20, seed=0),
    diagnostics.error_correlations({"a": a - true, "b": b - true}, 20, seed=0),
    diagnostics.paired_rmse_difference(true, a, b, 20, seed=0),
  )


def test_galaxies_without_label_or_prediction_are_ignored():
  complete = gaussian(50, 10)
  hole = [np.insert(x, [0, 20], np.nan) for x in complete[:1]]
  hole += [np.insert(x, [0, 20], 7.0) for x in complete[1:]]
  assert all_diagnostics(*hole) == all_diagnostics(*complete)
  label, a, *others = hole
  label, a = np.append(label, 0.1), np.append(a, np.nan)
  others = [np.append(x, 0.0) for x in others]
  assert all_diagnostics(label, a, *others) == all_diagnostics(*complete)


def test_order_and_repetition_of_galaxies_do_not_matter():
  systems = gaussian(80, 11)
  order = np.random.default_rng(0).permutation(80)
  for changed in (
    [x[order] for x in systems],
    [np.repeat(x, 3) for x in systems],
  ):
    for one, other in zip(
      all_diagnostics(*systems), all_diagnostics(*changed), strict=True
    ):
      assert values(other) == pytest.approx(values(one), rel=1e-10)


def test_seed_selects_the_draws():
  systems = gaussian(50, 12)
  one, again, other = (
    diagnostics.information_sum(*systems, num_draws=20, seed=seed)
    for seed in (0, 0, 1)
  )
  assert one == again
  assert values(one) == values(other)
  assert one["mse_image_ci68"] != other["mse_image_ci68"]


def test_fewer_than_two_complete_galaxies_are_refused():
  hole = np.where(TRUE > 1, np.nan, A)
  with pytest.raises(ValueError, match=r"at least two .* found 1 among 4"):
    diagnostics.paired_rmse_difference(TRUE, hole, B, 5, seed=0)
