"""Winograd's convolution and its gradients against XLA's."""

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from galmet_jax.devices import sharding
from galmet_jax.devices.cpu import winograd
from galmet_jax.devices.cpu import xla
from galmet_jax.models import layers


def direct(x, kernel):
  return lax.conv_general_dilated(
    x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


def draw(*shape):
  rng = np.random.default_rng(len(shape) + sum(shape))
  return jnp.asarray(rng.normal(size=shape), jnp.float32)


def assert_close(actual, expected):
  actual, expected = np.asarray(actual), np.asarray(expected)
  np.testing.assert_allclose(
    actual, expected, rtol=0, atol=2e-6 * np.abs(expected).max()
  )


@pytest.mark.parametrize(
  ("batch", "height", "width", "channels", "features"),
  [(3, 6, 8, 5, 7), (1, 2, 2, 4, 3), (2, 4, 2, 1, 1)],
)
def test_convolution_and_gradients(batch, height, width, channels, features):
  x = draw(batch, height, width, channels)
  kernel = draw(3, 3, channels, features)
  actual, vjp = jax.vjp(jax.jit(winograd.convolve), x, kernel)
  expected, expected_vjp = jax.vjp(jax.jit(direct), x, kernel)
  assert_close(actual, expected)
  weights = draw(*expected.shape)
  for ours, theirs in zip(vjp(weights), expected_vjp(weights), strict=True):
    assert ours.shape == theirs.shape
    assert_close(ours, theirs)


def test_sixteen_products_replace_the_convolution():
  x, kernel = draw(2, 16, 16, 128), draw(3, 3, 128, 128)
  text = jax.jit(lambda *a: layers.convolve(*a, 1)).lower(x, kernel).as_text()
  assert text.count("stablehlo.dot_general") == 16
  assert "stablehlo.convolution" not in text
  expected = direct(x, kernel)
  assert_close(layers.convolve(x, kernel, 1), expected)
  assert_close(layers.convolve(x, kernel, 2), expected[:, ::2, ::2])


@pytest.mark.parametrize(
  ("faster", "shape", "kernel", "strides"),
  [
    (True, (2, 16, 16, 128), (3, 3, 128, 128), 1),
    (True, (1, 2, 2, 256), (3, 3, 256, 128), 1),
    (False, (2, 16, 16, 128), (3, 3, 128, 128), 2),
    (False, (2, 16, 16, 128), (1, 1, 128, 128), 1),
    (False, (2, 17, 16, 128), (3, 3, 128, 128), 1),
    (False, (2, 16, 17, 128), (3, 3, 128, 128), 1),
    (False, (2, 16, 16, 64), (3, 3, 64, 128), 1),
    (False, (2, 16, 16, 128), (3, 3, 128, 64), 1),
    (False, (1, 16, 16, 128), (3, 3, 128, 128), 1),
  ],
)
def test_conditions_of_use(faster, shape, kernel, strides, monkeypatch):
  def is_faster(dtype):
    arrays = (jax.ShapeDtypeStruct(s, dtype) for s in (shape, kernel))
    return winograd.is_faster(*arrays, strides)

  assert is_faster(jnp.float32) is faster
  assert not is_faster(jnp.bfloat16)
  monkeypatch.setattr(xla, "in_use", lambda: False)
  assert not is_faster(jnp.float32)


def test_sharded_maps_stay_on_their_devices():
  mesh = sharding.make_mesh()
  x, kernel, weights = draw(4, 4, 6, 3), draw(3, 3, 3, 5), draw(4, 4, 6, 5)

  def both(x, kernel, weights):
    y, vjp = jax.vjp(winograd.convolve, x, kernel)
    return y, *vjp(weights)

  replicated = sharding.replicated(mesh)
  sharded = sharding.batch_sharding(mesh)
  jitted = jax.jit(
    both,
    in_shardings=(sharded, replicated, sharded),
    out_shardings=(sharded, sharded, replicated),
  )
  text = jitted.lower(x, kernel, weights).compile().as_text()
  assert "all-gather" not in text
  assert "all-to-all" not in text
  expected = both(x, kernel, weights)
  for pair in zip(jitted(x, kernel, weights), expected, strict=True):
    assert_close(*pair)
