import numpy as np
import pytest

from galmet_jax.baselines import image_features
from galmet_jax.baselines import on_features
from tests.galmet_jax.baselines import samples


def make(n, seed, targets=1):
  """Makes features; the label depends on one colour and the axis ratio."""
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(n, len(image_features.FEATURES)))
  y = 8.9 + 0.15 * x[:, 10] + 0.1 * np.tanh(x[:, 27])
  return x, y + rng.normal(0, 0.02, n)


def rmse(found, y):
  return np.sqrt(np.mean((found - y) ** 2))


def test_gp_svr_learns_from_300_galaxies():
  (x, y), (at, truth) = make(300, 0), make(200, 1)
  (found,) = on_features.predict_gp_svr(x, y, [at], seed=0)
  assert rmse(found, truth) < 0.5 * truth.std()


def test_shuffled_labels_give_the_mean():
  (x, y), (at, truth) = make(300, 0), make(200, 1)
  y = np.random.default_rng(2).permutation(y)
  (found,) = on_features.predict_gp_svr(x, y, [at], seed=0)
  assert rmse(found, truth) > 0.95 * truth.std()
  assert found.std() < 0.5 * y.std()
  assert found.mean() == pytest.approx(y.mean(), abs=0.2 * y.std())


def test_units_and_parts_do_not_matter():
  (x, y), (at, _) = make(100, 0), make(30, 1)
  (expected,) = on_features.predict_gp_svr(x, y, [at], seed=0)
  parts = on_features.predict_gp_svr(
    1000 * x, y * 40 - 7, [at[:9] * 1000, at[9:] * 1000], 0
  )
  found = (np.concatenate(parts) + 7) / 40
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_galaxies_without_a_label_are_ignored():
  (x, y), (at, _) = make(60, 0), make(20, 1)
  more = np.concatenate([x, np.full((5, x.shape[1]), 1e6)])
  labels = np.concatenate([y, np.full(5, np.nan)])
  (found,) = on_features.predict_gp_svr(more, labels, [at], seed=0)
  (expected,) = on_features.predict_gp_svr(x, y, [at], seed=0)
  np.testing.assert_array_equal(found, expected)


def test_extreme_values_are_clipped():
  (x, y), (at, _) = make(200, 0), make(20, 1)
  (far,) = on_features.predict_gp_svr(x, y, [at + 1e9], seed=0)
  (limit,) = on_features.predict_gp_svr(x, y, [np.full_like(at, 1e3)], seed=0)
  np.testing.assert_array_equal(far, limit)


@pytest.mark.parametrize("number", [1, 2])
def test_few_galaxies_and_equal_images(number):
  images = np.full((number, 32, 32, 3), 7)
  train = samples.split_of(images, np.linspace(8.5, 9.0, number))
  name, (found,) = on_features.predict(train, [train], seed=0)
  assert name == "gp_svr"
  assert np.isfinite(found).all()


def test_large_samples_get_boosting(monkeypatch):
  monkeypatch.setattr(on_features, "_MAX_TRAIN", 59)
  train = samples.make_coloured(60, 0)
  test = samples.make_coloured(20, 1)
  name, (found,) = on_features.predict(train, [test], seed=0)
  assert name == "feature_boosting"
  assert rmse(found, test.targets) < 0.6 * test.targets.std()
