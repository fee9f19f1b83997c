"""Against the window reduction of JAX, and ties as torch has them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from galmet_jax.models import pooling


def pool_of_lax(x):
  edges = ((0, 0), (1, 1), (1, 1), (0, 0))
  return jax.lax.reduce_window(
    x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), edges
  )


@pytest.mark.parametrize(
  "shape", [(2, 8, 8, 3), (2, 7, 9, 3), (1, 1, 2, 1), (3, 1, 1, 2)]
)
def test_max_pool_is_reduce_window(shape):
  rng = np.random.default_rng(1)
  # No two alike, so that each maximum has one gradient.
  x = rng.permutation(np.prod(shape)).reshape(shape) + 1.0
  x = jnp.asarray(x, jnp.float32)
  expected = pool_of_lax(x)
  found = pooling.max_pool(x)
  np.testing.assert_array_equal(found, expected)
  weights = jnp.asarray(rng.normal(size=found.shape), jnp.float32)
  gradients = [
    jax.jit(jax.vjp(pool, x)[1])(weights)[0]
    for pool in (pooling.max_pool, pool_of_lax)
  ]
  assert (gradients[1] == 0).any() or x.size == expected.size
  np.testing.assert_allclose(*gradients, rtol=1e-6)


def test_gradient_of_equal_maxima_goes_to_the_first_in_reading_order():
  rng = np.random.default_rng(0)
  # Of few values, as in bfloat16: most windows have several maxima.
  x = rng.integers(0, 3, (3, 9, 8, 2)).astype(np.float32)
  weights = rng.integers(1, 100, (3, 5, 4, 2)).astype(np.float32)
  expected = np.zeros_like(x)
  ties = 0
  for n, i, j, c in np.ndindex(weights.shape):
    rows = slice(max(2 * i - 1, 0), 2 * i + 2)
    columns = slice(max(2 * j - 1, 0), 2 * j + 2)
    window = x[n, rows, columns, c]
    ties += (window == window.max()).sum() > 1
    place = np.unravel_index(window.argmax(), window.shape)
    row, column = rows.start + place[0], columns.start + place[1]
    expected[n, row, column, c] += weights[n, i, j, c]
  assert ties > 0.5 * weights.size
  found = jax.jit(jax.vjp(pooling.max_pool, jnp.asarray(x))[1])(weights)[0]
  np.testing.assert_array_equal(found, expected)


def test_gradient_has_no_select_and_scatter():
  x = jnp.zeros((2, 8, 8, 3))
  gradient = jax.jit(jax.grad(lambda x: pooling.max_pool(x).sum()))
  assert "select_and_scatter" not in gradient.lower(x).as_text()
  plain = jax.jit(jax.grad(lambda x: pool_of_lax(x).sum()))
  assert "select_and_scatter" in plain.lower(x).as_text()
