import numpy as np
import pytest
from scipy import optimize
from sklearn import gaussian_process as sklearn_gp
from sklearn.gaussian_process import kernels

from galmet_jax.baselines import gaussian_process

GROUPS = (0, 0, 1, 1, 1)


def make(n, seed):
  """Makes labels with a smooth and a linear part; the last group is noise."""
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(n, 5))
  y = 9 + 0.2 * np.sin(2 * x[:, 0]) + 0.1 * x[:, 1]
  return x, y + rng.normal(0, 0.01, n)


def test_smooth_function_is_found():
  x, y = make(150, 0)
  model = gaussian_process.fit(x, y, GROUPS, seed=0)
  at, truth = make(100, 1)
  assert np.std(model.predict(at) - truth) < 0.2 * np.std(truth)
  # A group without information gets no weight.
  assert model.parameters.smooth[1] < 0.1 * model.parameters.smooth[0]


def test_predictions_are_those_of_scikit_learn():
  x, y = make(60, 0)
  model = gaussian_process.fit(x, y, GROUPS, seed=0)
  found = model.parameters
  size = np.array([2, 2, 3, 3, 3])
  smooth = kernels.RBF(np.sqrt(size / found.smooth[np.array(GROUPS)]))
  linear = np.sqrt(found.linear[np.array(GROUPS)] / size)
  scaled = kernels.DotProduct(sigma_0=0.1)
  covariance = found.amplitude * smooth(x) + scaled(x * linear)
  covariance[np.diag_indices(60)] += found.noise + 1e-3
  at, _ = make(20, 1)
  kernel = found.amplitude * smooth(at, x) + scaled(at * linear, x * linear)
  y_scaled = (y - y.mean()) / y.std()
  expected = y.mean() + y.std() * kernel @ np.linalg.solve(covariance, y_scaled)
  np.testing.assert_allclose(model.predict(at), expected, rtol=1e-9)


def test_likelihood_is_that_of_scikit_learn():
  x, y = make(40, 0)
  one_group = np.zeros(5, int)
  loss = gaussian_process.make_loss(x, y - y.mean(), one_group)
  # Without a linear part: e^-9 of it remains.
  logarithms = np.array([np.log(0.5), -30.0, 0.2, np.log(0.1)])
  kernel = kernels.ConstantKernel(np.exp(0.2)) * kernels.RBF(np.sqrt(5 / 0.5))
  kernel += kernels.ConstantKernel(0.01) + kernels.WhiteKernel(0.1 + 1e-3)
  other = sklearn_gp.GaussianProcessRegressor(kernel, alpha=0, optimizer=None)
  other.fit(x, y - y.mean())
  centres = np.array([np.log(0.15), -3.5, 0.0, np.log(0.3)])
  prior = (((logarithms - centres) / [2, 2, 1, 1]) ** 2).sum() / 2
  expected = prior - other.log_marginal_likelihood_value_
  value = loss(logarithms)[0] + 40 / 2 * np.log(2 * np.pi)
  assert value == pytest.approx(expected, rel=1e-9)


def test_gradient_is_that_of_differences():
  x, y = make(30, 0)
  loss = gaussian_process.make_loss(x, y - y.mean(), np.array(GROUPS))
  at = np.random.default_rng(0).normal(-1, 0.5, 6)
  expected = optimize.approx_fprime(at, lambda z: loss(z)[0], 1e-7)
  np.testing.assert_allclose(loss(at)[1], expected, rtol=1e-4, atol=1e-4)


def test_parameters_of_a_large_sample_come_from_a_part(monkeypatch):
  monkeypatch.setattr(gaussian_process, "_MAX_TO_OPTIMISE", 50)
  x, y = make(150, 0)
  model = gaussian_process.fit(x, y, GROUPS, seed=0)
  assert len(model.weights) == 150
  again = gaussian_process.fit(x, y, GROUPS, seed=0)
  np.testing.assert_array_equal(again.weights, model.weights)
  other = gaussian_process.fit(x, y, GROUPS, seed=1)
  assert (other.weights != model.weights).any()


def test_equal_labels_are_predicted():
  x, _ = make(20, 0)
  model = gaussian_process.fit(x, np.full(20, 8.7), GROUPS, seed=0)
  np.testing.assert_allclose(model.predict(x), 8.7)
