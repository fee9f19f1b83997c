"""Convolution, BatchNorm and ReLU: what all networks here are made of.

The geometry is torchvision's: explicit symmetric padding, so that a feature map
lies on the same pixels as there and ImageNet weights can be loaded.
`padding='SAME'` would pad strided layers on one side only.

Why each is written as it is, and what it gains: benchmarks/README.md.
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
  """Makes He et al. (2015)'s initializer, of variance 2 / fan."""

  def init(key: jax.Array, shape: Sequence[int], dtype: Any) -> jax.Array:
    receptive = math.prod(shape[:-2])
    fan = receptive * (shape[-2] if mode == "fan_in" else shape[-1])
    # Drawn flat: the same numbers, and XLA's CPU backend compiles a draw of
    # four axes ten times as long.
    flat = jax.random.normal(key, (math.prod(shape),), dtype)
    return flat.reshape(shape) * math.sqrt(2 / fan)

  return init


@jax.custom_vjp
def relu(x: jax.Array) -> jax.Array:
  """Rectifies; the gradient is read off the result, which is kept anyway."""
  return _relu_forward(x)[0]


def _relu_forward(x):
  y = xla.materialize(jnp.maximum(x, 0))
  return y, y


def _relu_backward(y, gradient):
  return (xla.materialize(jnp.where(y > 0, gradient, 0)),)


relu.defvjp(_relu_forward, _relu_backward)


class Kernel(nn.Module):
  """The weights of a convolution."""

  shape: Sequence[int]
  init: Callable

  @nn.compact
  def __call__(self) -> jax.Array:
    """Returns them, float32 `[kh, kw, in, out]`."""
    return self.param("kernel", self.init, tuple(self.shape), jnp.float32)


class BatchNorm(nn.Module):
  """Batch normalisation (Ioffe & Szegedy 2015) over all axes but the last.

  Statistics and their running means are float32 and biased, as Flax has them;
  torch keeps the unbiased variance, larger by n / (n - 1).

  Attributes:
    features: channels.
    dtype: of the result.
    shards: equal parts of the batch, one for each device.
    sync: whether a part is normalised with the statistics of the whole batch,
      or with its own. Running statistics are means over the parts.
    scale_init: of the scale.
  """

  features: int
  dtype: Any
  shards: int = 1
  sync: bool = True
  scale_init: Callable = nn.initializers.ones

  def setup(self):  # noqa: D102 (of Flax)
    shape = (self.features,)
    self.scale = self.param("scale", self.scale_init, shape, jnp.float32)
    self.bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
    self.mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
    self.var = self.variable("batch_stats", "var", jnp.ones, shape)

  def affine(self) -> tuple[jax.Array, jax.Array]:
    """Returns scale and shift of the normalisation by running statistics."""
    scale = self.scale * lax.rsqrt(self.var.value + _EPSILON)
    return scale, self.bias - self.mean.value * scale

  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Normalises `[B, ..., features]`; training, updates the running means."""
    if not train:
      scale, shift = (_along_last(v, x.ndim) for v in self.affine())
      return (x.astype(jnp.float32) * scale + shift).astype(self.dtype)
    # [shards, B / shards, pixels, features]
    parts = x.reshape(self.shards, x.shape[0] // self.shards, -1, x.shape[-1])
    y, mean, var = normalise(parts, self.scale, self.bias, self.sync)
    if not self.is_initializing():
      self.mean.value = _MOMENTUM * self.mean.value + (1 - _MOMENTUM) * mean
      self.var.value = _MOMENTUM * self.var.value + (1 - _MOMENTUM) * var
    return y.reshape(x.shape).astype(self.dtype)


def _along_last(vector: jax.Array, ndim: int) -> jax.Array:
  return vector.reshape(*(1,) * (ndim - 1), -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalise(
  x: jax.Array, scale: jax.Array, bias: jax.Array, sync: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Normalises parts of a batch to mean `bias` and deviation `scale`.

  Args:
    x: `[D, B, P, C]`: parts, images, pixels, channels.
    scale: float32 `[C]`.
    bias: float32 `[C]`.
    sync: statistics of all parts together, or of each.

  Returns:
    The result in x's dtype, and float32 `[C]` means and variances over the
    parts, through which no gradient flows.
  """
  return _normalise_forward(x, scale, bias, sync)[0]


