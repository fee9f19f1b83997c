import numpy as np
import pytest
from sklearn import svm

from galmet_jax.baselines import image_features
from galmet_jax.baselines.gp_svr import GpSvr


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
  found = GpSvr.fit(x, y, seed=0).predict(at)
  assert rmse(found, truth) < 0.5 * truth.std()


def test_shuffled_labels_give_the_mean():
  (x, y), (at, truth) = make(300, 0), make(200, 1)
  y = np.random.default_rng(2).permutation(y)
  found = GpSvr.fit(x, y, seed=0).predict(at)
  assert rmse(found, truth) > 0.95 * truth.std()
  assert found.std() < 0.5 * y.std()
  assert found.mean() == pytest.approx(y.mean(), abs=0.2 * y.std())


def test_units_and_parts_do_not_matter():
  (x, y), (at, _) = make(100, 0), make(30, 1)
  expected = GpSvr.fit(x, y, seed=0).predict(at)
  model = GpSvr.fit(1000 * x, y * 40 - 7, seed=0)
  parts = [model.predict(1000 * part) for part in (at[:9], at[9:])]
  found = (np.concatenate(parts) + 7) / 40
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_galaxies_without_a_label_are_ignored():
  (x, y), (at, _) = make(60, 0), make(20, 1)
  more = np.concatenate([x, np.full((5, x.shape[1]), 1e6)])
  labels = np.concatenate([y, np.full(5, np.nan)])
  found = GpSvr.fit(more, labels, seed=0).predict(at)
  expected = GpSvr.fit(x, y, seed=0).predict(at)
  np.testing.assert_array_equal(found, expected)


def test_extreme_values_are_clipped():
  (x, y), (at, _) = make(200, 0), make(20, 1)
  far = GpSvr.fit(x, y, seed=0).predict(at + 1e9)
  limit = GpSvr.fit(x, y, seed=0).predict(np.full_like(at, 1e3))
  np.testing.assert_array_equal(far, limit)


def test_arrays_hold_the_whole_model():
  (x, y), (at, _) = make(80, 0), make(20, 1)
  model = GpSvr.fit(x, y, seed=0)
  arrays = model.as_arrays()
  assert all(isinstance(array, np.ndarray) for array in arrays.values())
  again = GpSvr.of_arrays(arrays)
  np.testing.assert_array_equal(again.predict(at), model.predict(at))


def test_support_vector_machine_equals_scikit_learn():
  (x, y), (at, _) = make(80, 0), make(20, 1)
  model = GpSvr.fit(x, y, seed=0)
  limits = np.quantile(x, (0.01, 0.99), axis=0)
  a, b = (np.clip(each, *limits) for each in (x, at))
  mean, width = a.mean(0), a.std(0)
  a, b = (a - mean) / width, (b - mean) / width
  machine = svm.SVR(C=5.0, epsilon=0.25, gamma=0.21 / x.shape[1])
  machine.fit(a, (y - y.mean()) / y.std())
  expected = y.mean() + y.std() * machine.predict(b)
  found = 2 * model.predict(at) - model.process.predict(b)
  np.testing.assert_allclose(found, expected, rtol=1e-10)
