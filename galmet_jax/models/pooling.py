"""Max-pool with a gradient that is fast, deterministic and torch's."""

import functools

import jax
from jax import lax
import jax.numpy as jnp

from galmet_jax.devices.cpu import xla


def max_pool(x: jax.Array) -> jax.Array:
  """3×3/2 max-pool with padding 1 of maps `[B, H, W, C]`.

  Along one axis, then along the other: a third of the comparisons. Of equal
  maxima the first has the gradient, as in torch. `reduce_window`'s gradient is
  a select-and-scatter, slower on CPU and not deterministic on GPU.
  """
  return _pool(_pool(x, 2), 1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _pool(x, axis):
  """Maxima of three, every other one, along an axis."""
  return _pool_forward(x, axis)[0]


def _pool_forward(x, axis):
  left, middle, right = _triples(x, axis)
  y = xla.materialize(jnp.maximum(jnp.maximum(left, middle), right))
  return y, (x, y)


def _pool_backward(axis, kept, gradient):
  x, y = kept
  left, middle, right = _triples(x, axis)
  is_left = left == y
  is_middle = (middle == y) & ~is_left
  is_right = (right == y) & ~is_left & ~is_middle
  zero = jnp.zeros((), y.dtype)
  of_even = jnp.where(is_middle, gradient, zero)
  # An odd place is the right one of its triple, and the left one of the next.
  of_odd = jnp.where(is_right, gradient, zero) + _shift(
    jnp.where(is_left, gradient, zero), axis, -1, zero
  )
  pairs = jnp.stack([of_even, of_odd], axis + 1)
  both = pairs.reshape(*y.shape[:axis], -1, *y.shape[axis + 1 :])
  return (xla.materialize(lax.slice_in_dim(both, 0, x.shape[axis], axis=axis)),)


_pool.defvjp(_pool_forward, _pool_backward)


def _triples(x: jax.Array, axis: int) -> tuple:
  """Returns what lies left of, at and right of each even place."""
  nothing = jnp.array(-jnp.inf, x.dtype)
  if x.shape[axis] % 2:
    x = lax.pad(x, nothing, [(0, int(i == axis), 0) for i in range(x.ndim)])
  half = x.shape[axis] // 2
  pairs = x.reshape(*x.shape[:axis], half, 2, *x.shape[axis + 1 :])
  even, odd = (
    lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in (0, 1)
  )
  return _shift(odd, axis, 1, nothing), even, odd


def _shift(x: jax.Array, axis: int, by: int, fill: jax.Array) -> jax.Array:
  edges = [(by, -by, 0) if i == axis else (0, 0, 0) for i in range(x.ndim)]
  return lax.pad(x, fill, edges)