def _normalise_forward(x, scale, bias, sync):
  exact = x.astype(jnp.float32)
  # In one reading of x. Both in float32: inputs have means of the order of
  # their deviations.
  mean, square = _means(sync, exact, exact * exact)
  var = jnp.maximum(square - mean * mean, 0)
  inverse = lax.rsqrt(var + _EPSILON)
  y = (exact - mean) * (inverse * _along_last(scale, 4)) + _along_last(bias, 4)
  statistics = (mean.mean((0, 1, 2)), var.mean((0, 1, 2)))
  return (y.astype(x.dtype), *statistics), (x, scale, mean, inverse)


def _normalise_backward(sync, kept, gradients):
  x, scale, mean, inverse = kept
  gradient = gradients[0].astype(jnp.float32)
  unit = (x.astype(jnp.float32) - mean) * inverse
  g, gu = _means(sync, gradient, gradient * unit)
  dx = (gradient - g - unit * gu) * (inverse * _along_last(scale, 4))
  size = x.size // x.shape[-1]
  return (
    dx.astype(x.dtype),
    gu.mean((0, 1, 2)) * size,
    g.mean((0, 1, 2)) * size,
  )


normalise.defvjp(_normalise_forward, _normalise_backward)


def _means(sync: bool, *values: jax.Array) -> list[jax.Array]:
  """Means of `[D, B, P, C]` over images and pixels: `[D or 1, 1, 1, C]`.

  First over a part's images: these sums have long rows, which XLA's CPU backend
  adds much faster. Only the last one crosses devices.
  """
  sums = xla.materialize([x.sum(1, keepdims=True) for x in values])
  means = [
    x.sum(2, keepdims=True) / (value.shape[1] * value.shape[2])
    for x, value in zip(sums, values, strict=True)
  ]
  return [x.mean(0, keepdims=True) for x in means] if sync else means


def conv_bn(
  x: jax.Array,
  norm: Callable[..., BatchNorm],
  features: int,
  kernel: int,
  strides: int,
  name: str,
  train: bool,
  *,
  init: Callable,
) -> jax.Array:
  """Applies a convolution without bias and its BatchNorm.

  To be called in a compact method, whose submodules the two become. By running
  statistics the normalisation is a part of the kernel, and a bias.

  Args:
    x: maps `[B, H, W, C]`.
    norm: makes the BatchNorm from features and name.
    features: channels of the result.
    kernel: side, pixels.
    strides: of the convolution.
    name: what follows `conv` and `bn` in the names of the submodules.
    train: whether to normalise by the batch's own statistics.
    init: of the kernel.

  Returns:
    Maps `[B, H / strides, W / strides, features]`.
  """
  bn = norm(features, name=f"bn{name}")
  x = x.astype(bn.dtype)
  shape = (kernel, kernel, x.shape[-1], features)
  weights = Kernel(shape, init, name=f"conv{name}")()
  if train:
    y = convolve(x, weights.astype(bn.dtype), strides)
    return bn(xla.materialize(y), train=True)
  scale, shift = bn.affine()
  weights = (weights * _along_last(scale, 4)).astype(bn.dtype)
  y = convolve(x, weights, strides)
  return (y + _along_last(shift, 4)).astype(bn.dtype)


def convolve(x: jax.Array, kernel: jax.Array, strides: int) -> jax.Array:
  """Convolves `[B, H, W, C]` with `[k, k, C, F]`, padded by k // 2."""
  if winograd.is_faster(x, kernel, strides):
    return winograd.convolve(x, kernel)
  edge = kernel.shape[0] // 2
  return lax.conv_general_dilated(
    x,
    kernel,
    (strides, strides),
    ((edge, edge), (edge, edge)),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
