"""O/H from stellar mass, on galaxies that follow a known relation."""

import dataclasses

import numpy as np
import pytest

from galmet_jax.baselines import mass_metallicity
from galmet_jax.data import galaxies


def make_split(n, seed):
  """Makes galaxies with O/H linear in mass up to 10.5 and constant above."""
  mass = np.float32(np.random.default_rng(seed).uniform(8.2, 11.2, n))
  targets = np.stack([relation(mass), mass], axis=1)
  images = np.zeros((n, 2, 2, 3), np.uint8)
  return galaxies.Split(
    np.arange(n), images, targets, {"lgm_tot_p50": mass.copy()}
  )


def relation(mass):
  return 9.1 + 0.25 * np.minimum(mass - 10.5, 0)


def test_relation_is_recovered():
  mass = np.random.default_rng(0).uniform(8.2, 11.2, 3001)
  centres, medians = mass_metallicity.fit(mass, relation(mass))
  # Bins of 0.15 from 8.10 to 11.25, each with at least 20 of 3001 galaxies.
  assert len(centres) == 21
  assert (np.diff(centres) > 0).all()
  np.testing.assert_allclose(medians, relation(centres), atol=2e-4)
  at = np.linspace(centres[0], centres[-1], 200)
  found = mass_metallicity.evaluate(at, centres, medians)
  # The kink at 10.5 is a bin edge; the error there is half a bin times half
  # the slope.
  np.testing.assert_allclose(found, relation(at), atol=0.011)
  straight = at < 10.35
  np.testing.assert_allclose(found[straight], relation(at[straight]), atol=2e-4)


def test_relation_is_constant_outside_its_range_and_nan_without_a_mass():
  found = mass_metallicity.evaluate(
    np.array([5.0, 8.5, 9.5, 13.0, np.nan, -9999.0, np.inf], np.float32),
    np.array([8.0, 9.0, 10.0]),
    np.array([8.4, 8.6, 9.0]),
  )
  np.testing.assert_allclose(found, [8.4, 8.5, 8.8, 9.0] + [np.nan] * 3)


def test_bins_of_few_galaxies_are_merged():
  # In the bins that start at 9.00, 9.15, 9.30 and 9.90.
  counts = {9.01: 30, 9.16: 5, 9.31: 15, 9.91: 19}
  mass = np.repeat(list(counts), list(counts.values()))
  oh = np.arange(len(mass)) / 10
  centres, medians = mass_metallicity.fit(mass, oh)
  np.testing.assert_allclose(centres, [9.01, 9.31])
  np.testing.assert_allclose(medians, [1.45, np.median(oh[30:])])
  # With one more galaxy the last bin is not merged.
  centres, medians = mass_metallicity.fit(
    np.append(mass, 9.91), np.append(oh, 6.9)
  )
  np.testing.assert_allclose(centres, [9.01, 9.31, 9.91])
  np.testing.assert_allclose(medians, [1.45, 3.95, 5.95])
  few = mass_metallicity.fit(mass[:3], oh[:3])
  np.testing.assert_allclose(few, [[9.01], [0.1]])


def test_relation_ignores_order_and_missing_values():
  rng = np.random.default_rng(0)
  mass, oh = rng.normal(10, 0.5, 300), rng.normal(8.9, 0.2, 300)
  found = mass_metallicity.fit(mass, oh)
  order = rng.permutation(300)
  holes = np.array([np.nan, -9999, 9, 10])
  np.testing.assert_array_equal(
    mass_metallicity.fit(
      np.append(mass[order], holes),
      np.append(oh[order], [8.0, 8.0, np.nan, np.nan]),
    ),
    found,
  )
  with pytest.raises(ValueError, match="found none among 4"):
    mass_metallicity.fit(holes, np.full(4, np.nan))


def test_only_abundances_are_predicted_from_mass():
  train, test = make_split(400, 0), make_split(50, 1)
  train.columns["lgm_tot_p50"][:5] = np.nan
  train.targets[5:9, 0] = np.nan
  test.columns["lgm_tot_p50"][[3, 7]] = np.nan, -9999
  found = mass_metallicity.predict(train, test, ("oh_p50", "lgm_tot_p50"))
  assert np.isnan(found[:, 1]).all()
  missing = np.isin(np.arange(50), [3, 7])
  np.testing.assert_array_equal(np.isnan(found[:, 0]), missing)
  error = (found - test.targets)[~missing, 0]
  # Largest at the kink and below the first median, by half a bin.
  assert np.abs(error).max() < 0.25 * 0.1


def test_each_abundance_has_its_own_relation():
  train = make_split(300, 0)
  both = np.stack([train.targets[:, 0], 2 * train.targets[:, 0]], axis=1)
  train = dataclasses.replace(train, targets=both)
  found = mass_metallicity.predict(train, train, ("oh_a", "oh_b"))
  np.testing.assert_allclose(found[:, 1], 2 * found[:, 0], rtol=1e-12)
