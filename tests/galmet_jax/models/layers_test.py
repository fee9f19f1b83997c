"""Layers against Flax, JAX and NumPy."""

import functools
import re

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from galmet_jax.devices import sharding
from galmet_jax.devices.cpu import xla
from galmet_jax.models import batch_norm
from galmet_jax.models import layers
from galmet_jax.models import pooling

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
  module = batch_norm.BatchNorm(4, dtype, **changes)
  return module.apply(variables, x, train=train, mutable=["batch_stats"])


def flax(variables, x, *, train=True):
  module = nn.BatchNorm(momentum=0.9, epsilon=1e-5)
  return module.apply(
    variables, x, use_running_average=not train, mutable=["batch_stats"]
  )


def gradients(norm, variables, x):
  """Returns a weighted sum's gradients by the parameters and by x."""

  def total(params, x):
    y = norm({**variables, "params": params}, x)[0]
    return (y.astype(jnp.float32) * WEIGHTS[: len(x)]).sum()

  return jax.jit(jax.grad(total, (0, 1)))(variables["params"], x)


def assert_close(actual, expected, rtol=1e-4, atol=1e-5):
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol),
    actual,
    expected,
  )


@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_equals_flax(train):
  actual = jax.jit(functools.partial(ours, train=train))(VARIABLES, X)
  # E[x²] - E[x]² loses digits: E[x²] is fifty times the variance here.
  assert_close(actual, flax(VARIABLES, X, train=train), atol=1e-4)


def test_gradients_of_batch_norm_equal_autodiff():
  assert_close(gradients(ours, VARIABLES, X), gradients(flax, VARIABLES, X))


def test_batch_norm_of_vectors():
  x = X[:, 0, 0]
  assert_close(ours(VARIABLES, x), flax(VARIABLES, x))


def test_synchronised_shards_equal_one_batch():
  sharded = functools.partial(ours, shards=4)
  assert_close(sharded(VARIABLES, X), ours(VARIABLES, X))
  assert_close(gradients(sharded, VARIABLES, X), gradients(ours, VARIABLES, X))


def test_independent_shards_equal_separate_batches():
  independent = functools.partial(ours, shards=4, sync=False)
  y, updates = independent(VARIABLES, X)
  parts = [ours(VARIABLES, part) for part in jnp.split(X, 4)]
  assert_close(y, jnp.concatenate([part[0] for part in parts]))
  means = jax.tree.map(lambda *x: sum(x) / 4, *(part[1] for part in parts))
  assert_close(updates, means)
  assert np.abs(y - ours(VARIABLES, X)[0]).max() > 0.1

  def total(params, x, weights):
    return (ours({**VARIABLES, "params": params}, x)[0] * weights).sum()

  by_params, by_x = gradients(independent, VARIABLES, X)
  expected = [
    jax.grad(total, (0, 1))(VARIABLES["params"], part, weights)
    for part, weights in zip(
      jnp.split(X, 4), jnp.split(WEIGHTS, 4), strict=True
    )
  ]
  sums = jax.tree.map(lambda *x: sum(x), *(e[0] for e in expected))
  assert_close(by_params, sums)
  assert_close(by_x, jnp.concatenate([e[1] for e in expected]))


@pytest.mark.parametrize("sync", [True, False])
def test_only_synchronised_statistics_cross_devices(sync):
  mesh = sharding.make_mesh()
  x = jax.device_put(X, sharding.batch_sharding(mesh))

  def forward(x):
    return ours(VARIABLES, x, shards=4, sync=sync)[0]

  text = jax.jit(forward).lower(x).compile().as_text()
  assert ("all-reduce(" in text) is sync
  assert "all-gather(" not in text
  # Two sums per channel, and no feature map.
  for line in text.splitlines():
    if " all-reduce(" in line:
      shapes = re.findall(r"f32\[([\d,]+)\]", line.split(" all-reduce(")[0])
      sizes = [np.prod([int(n) for n in shape.split(",")]) for shape in shapes]
      assert sizes == [4, 4]


def test_variance_with_a_mean_much_larger_than_the_deviation():
  # float32 stores mean² + variance with 7 digits.
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
  assert_close(updates, statistics, rtol=1e-6)
  by_params, by_x = gradients(coarse, VARIABLES, x)
  assert by_x.dtype == jnp.bfloat16
  assert {leaf.dtype.name for leaf in by_params.values()} == {"float32"}


