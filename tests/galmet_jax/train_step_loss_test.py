"""Losses and their gradients, with and without missing labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import resnet34
from galmet_jax import train_step


def optim(loss):
  config = resnet34.get_config().optim
  config.loss = loss
  config.huber_delta = 0.15
  return config


def test_losses_against_numpy():
  rng = np.random.default_rng(0)
  predictions, targets = np.float32(rng.normal(9, 0.2, (2, 40, 2)))
  delta = np.abs(np.float64(predictions) - targets)
  assert (delta < 0.15).any()
  assert (delta > 0.15).any()
  expected = {
    "rmse": np.sqrt(np.mean(delta**2)),
    "mse": np.mean(delta**2),
    "huber": np.mean(
      np.where(delta < 0.15, delta**2 / 2, 0.15 * (delta - 0.15 / 2))
    ),
  }
  for loss, value in expected.items():
    found = train_step.loss_value(predictions, targets, optim(loss))
    assert float(found) == pytest.approx(value, rel=1e-5), loss


def test_relative_mse():
  rng = np.random.default_rng(0)
  predictions, targets = np.float32(rng.normal(9, 0.2, (2, 40, 2)))
  targets[:7, 1] = np.nan
  scatter = (0.2, 3.0)
  found = train_step.loss_value(
    predictions, targets, optim("relative_mse"), scatter
  )
  delta = (np.float64(predictions) - targets) / scatter
  assert float(found) == pytest.approx(np.nanmean(delta**2), rel=1e-5)


@pytest.mark.parametrize("loss", ["rmse", "mse", "huber"])
def test_gradient_is_zero_at_zero_error(loss):
  labels = jnp.full((4, 1), 8.9)
  gradient = jax.grad(train_step.loss_value)(labels, labels, optim(loss))
  np.testing.assert_array_equal(gradient, np.zeros((4, 1)))


def test_gradient_of_the_rmse():
  predictions, targets = jnp.array([[3.0], [4.0]]), jnp.zeros((2, 1))
  gradient = jax.grad(train_step.loss_value)(
    predictions, targets, optim("rmse")
  )
  # Δ / (n · RMSE)
  rmse = np.sqrt(12.5)
  np.testing.assert_allclose(gradient, [[1.5 / rmse], [2 / rmse]], rtol=1e-6)


@pytest.mark.parametrize("loss", ["rmse", "mse", "huber"])
def test_missing_labels_are_masked(loss):
  rng = np.random.default_rng(0)
  predictions, targets = np.float32(rng.normal(9, 0.2, (2, 12, 3)))
  missing = rng.random((12, 3)) < 0.3
  holes = np.where(missing, np.float32(np.nan), targets)
  value, gradient = jax.value_and_grad(train_step.loss_value)(
    jnp.asarray(predictions), holes, optim(loss)
  )
  # Only the known labels count.
  known, index = ~missing, np.flatnonzero(~missing)
  expected, flat = jax.value_and_grad(train_step.loss_value)(
    jnp.asarray(predictions[known][:, None]),
    targets[known][:, None],
    optim(loss),
  )
  assert float(value) == pytest.approx(float(expected), rel=1e-5)
  np.testing.assert_allclose(
    gradient.ravel()[index], flat.ravel(), rtol=1e-5, atol=1e-8
  )
  np.testing.assert_array_equal(gradient[missing], 0)


def test_batch_without_labels_has_zero_gradient():
  nothing = jnp.full((4, 1), jnp.nan)
  value, gradient = jax.value_and_grad(train_step.loss_value)(
    jnp.ones((4, 1)), nothing, optim("rmse")
  )
  assert np.isfinite(value)
  np.testing.assert_array_equal(gradient, 0)
