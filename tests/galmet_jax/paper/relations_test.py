import numpy as np
import pytest

from galmet_jax.paper import relations


def test_tremonti_by_hand():
  # By hand: -1.492 + 18.47 - 8.026, and -1.492 + 15.6995 - 5.798785.
  found = relations.tremonti(np.array([[10.0], [8.5]], np.float32))
  np.testing.assert_allclose(found, [[8.952], [8.408715]], rtol=1e-12)
  assert found.dtype == np.float64


def test_scatter_about_tremonti_ignores_masses_outside_the_fit():
  mass = np.array([8.5, 9.0, 10.0, 11.0, 11.5, 12.0, np.nan])
  off = np.array([5.0, 0.1, -0.1, 0.4, 5.0, 5.0, 5.0])
  found = relations.scatter_about_tremonti(mass, relations.tremonti(mass) + off)
  assert found["rmse"] == pytest.approx(np.sqrt(0.18 / 3))
  assert found["nmad"] == pytest.approx(1.4826 * 0.2)
  assert found["bias"] == pytest.approx(0.4 / 3)


@pytest.mark.parametrize("mass", [np.nan, 8.0, 12.0])
def test_scatter_about_tremonti_without_galaxies_in_range(mass):
  found = relations.scatter_about_tremonti(np.array([mass]), np.array([8.0]))
  assert np.isnan([found["rmse"], found["nmad"]]).all()


def test_running_quantiles():
  # Bins 0-1, 1-2, 2-3 and 3-4: x = 1 is in the second, x = 4 in the last.
  x = np.array([4, 0, 0.2, 0.9, 1.99, 1, 1.5, 1.7, 1.9, 3])
  y = np.array([9, 1, 3, 2, 40, 0, 10, 20, 30, 7])
  centres, (low, median, high) = relations.running_quantiles(x, y, 4, 3)
  np.testing.assert_allclose(centres, [0.5, 1.5, 2.5, 3.5])
  gap = np.nan
  np.testing.assert_allclose(median, [2, 20, gap, gap])
  np.testing.assert_allclose(low, [1.32, 6.4, gap, gap])
  np.testing.assert_allclose(high, [2.68, 33.6, gap, gap])
  _, quantiles = relations.running_quantiles(x, y, 4, 2)
  np.testing.assert_allclose(quantiles[:, 3], [7.32, 8, 8.68])
  assert np.isnan(quantiles[:, 2]).all()


def test_running_quantiles_of_one_value():
  centres, quantiles = relations.running_quantiles(
    np.array([9.0]), np.array([0.5]), 3, 1
  )
  np.testing.assert_allclose(centres[1], 9)
  gap = np.nan
  np.testing.assert_array_equal(quantiles, [[gap, 0.5, gap]] * 3)
