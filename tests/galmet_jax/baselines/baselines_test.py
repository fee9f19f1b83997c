import numpy as np

from galmet_jax.baselines import baselines
from galmet_jax.baselines import mass_metallicity
from galmet_jax.baselines import on_features
from galmet_jax.baselines import trees
from tests.galmet_jax.baselines import samples


def test_mean_ignores_missing_labels():
  train = samples.split_of(
    np.zeros((3, 4, 4, 3)), [[8, np.nan], [9, 10], [9.4, 12]]
  )
  split = samples.split_of(np.zeros((2, 4, 4, 3)), [[1, 1], [1, 1]])
  found = baselines.predict_mean(train, split)
  np.testing.assert_allclose(found, [[8.8, 11]] * 2, rtol=1e-6)


def test_predict_all_returns_the_order_of_tables():
  train = samples.make_measured(60, 0, targets=2)
  splits = {
    "test": samples.make_measured(20, 1, targets=2),
    "validation": samples.make_measured(5, 2, targets=2),
  }
  targets = ("oh_p50", "sfr_tot_p50")
  for split in (train, *splits.values()):
    split.columns["lgm_tot_p50"] = split.columns["modelMag_r"]
  found = baselines.predict_all(train, splits, targets, seed=2)
  name, by_features = on_features.predict(train, list(splits.values()), 2)
  assert list(found) == list(splits)
  for i, (key, split) in enumerate(splits.items()):
    expected = {
      "training_mean": baselines.predict_mean(train, split),
      "random_forest": trees.predict_random_forest(train, split, 2),
      "gradient_boosting": trees.predict_gradient_boosting(train, split, 2),
      name: by_features[i],
      "mass_metallicity": mass_metallicity.predict(train, split, targets),
    }
    assert list(found[key]) == list(expected)
    for baseline, values in expected.items():
      np.testing.assert_array_equal(found[key][baseline], values)


def test_no_relation_without_masses_or_abundances():
  train = samples.make_measured(60, 0)
  test = samples.make_measured(20, 1)

  def names(target):
    found = baselines.predict_all(train, {"test": test}, (target,), seed=2)
    return list(found["test"])

  without_mass = [
    "training_mean",
    "random_forest",
    "gradient_boosting",
    "gp_svr",
  ]
  assert names("oh_p50") == without_mass
  train.columns["lgm_tot_p50"] = train.columns["modelMag_r"]
  assert names("z") == without_mass
  train.columns["lgm_tot_p50"] = np.full(60, np.nan, np.float32)
  assert names("oh_p50") == without_mass
