"""Winograd's 3×3 convolution, F(2×2, 3×3) of Lavin & Gray (2016), for CPUs.

For each 2×2 pixels of the result it takes 16 products of channels instead of
36, and these are matrix products, which XLA's CPU backend computes at the speed
of the hardware on maps of any size. On a GPU cuDNN has its own.

With tiles d of the input and a kernel g the result is Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A
(their equation 8), ⊙ being summed over channels. What is transformed is a grid,
a tuple of rows of arrays, so that all that is done are sums of whole arrays.
"""

from collections.abc import Callable
from collections.abc import Sequence

import jax
from jax import lax
import jax.numpy as jnp

from galmet_jax.devices.cpu import xla

Grid = Sequence[Sequence[jax.Array]]

# Below these the transforms cost more than the products save.
_FEWEST_CHANNELS = 128
_FEWEST_PIXELS = 512


def is_faster(x: jax.Array, kernel: jax.Array, strides: int) -> bool:
  """Returns whether `convolve` may be used, and is worth it.

  Args:
    x: maps `[B, H, W, C]`.
    kernel: `[k, k, C, F]`.
    strides: of the convolution.
  """
  batch, height, width, _ = x.shape
  if strides != 1 or kernel.shape[0] != 3 or height % 2 or width % 2:
    return False
  # Its sums of inputs and of products would lose digits in bfloat16.
  if not xla.in_use() or x.dtype != jnp.float32:
    return False
  # Of maps this small XLA's own convolution is many times slower.
  tiny = height * width <= 4
  enough = tiny or batch * height * width >= _FEWEST_PIXELS
  return enough and min(kernel.shape[2:]) >= _FEWEST_CHANNELS


@jax.custom_vjp
def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Convolves maps, padded by one pixel, with a stride of one.

  Rounding differs from that of a direct convolution by some 1e-6 of the
  result's size.

  Args:
    x: float32 `[B, H, W, C]`, H and W even.
    kernel: float32 `[3, 3, C, F]`.

  Returns:
    float32 `[B, H, W, F]`.
  """
  return _forward(x, kernel)[0]


def _forward(x, kernel):
  products = _products(_tiles(x), _kernels(kernel), (1, 0))
  return _untile(products, (*x.shape[:3], kernel.shape[-1])), (x, kernel)


def _backward(kept, gradient):
  # Else XLA keeps what was transformed forwards: half as much memory again.
  x, kernel, gradient = xla.materialize((*kept, gradient))
  # x's gradient is a convolution with the kernel turned by 180°. That leaves
  # the middle of a transformed axis as it is.
  order = (3, 1, 2, 0)
  kernels = _kernels(kernel)
  turned = [[kernels[i][j] for j in order] for i in order]
  of_x = _untile(_products(_tiles(gradient), turned, (1, 1)), x.shape)
  pixels = [[gradient[:, i::2, j::2] for j in (0, 1)] for i in (0, 1)]
  grid = xla.materialize(_rows(_both_axes(_outputs_transposed, pixels)))
  of_kernel = _both_axes(_kernel_transposed, _products(_tiles(x), grid, (0, 0)))
  return of_x, jnp.stack([jnp.stack(row) for row in of_kernel])


convolve.defvjp(_forward, _backward)


def _both_axes(transform: Callable[[Sequence], Sequence], grid: Grid) -> Grid:
  """Transforms each row, then each column of that."""
  rows = [transform(row) for row in grid]
  columns = [transform(column) for column in zip(*rows, strict=True)]
  return list(zip(*columns, strict=True))


def _inputs(d: Sequence) -> Sequence:
  """Bᵀ."""
  return d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]


def _kernel(g: Sequence) -> Sequence:
  """G."""
  outer, middle = (g[0] + g[2]) / 2, g[1] / 2
  return g[0], outer + middle, outer - middle, g[2]


def _kernel_transposed(u: Sequence) -> Sequence:
  """Gᵀ."""
  outer, middle = (u[1] + u[2]) / 2, (u[1] - u[2]) / 2
  return u[0] + outer, middle, outer + u[3]


def _outputs(m: Sequence) -> Sequence:
  """Aᵀ."""
  return m[0] + m[1] + m[2], m[1] - m[2] - m[3]


def _outputs_transposed(y: Sequence) -> Sequence:
  """A."""
  return y[0], y[0] + y[1], y[0] - y[1], -y[1]


def _rows(grid: Grid) -> Grid:
  """Makes matrices of maps: `[B, H, W, C]` to `[BHW, C]`."""
  return [[x.reshape(-1, x.shape[-1]) for x in row] for row in grid]


def _tiles(x: jax.Array) -> Grid:
  """Makes of maps 4×4 transformed matrices `[tiles, C]`."""
  _, height, width, _ = x.shape
  x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  # Tiles are 4×4 pixels, and the next one begins two further.
  grid = [
    [x[:, i : i + height : 2, j : j + width : 2] for j in range(4)]
    for i in range(4)
  ]
  return xla.materialize(_rows(_both_axes(_inputs, grid)))


def _kernels(kernel: jax.Array) -> Grid:
  """Makes of a kernel 4×4 transformed matrices `[C, F]`."""
  return xla.materialize(_both_axes(_kernel, [list(row) for row in kernel]))


def _products(left: Grid, right: Grid, axes: tuple[int, int]) -> Grid:
  """Multiplies matrices, summing over an axis of each."""
  contracted = ((axes[:1], axes[1:]), ((), ()))
  return xla.materialize(
    [
      [lax.dot_general(*pair, contracted) for pair in zip(*rows, strict=True)]
      for rows in zip(left, right, strict=True)
    ]
  )


def _untile(grid: Grid, shape: tuple[int, ...]) -> jax.Array:
  """Makes of 4×4 matrices `[tiles, F]` maps of this shape."""
  batch, height, width, features = shape
  tiled = (batch, height // 2, width // 2, features)
  grid = [[x.reshape(tiled) for x in row] for row in grid]
  rows = [jnp.stack(row, 3) for row in _both_axes(_outputs, grid)]
  return xla.materialize(jnp.stack(rows, 2).reshape(shape))
