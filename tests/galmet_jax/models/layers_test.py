"""Convolution, BatchNorm and ReLU: against Flax's and against autodiff."""

import functools
import re

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from galmet_jax.devices import sharding
from galmet_jax.models import layers

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(8, 5, 6, 4)) * [1, 2, 3, 4] + 7, jnp.float32)
VARIABLES = {
  "params": {
    "scale": jnp.asarray(RNG.uniform(0.5, 1.5, 4), jnp.float32),
    "bias": jnp.asarray(RNG.normal(size=4), jnp.float32),
  },
  "batch_stats": {
    "mean": jnp.asarray(RNG.normal(size=4), jnp.float32),
    "var": jnp.asarray(RNG.uniform(0.5, 2, 4), jnp.float32),
  },
}
WEIGHTS = jnp.asarray(RNG.normal(size=X.shape), jnp.float32)


def ours(variables, x, *, train=True, dtype=jnp.float32, **changes):
  module = layers.BatchNorm(4, dtype, **changes)
  return module.apply(variables, x, train=train, mutable=["batch_stats"])


def flax(variables, x, *, train=True, dtype=jnp.float32):
  module = nn.BatchNorm(momentum=0.9, epsilon=1e-5, dtype=dtype)
  average = not train
  return module.apply(
    variables, x, use_running_average=average, mutable=["batch_stats"]
  )


def gradients(norm, variables, x):
  """Returns the gradients of a weighted sum, of parameters and of x."""

  def total(params, x):
    y = norm({**variables, "params": params}, x)[0]
    return (y.astype(jnp.float32) * WEIGHTS).sum()

  return jax.jit(jax.grad(total, (0, 1)))(variables["params"], x)


def close(found, expected, rtol=1e-4, atol=1e-5):
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol),
    found,
    expected,
  )


@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_is_that_of_flax(train):
  found = jax.jit(functools.partial(ours, train=train))(VARIABLES, X)
  # Variances, left of squares fifty times as large, differ in the sixth digit.
  close(found, flax(VARIABLES, X, train=train), atol=1e-4)


def test_gradients_of_batch_norm_are_those_of_autodiff():
  close(gradients(ours, VARIABLES, X), gradients(flax, VARIABLES, X))


def test_batch_norm_of_vectors():
  x = X[:, 0, 0]
  close(ours(VARIABLES, x), flax(VARIABLES, x))


def test_shards_in_step_are_one_batch():
  sharded = functools.partial(ours, shards=4)
  close(sharded(VARIABLES, X), ours(VARIABLES, X))
  close(gradients(sharded, VARIABLES, X), gradients(ours, VARIABLES, X))


def test_shards_on_their_own_are_batches_of_their_own():
  alone = functools.partial(ours, shards=4, sync=False)
  y, updates = alone(VARIABLES, X)
  parts = [ours(VARIABLES, part) for part in jnp.split(X, 4)]
  close(y, jnp.concatenate([part[0] for part in parts]))
  means = jax.tree.map(lambda *x: sum(x) / 4, *(part[1] for part in parts))
  close(updates, means)
  assert np.abs(y - ours(VARIABLES, X)[0]).max() > 0.1
  of_params, of_x = gradients(alone, VARIABLES, X)
  weights = jnp.split(WEIGHTS, 4)

  def total(params, x, weights):
    return (ours({**VARIABLES, "params": params}, x)[0] * weights).sum()

  expected = [
    jax.grad(total, (0, 1))(VARIABLES["params"], part, weight)
    for part, weight in zip(jnp.split(X, 4), weights, strict=True)
  ]
  close(of_params, jax.tree.map(lambda *x: sum(x), *(e[0] for e in expected)))
  close(of_x, jnp.concatenate([e[1] for e in expected]))


@pytest.mark.parametrize(("sync", "reduces"), [(True, True), (False, False)])
def test_only_statistics_in_step_cross_devices(sync, reduces):
  mesh = sharding.make_mesh()
  x = jax.device_put(X, sharding.batch_sharding(mesh))

  def forward(x):
    return ours(VARIABLES, x, shards=4, sync=sync)[0]

  text = jax.jit(forward).lower(x).compile().as_text()
  assert ("all-reduce(" in text) is reduces
  assert "all-gather(" not in text
  # Two sums for each channel: no map of them.
  for line in text.splitlines():
    if " all-reduce(" in line:
      shapes = re.findall(r"f32\[([\d,]+)\]", line.split(" all-reduce(")[0])
      sizes = [np.prod([int(n) for n in shape.split(",")]) for shape in shapes]
      assert sizes == [4, 4]


def test_mean_far_beyond_the_deviation():
  # One pass in float32 leaves 7 digits for mean² + variance.
  x = X + 100
  exact = np.asarray(x, np.float64).reshape(-1, 4)
  _, updates = ours(VARIABLES, x)
  var = updates["batch_stats"]["var"] - 0.9 * VARIABLES["batch_stats"]["var"]
  np.testing.assert_allclose(var / 0.1, exact.var(0), rtol=0.02)


def test_bfloat16_is_normalised_in_float32():
  coarse = functools.partial(ours, dtype=jnp.bfloat16)
  x = X.astype(jnp.bfloat16)
  y, updates = coarse(VARIABLES, x)
  assert y.dtype == jnp.bfloat16
  expected, statistics = ours(VARIABLES, x.astype(jnp.float32))
  np.testing.assert_array_equal(y, expected.astype(jnp.bfloat16))
  close(updates, statistics, rtol=1e-6)
  of_params, of_x = gradients(coarse, VARIABLES, x)
  assert of_x.dtype == jnp.bfloat16
  assert {leaf.dtype.name for leaf in of_params.values()} == {"float32"}


def test_relu():
  x = jnp.array([-1.0, 0.0, 2.0])
  np.testing.assert_array_equal(layers.relu(x), [0, 0, 2])
  gradient = jax.grad(lambda x: (layers.relu(x) * jnp.arange(1.0, 4)).sum())
  np.testing.assert_array_equal(gradient(x), [0, 0, 3])


class ConvBN(nn.Module):
  """One convolution with its BN."""

  strides: int

  @nn.compact
  def __call__(self, x, *, train):
    norm = functools.partial(layers.BatchNorm, dtype=jnp.float32)
    init = nn.initializers.normal(0.2)
    return layers.conv_bn(x, norm, 4, 3, self.strides, "", train, init=init)


@pytest.mark.parametrize("strides", [1, 2])
def test_folded_batch_norm_is_convolution_then_normalisation(strides):
  module = ConvBN(strides)
  fresh = module.init(jax.random.key(0), X, train=False)
  variables = {
    name: {**fresh[name], "bn": VARIABLES[name]} for name in VARIABLES
  }

  def folded(params):
    return module.apply({**variables, "params": params}, X, train=False)

  def apart(params):
    y = layers.convolve(X, params["conv"]["kernel"], strides)
    own = {**VARIABLES, "params": params["bn"]}
    return flax(own, y, train=False)[0]

  params = variables["params"]
  found, back = jax.vjp(jax.jit(folded), params)
  expected, back_apart = jax.vjp(jax.jit(apart), params)
  assert np.std(expected) > 0.5
  close(found, expected)
  weights = jnp.asarray(RNG.normal(size=found.shape), jnp.float32)
  close(back(weights), back_apart(weights), rtol=1e-3, atol=1e-3)
  # One convolution, and nothing that reads the statistics map by map.
  text = jax.jit(folded).lower(params).as_text()
  assert text.count("stablehlo.convolution") == 1
