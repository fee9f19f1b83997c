"""Against XLA's convolution and its gradients."""

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


def close(found, expected):
  found, expected = np.asarray(found), np.asarray(expected)
  np.testing.assert_allclose(
    found, expected, rtol=0, atol=2e-6 * np.abs(expected).max()
  )


@pytest.mark.parametrize(
  ("batch", "height", "width", "channels", "features"),
  [(3, 6, 8, 5, 7), (1, 2, 2, 4, 3), (2, 4, 2, 1, 1)],
)
def test_convolution_and_gradients(batch, height, width, channels, features):
  x = draw(batch, height, width, channels)
  kernel = draw(3, 3, channels, features)
  found, back = jax.vjp(jax.jit(winograd.convolve), x, kernel)
  expected, back_direct = jax.vjp(jax.jit(direct), x, kernel)
  close(found, expected)
  weights = draw(*expected.shape)
  for ours, theirs in zip(back(weights), back_direct(weights), strict=True):
    assert ours.shape == theirs.shape
    close(ours, theirs)


def test_sixteen_products_instead_of_a_convolution():
  x, kernel = draw(2, 16, 16, 128), draw(3, 3, 128, 128)
  text = jax.jit(lambda *a: layers.convolve(*a, 1)).lower(x, kernel).as_text()
  assert text.count("stablehlo.dot_general") == 16
  assert "stablehlo.convolution" not in text
  expected = direct(x, kernel)
  close(layers.convolve(x, kernel, 1), expected)
  close(layers.convolve(x, kernel, 2), expected[:, ::2, ::2])


@pytest.mark.parametrize(
  ("pays", "shape", "kernel", "strides"),
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
def test_where_it_is_used(pays, shape, kernel, strides, monkeypatch):
  def asked(dtype):
    of = (jax.ShapeDtypeStruct(each, dtype) for each in (shape, kernel))
    return winograd.is_faster(*of, strides)

  assert asked(jnp.float32) is pays
  assert not asked(jnp.bfloat16)
  monkeypatch.setattr(xla, "in_use", lambda: False)
  assert not asked(jnp.float32)


def test_maps_stay_where_they_are_dealt():
  mesh = sharding.make_mesh()
  x, kernel, weights = draw(4, 4, 6, 3), draw(3, 3, 3, 5), draw(4, 4, 6, 5)

  def both(x, kernel, weights):
    y, back = jax.vjp(winograd.convolve, x, kernel)
    return y, *back(weights)

  alike, dealt = sharding.replicated(mesh), sharding.batch_sharding(mesh)
  jitted = jax.jit(
    both,
    in_shardings=(dealt, alike, dealt),
    out_shardings=(dealt, dealt, alike),
  )
  text = jitted.lower(x, kernel, weights).compile().as_text()
  assert "all-gather" not in text
  assert "all-to-all" not in text
  found = jitted(x, kernel, weights)
  for ours, alone in zip(found, both(x, kernel, weights), strict=True):
    close(ours, alone)
