"""Max-pool, with gradients that need fewer arrays than the derived one."""

import functools

import jax
from jax import lax
import jax.numpy as jnp

from galmet_jax.devices.cpu import xla


def max_pool(x: jax.Array) -> jax.Array:
  """3×3 max-pool with stride 2 and padding 1 of `[B, H, W, C]`.

  The first of several equal maxima receives the gradient, as in torch. The
  gradient of `lax.reduce_window` is a select-and-scatter, which is slower on
  CPUs and not deterministic on GPUs. On CPUs the maxima along one axis and then
  along the other take a third of the comparisons; on GPUs a byte per window
  with the position of its maximum saves reading x again.
  """
  if xla.in_use():
    return _max_pool_axis(_max_pool_axis(x, 2), 1)
  return _max_pool_indexed(x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_pool_axis(x, axis):
  """Returns the maxima of pixels 2i - 1, 2i and 2i + 1 along an axis."""
  return _max_pool_forward(x, axis)[0]


def _max_pool_forward(x, axis):
  left, middle, right = _windows(x, axis)
  y = xla.materialize(jnp.maximum(jnp.maximum(left, middle), right))
  return y, (x, y)


def _max_pool_backward(axis, residuals, gradient):
  x, y = residuals
  left, middle, right = _windows(x, axis)
  is_left = left == y
  is_middle = (middle == y) & ~is_left
  is_right = (right == y) & ~is_left & ~is_middle
  zero = jnp.zeros((), y.dtype)
  even = jnp.where(is_middle, gradient, zero)
  # An odd pixel is on the right of its window and on the left of the next one.
  odd = jnp.where(is_right, gradient, zero) + _shift(
    jnp.where(is_left, gradient, zero), axis, -1, zero
  )
  pairs = jnp.stack([even, odd], axis + 1)
  dx = pairs.reshape(*y.shape[:axis], -1, *y.shape[axis + 1 :])
  return (xla.materialize(lax.slice_in_dim(dx, 0, x.shape[axis], axis=axis)),)


_max_pool_axis.defvjp(_max_pool_forward, _max_pool_backward)


def _windows(x: jax.Array, axis: int) -> tuple[jax.Array, ...]:
  """Returns the left, middle and right pixels of all windows."""
  lowest = jnp.array(-jnp.inf, x.dtype)
  if x.shape[axis] % 2:
    x = lax.pad(x, lowest, [(0, int(i == axis), 0) for i in range(x.ndim)])
  half = x.shape[axis] // 2
  pairs = x.reshape(*x.shape[:axis], half, 2, *x.shape[axis + 1 :])
  even, odd = (
    lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in (0, 1)
  )
  return _shift(odd, axis, 1, lowest), even, odd


def _shift(x: jax.Array, axis: int, by: int, fill: jax.Array) -> jax.Array:
  edges = [(by, -by, 0) if i == axis else (0, 0, 0) for i in range(x.ndim)]
  return lax.pad(x, fill, edges)


@jax.custom_vjp
def _max_pool_indexed(x):
  return _indexed_forward(x)[0]


def _indexed_forward(x):
  _, height, width, _ = x.shape
  lowest = jnp.array(-jnp.inf, x.dtype)
  edges = [(0, 0, 0), (1, height % 2, 0), (1, width % 2, 0), (0, 0, 0)]
  padded = lax.pad(x, lowest, edges)
  rows, columns = (height + 1) // 2, (width + 1) // 2
  windows = [
    padded[:, i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2]
    for i in range(3)
    for j in range(3)
  ]
  y, index = windows[0], jnp.zeros(windows[0].shape, jnp.uint8)
  for position, window in enumerate(windows[1:], start=1):
    index = jnp.where(window > y, jnp.uint8(position), index)
    y = jnp.maximum(window, y)
  return y, (index, x)


def _indexed_backward(residuals, gradient):
  index, x = residuals
  zero = jnp.zeros((), gradient.dtype)
  dx = jnp.zeros(x.shape, gradient.dtype)
  for position in range(9):
    part = jnp.where(index == position, gradient, zero)
    # Back to the pixels 2 r + i - 1 of the windows r.
    edges = [
      (i - 1, x.shape[axis] - 2 * index.shape[axis] + 2 - i, 1)
      for axis, i in enumerate(divmod(position, 3), start=1)
    ]
    dx += lax.pad(part, zero, [(0, 0, 0), *edges, (0, 0, 0)])
  return (dx,)


_max_pool_indexed.defvjp(_indexed_forward, _indexed_backward)