def test_relu():
  x = jnp.array([-1.0, 0.0, 2.0])
  np.testing.assert_array_equal(layers.apply_relu(x), [0, 0, 2])
  gradient = jax.grad(
    lambda x: (layers.apply_relu(x) * jnp.arange(1.0, 4)).sum()
  )
  np.testing.assert_array_equal(gradient(x), [0, 0, 3])


@pytest.mark.parametrize("strides", [1, 2])
def test_folded_batch_norm_equals_convolution_then_batch_norm(strides):
  module = layers.ConvBN(
    4,
    3,
    norm=functools.partial(batch_norm.BatchNorm, dtype=jnp.float32),
    kernel_init=nn.initializers.normal(0.2),
    strides=strides,
  )
  initial = module.init(jax.random.key(0), X, train=False)
  variables = {
    name: {**initial[name], "bn": VARIABLES[name]} for name in VARIABLES
  }

  def folded(params):
    return module.apply({**variables, "params": params}, X, train=False)

  def separate(params):
    y = layers.convolve(X, params["conv"]["kernel"], strides)
    return flax({**VARIABLES, "params": params["bn"]}, y, train=False)[0]

  params = variables["params"]
  actual, vjp = jax.vjp(jax.jit(folded), params)
  expected, expected_vjp = jax.vjp(jax.jit(separate), params)
  assert np.std(expected) > 0.5
  assert_close(actual, expected)
  weights = jnp.asarray(RNG.normal(size=actual.shape), jnp.float32)
  assert_close(vjp(weights), expected_vjp(weights), rtol=1e-3, atol=1e-3)
  text = jax.jit(folded).lower(params).as_text()
  assert text.count("stablehlo.convolution") == 1


@pytest.fixture(params=["CPU", "GPU"])
def platform(request, monkeypatch):
  """Has layers traced as for a CPU, and as for a GPU."""
  monkeypatch.setattr(xla, "in_use", lambda: request.param == "CPU")


def lax_max_pool(x):
  padding = ((0, 0), (1, 1), (1, 1), (0, 0))
  return jax.lax.reduce_window(
    x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), padding
  )


@pytest.mark.usefixtures("platform")
@pytest.mark.parametrize(
  "shape", [(2, 8, 8, 3), (2, 7, 9, 3), (1, 1, 2, 1), (3, 1, 1, 2)]
)
def test_max_pool_equals_reduce_window(shape):
  rng = np.random.default_rng(1)
  # All values differ, so that every maximum has one gradient.
  x = rng.permutation(np.prod(shape)).reshape(shape) + 1.0
  x = jnp.asarray(x, jnp.float32)
  expected, expected_vjp = jax.vjp(lax_max_pool, x)
  actual, vjp = jax.vjp(pooling.max_pool, x)
  np.testing.assert_array_equal(actual, expected)
  weights = jnp.asarray(rng.normal(size=actual.shape), jnp.float32)
  assert_close(jax.jit(vjp)(weights), jax.jit(expected_vjp)(weights), rtol=1e-6)


@pytest.mark.usefixtures("platform")
def test_first_of_equal_maxima_receives_the_gradient():
  rng = np.random.default_rng(0)
  # With three different values most windows have several maxima.
  x = rng.integers(0, 3, (3, 9, 8, 2)).astype(np.float32)
  weights = rng.integers(1, 100, (3, 5, 4, 2)).astype(np.float32)
  expected = np.zeros_like(x)
  ties = 0
  for n, i, j, c in np.ndindex(weights.shape):
    rows = slice(max(2 * i - 1, 0), 2 * i + 2)
    columns = slice(max(2 * j - 1, 0), 2 * j + 2)
    window = x[n, rows, columns, c]
    ties += (window == window.max()).sum() > 1
    first = np.unravel_index(window.argmax(), window.shape)
    row, column = rows.start + first[0], columns.start + first[1]
    expected[n, row, column, c] += weights[n, i, j, c]
  assert ties > 0.5 * weights.size
  actual = jax.jit(jax.vjp(pooling.max_pool, jnp.asarray(x))[1])(weights)[0]
  np.testing.assert_array_equal(actual, expected)


@pytest.mark.usefixtures("platform")
def test_gradient_of_max_pool_has_no_select_and_scatter():
  x = jnp.zeros((2, 8, 8, 3))
  for pool, expected in ((pooling.max_pool, False), (lax_max_pool, True)):
    gradient = jax.jit(jax.grad(lambda x, pool=pool: pool(x).sum()))
    text = gradient.lower(x).as_text()
    assert ("select_and_scatter" in text) is expected
