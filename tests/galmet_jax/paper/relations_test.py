import numpy as np
import pytest

from galmet_jax.paper import relations


def test_tremonti():
  # By hand: -1.492 + 18.47 - 8.026, and -1.492 + 15.6995 - 5.798785.
  found = relations.tremonti(np.array([[10.0], [8.5]], np.float32))
  np.testing.assert_allclose(found, [[8.952], [8.408715]], rtol=1e-12)
  assert found.dtype == np.float64


def test_scatter_about_tremonti_leaves_out_what_is_beyond_the_fit():
  mass = np.array([8.5, 9.0, 10.0, 11.0, 11.5, 12.0, np.nan])
  off = np.array([5.0, 0.1, -0.1, 0.4, 5.0, 5.0, 5.0])
  found = relations.scatter_about_tremonti(mass, relations.tremonti(mass) + off)
  assert found["rmse"] == pytest.approx(np.sqrt(0.18 / 3))
  assert found["nmad"] == pytest.approx(1.4826 * 0.2)
  assert found["bias"] == pytest.approx(0.4 / 3)


@pytest.mark.parametrize("mass", [np.nan, 8.0, 12.0])
def test_scatter_about_tremonti_of_no_galaxy(mass):
  found = relations.scatter_about_tremonti(np.array([mass]), np.array([8.0]))
  assert np.isnan([found["rmse"], found["nmad"]]).all()


def test_running_quantiles():
  # Bins 0-1, 1-2, 2-3 and 3-4; 1 is in the second, 4 in the last.
  x = np.array([0, 0.2, 0.9, 1, 1.5, 1.7, 1.9, 1.99, 3, 4, np.nan, 3.5])
  y = np.array([1, 3, 2, 0, 10, 20, 30, 40, 7, 9, 99, np.inf])
  centres, (low, median, high) = relations.running_quantiles(x, y, 4, 3)
  np.testing.assert_allclose(centres, [0.5, 1.5, 2.5, 3.5])
  gap = np.nan
  np.testing.assert_allclose(median, [2, 20, gap, gap])
  np.testing.assert_allclose(low, [1.32, 6.4, gap, gap])
  np.testing.assert_allclose(high, [2.68, 33.6, gap, gap])
  _, (low, median, high) = relations.running_quantiles(x, y, 4, 2)
  np.testing.assert_allclose([low[3], median[3], high[3]], [7.32, 8, 8.68])
  assert np.isnan([low[2], median[2], high[2]]).all()


def test_running_quantiles_do_not_depend_on_the_order():
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(2, 200)).astype(np.float32)
  order = rng.permutation(200)
  found = relations.running_quantiles(x, y, 7, 5)
  again = relations.running_quantiles(x[order], y[order], 7, 5)
  np.testing.assert_array_equal(found[0], again[0])
  np.testing.assert_array_equal(found[1], again[1])


def test_running_quantiles_of_one_value():
  centres, quantiles = relations.running_quantiles(
    np.array([9.0]), np.array([0.5]), 3, 1
  )
  np.testing.assert_allclose(centres[1], 9)
  gap = np.nan
  np.testing.assert_array_equal(quantiles, [[gap, 0.5, gap]] * 3)


def test_running_quantiles_of_nothing():
  none = np.full(3, np.nan)
  _, quantiles = relations.running_quantiles(none, np.arange(3.0), 4, 1)
  np.testing.assert_array_equal(quantiles, np.full((3, 4), np.nan))
