"""Winograd's 3×3 convolution F(2×2, 3×3) for CPUs (Lavin & Gray 2016).

Per 2×2 output pixels it multiplies 16 pairs of channels instead of 36. The
multiplications are matrix products, which XLA's CPU backend computes at full
speed for maps of any size. On GPUs cuDNN has its own Winograd convolution.

For tiles d of the input and a kernel g the output is Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A
(their equation 8), where ⊙ sums over channels. The code transforms grids, i.e.
rows of whole arrays, so that a transformation is a few sums of arrays.
"""

from collections.abc import Callable
from collections.abc import Sequence

import jax
from jax import lax
import jax.numpy as jnp

from galmet_jax.devices.cpu import xla

Grid = Sequence[Sequence[jax.Array]]

# Below these sizes the transformations cost more than the products save.
_MIN_CHANNELS = 128
_MIN_PIXELS = 512


def is_faster(x: jax.Array, kernel: jax.Array, strides: int) -> bool:
  """Returns whether `convolve` applies and beats XLA's convolution.

  Args:
    x: maps `[B, H, W, C]`.
    kernel: `[k, k, C, F]`.
    strides: strides of the convolution.
  """
  batch, height, width, _ = x.shape
  if strides != 1 or kernel.shape[0] != 3 or height % 2 or width % 2:
    return False
  # bfloat16 would lose digits in the sums of inputs and of products.
  if not xla.in_use() or x.dtype != jnp.float32:
    return False
  # XLA's own convolution is many times slower on maps this small.
  tiny = height * width <= 4
  large_enough = tiny or batch * height * width >= _MIN_PIXELS
  return large_enough and min(kernel.shape[2:]) >= _MIN_CHANNELS


@jax.custom_vjp
def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Convolves with stride 1 and padding 1.

  The result differs from a direct convolution by rounding, about 1e-6 of its
  size.

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


def _backward(residuals, gradient):
  # Without this barrier XLA stores the transformed arrays of the forward pass,
  # which takes half as much memory again.
  x, kernel, gradient = xla.materialize((*residuals, gradient))
  # The gradient of x is a convolution with the kernel rotated by 180°. To
  # reverse a kernel along an axis swaps the first and the last of the four rows
  # of G g and keeps the two between them.
  order = (3, 1, 2, 0)
  kernels = _kernels(kernel)
  rotated = [[kernels[i][j] for j in order] for i in order]
  dx = _untile(_products(_tiles(gradient), rotated, (1, 1)), x.shape)
  pixels = [[gradient[:, i::2, j::2] for j in (0, 1)] for i in (0, 1)]
  grid = xla.materialize(_matrices(_both_axes(_outputs_transposed, pixels)))
  dkernel = _both_axes(_kernel_transposed, _products(_tiles(x), grid, (0, 0)))
  return dx, jnp.stack([jnp.stack(row) for row in dkernel])


convolve.defvjp(_forward, _backward)


def _both_axes(transform: Callable[[Sequence], Sequence], grid: Grid) -> Grid:
  """Transforms all rows, then all columns of the result."""
  rows = [transform(row) for row in grid]
  columns = [transform(column) for column in zip(*rows, strict=True)]
  return list(zip(*columns, strict=True))


def _inputs(d: Sequence) -> Sequence:
  """Multiplies by Bᵀ."""
  return d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]


def _kernel(g: Sequence) -> Sequence:
  """Multiplies by G."""
  outer, middle = (g[0] + g[2]) / 2, g[1] / 2
  return g[0], outer + middle, outer - middle, g[2]


def _kernel_transposed(u: Sequence) -> Sequence:
  """Multiplies by Gᵀ."""
  outer, middle = (u[1] + u[2]) / 2, (u[1] - u[2]) / 2
  return u[0] + outer, middle, outer + u[3]


def _outputs(m: Sequence) -> Sequence:
  """Multiplies by Aᵀ."""
  return m[0] + m[1] + m[2], m[1] - m[2] - m[3]


def _outputs_transposed(y: Sequence) -> Sequence:
  """Multiplies by A."""
  return y[0], y[0] + y[1], y[0] - y[1], -y[1]


def _matrices(grid: Grid) -> Grid:
  """Reshapes maps `[B, H, W, C]` to matrices `[BHW, C]`."""
  return [[x.reshape(-1, x.shape[-1]) for x in row] for row in grid]


def _tiles(x: jax.Array) -> Grid:
  """Transforms maps to a 4×4 grid of matrices `[tiles, C]`."""
  _, height, width, _ = x.shape
  x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  # Tiles of 4×4 pixels overlap: they start at every second pixel.
  grid = [
    [x[:, i : i + height : 2, j : j + width : 2] for j in range(4)]
    for i in range(4)
  ]
  return xla.materialize(_matrices(_both_axes(_inputs, grid)))


def _kernels(kernel: jax.Array) -> Grid:
  """Transforms a kernel to a 4×4 grid of matrices `[C, F]`."""
  return xla.materialize(_both_axes(_kernel, [list(row) for row in kernel]))


def _products(left: Grid, right: Grid, axes: tuple[int, int]) -> Grid:
  """Multiplies matrices pairwise, summing over the given axis of each."""
  contracted = ((axes[:1], axes[1:]), ((), ()))
  return xla.materialize(
    [
      [lax.dot_general(*pair, contracted) for pair in zip(*rows, strict=True)]
      for rows in zip(left, right, strict=True)
    ]
  )


def _untile(grid: Grid, shape: tuple[int, ...]) -> jax.Array:
  """Transforms a 4×4 grid of matrices `[tiles, F]` to maps of this shape."""
  batch, height, width, features = shape
  tiled = (batch, height // 2, width // 2, features)
  grid = [[x.reshape(tiled) for x in row] for row in grid]
  rows = [jnp.stack(row, 3) for row in _both_axes(_outputs, grid)]
  return xla.materialize(jnp.stack(rows, 2).reshape(shape))
