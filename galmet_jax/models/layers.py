"""Layers of the networks: convolution, BatchNorm, ReLU and max-pool.

The geometry is torchvision's, so that ImageNet weights fit: all padding is
symmetric, whereas `padding='SAME'` pads a strided layer on one side only.

ReLU, max-pool and BatchNorm define gradients that need fewer arrays than the
derived ones. `xla` and `winograd` change the speed on CPUs and nothing else.
"""

from collections.abc import Callable
from collections.abc import Sequence
import functools
import math
from typing import Any

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from galmet_jax.devices.cpu import winograd
from galmet_jax.devices.cpu import xla

_MOMENTUM = 0.9
_EPSILON = 1e-5


def he_normal(mode: str) -> Callable:
  """Returns an initializer that draws from N(0, 2 / fan) (He et al. 2015).

  Args:
    mode: "fan_in" keeps the variance of activations from layer to layer
      (their equation 10), "fan_out" that of gradients (equation 14).
  """

  def init(key: jax.Array, shape: Sequence[int], dtype: Any) -> jax.Array:
    channels = shape[-2] if mode == "fan_in" else shape[-1]
    fan = math.prod(shape[:-2]) * channels
    return xla.normal(key, shape, dtype) * math.sqrt(2 / fan)

  return init


def convolve(x: jax.Array, kernel: jax.Array, strides: int) -> jax.Array:
  """Convolves `[B, H, W, C]` with `[k, k, C, F]`, padded by k // 2."""
  if winograd.is_faster(x, kernel, strides):
    return winograd.convolve(x, kernel)
  edges = [(kernel.shape[0] // 2,) * 2] * 2
  layout = ("NHWC", "HWIO", "NHWC")
  return lax.conv_general_dilated(
    x, kernel, (strides, strides), edges, dimension_numbers=layout
  )


@jax.custom_vjp
def relu(x: jax.Array) -> jax.Array:
  """Returns max(x, 0); the gradient needs only this result."""
  return _relu_forward(x)[0]


def _relu_forward(x):
  y = xla.materialize(jnp.maximum(x, 0))
  return y, y


def _relu_backward(y, gradient):
  return (xla.materialize(jnp.where(y > 0, gradient, 0)),)


relu.defvjp(_relu_forward, _relu_backward)


def max_pool(x: jax.Array) -> jax.Array:
  """3×3 max-pool with stride 2 and padding 1 of `[B, H, W, C]`.

  The maxima along one axis and then along the other take a third of the
  comparisons. The first of several equal maxima receives the gradient, as in
  torch. The gradient of `lax.reduce_window` is a select-and-scatter, which is
  slower on CPUs and not deterministic on GPUs.
  """
  return _max_pool_axis(_max_pool_axis(x, 2), 1)


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


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalise(
  x: jax.Array, scale: jax.Array, bias: jax.Array, sync: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Normalises by batch statistics (Ioffe & Szegedy 2015, algorithm 1).

  Args:
    x: `[D, B, P, C]`: shards, images, pixels, channels.
    scale: float32 `[C]`, their gamma.
    bias: float32 `[C]`, their beta.
    sync: whether the statistics are those of all shards together, or of each
      shard alone.

  Returns:
    The result in x's dtype, and the float32 `[C]` mean and biased variance,
    averaged over shards. The statistics pass no gradient on.
  """
  return _normalise_forward(x, scale, bias, sync)[0]


def _normalise_forward(x, scale, bias, sync):
  x32 = x.astype(jnp.float32)
  # E[x²] - E[x]² needs one pass over x. float32 is accurate enough because the
  # mean of a convolution's output is of the order of its deviation.
  mean, square = _means(sync, x32, x32 * x32)
  var = jnp.maximum(square - mean * mean, 0)
  inverse = lax.rsqrt(var + _EPSILON)
  y = (x32 - mean) * (inverse * _expand(scale, 4)) + _expand(bias, 4)
  statistics = (mean.mean((0, 1, 2)), var.mean((0, 1, 2)))
  return (y.astype(x.dtype), *statistics), (x, scale, mean, inverse)


def _normalise_backward(sync, residuals, gradients):
  x, scale, mean, inverse = residuals
  dy = gradients[0].astype(jnp.float32)
  x_hat = (x.astype(jnp.float32) - mean) * inverse
  mean_dy, mean_dy_x_hat = _means(sync, dy, dy * x_hat)
  dx = (dy - mean_dy - x_hat * mean_dy_x_hat) * (inverse * _expand(scale, 4))
  size = x.size // x.shape[-1]
  return (
    dx.astype(x.dtype),
    mean_dy_x_hat.mean((0, 1, 2)) * size,
    mean_dy.mean((0, 1, 2)) * size,
  )


normalise.defvjp(_normalise_forward, _normalise_backward)


def _means(sync: bool, *values: jax.Array) -> list[jax.Array]:
  """Averages `[D, B, P, C]` over images and pixels, and shards with `sync`.

  Sums over images come first: XLA's CPU backend adds their long rows much
  faster. Only the mean over shards communicates between devices.
  """
  _, images, pixels, _ = values[0].shape
  sums = xla.materialize([x.sum(1, keepdims=True) for x in values])
  means = [x.sum(2, keepdims=True) / (images * pixels) for x in sums]
  return [x.mean(0, keepdims=True) for x in means] if sync else means


def _expand(vector: jax.Array, ndim: int) -> jax.Array:
  return vector.reshape(*(1,) * (ndim - 1), -1)


class BatchNorm(nn.Module):
  """Batch normalisation (Ioffe & Szegedy 2015) over all axes but the last.

  The running variance is biased, as in Flax; torch's is larger by n / (n - 1).

  Attributes:
    dtype: dtype of the result; statistics are float32.
    shards: number of equal parts of the batch, one per device.
    sync: whether all shards share the batch's statistics, or each has its own.
      Running statistics are averaged over shards.
  """

  features: int
  dtype: Any
  shards: int = 1
  sync: bool = True
  scale_init: Callable = nn.initializers.ones

  def setup(self):
    """Declares the parameters and the running statistics."""
    shape = (self.features,)
    self.scale = self.param("scale", self.scale_init, shape, jnp.float32)
    self.bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
    self.mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
    self.var = self.variable("batch_stats", "var", jnp.ones, shape)

  def affine(self) -> tuple[jax.Array, jax.Array]:
    """Returns scale and shift that normalise by the running statistics."""
    scale = self.scale * lax.rsqrt(self.var.value + _EPSILON)
    return scale, self.bias - self.mean.value * scale

  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Normalises `[B, ..., features]` and, in training, updates the state."""
    if not train:
      scale, shift = (_expand(v, x.ndim) for v in self.affine())
      return (x.astype(jnp.float32) * scale + shift).astype(self.dtype)
    sharded = x.reshape(self.shards, x.shape[0] // self.shards, -1, x.shape[-1])
    y, mean, var = normalise(sharded, self.scale, self.bias, self.sync)
    if not self.is_initializing():
      self.mean.value = _MOMENTUM * self.mean.value + (1 - _MOMENTUM) * mean
      self.var.value = _MOMENTUM * self.var.value + (1 - _MOMENTUM) * var
    return y.reshape(x.shape).astype(self.dtype)


class Kernel(nn.Module):
  """The parameter `kernel`, float32 `[kh, kw, in, out]`."""

  shape: Sequence[int]
  kernel_init: Callable

  @nn.compact
  def __call__(self) -> jax.Array:
    """Returns the parameter."""
    return self.param(
      "kernel", self.kernel_init, tuple(self.shape), jnp.float32
    )


class ConvBN(nn.Module):
  """A convolution without bias, then BatchNorm.

  The two are submodules of the caller, as in torchvision, with the names
  `conv` and `bn` followed by `suffix`.

  Attributes:
    kernel_size: side of the kernel in pixels.
    norm: `BatchNorm`, or a partial of it.
    suffix: end of the submodules' names.
    scale_init: initializer of the BatchNorm's scale.
  """

  features: int
  kernel_size: int
  norm: Callable[..., BatchNorm]
  kernel_init: Callable
  strides: int = 1
  suffix: str = ""
  scale_init: Callable = nn.initializers.ones

  def setup(self):
    """Shares the names of the caller's scope."""
    if isinstance(self.parent, nn.Module):
      nn.share_scope(self.parent, self)

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps `[B, H, W, C]` to `[B, H / strides, W / strides, features]`."""
    bn = self.norm(
      self.features, scale_init=self.scale_init, name=f"bn{self.suffix}"
    )
    x = x.astype(bn.dtype)
    shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
    kernel = Kernel(shape, self.kernel_init, name=f"conv{self.suffix}")()
    if train:
      y = convolve(x, kernel.astype(bn.dtype), self.strides)
      return bn(xla.materialize(y), train=True)
    # The running statistics are constants, so the kernel absorbs the scale.
    scale, shift = bn.affine()
    kernel = (kernel * _expand(scale, 4)).astype(bn.dtype)
    y = convolve(x, kernel, self.strides)
    return (y + _expand(shift, 4)).astype(bn.dtype)
