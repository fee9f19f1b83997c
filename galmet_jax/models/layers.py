"""Layers of the networks: convolution, with BatchNorm, a shortcut and ReLU.

The geometry is torchvision's, so that ImageNet weights fit: all padding is
symmetric, whereas `padding='SAME'` pads a strided layer on one side only.

`xla` and `winograd` change the speed on CPUs and nothing else.
"""

from collections.abc import Callable
from collections.abc import Sequence
import math
from typing import Any

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from galmet_jax.devices.cpu import winograd
from galmet_jax.devices.cpu import xla
from galmet_jax.models import batch_norm


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
def apply_relu(x: jax.Array) -> jax.Array:
  """Returns max(x, 0); the gradient needs only this result."""
  return _relu_forward(x)[0]


def _relu_forward(x):
  y = xla.materialize(jnp.maximum(x, 0))
  return y, y


def _relu_backward(y, gradient):
  return (xla.materialize(jnp.where(y > 0, gradient, 0)),)


apply_relu.defvjp(_relu_forward, _relu_backward)


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
  norm: Callable[..., batch_norm.BatchNorm]
  kernel_init: Callable
  strides: int = 1
  suffix: str = ""
  scale_init: Callable = nn.initializers.ones

  def setup(self):
    """Shares the names of the caller's scope."""
    if isinstance(self.parent, nn.Module):
      nn.share_scope(self.parent, self)

  @nn.compact
  def __call__(
    self,
    x: jax.Array,
    *,
    train: bool,
    shortcut: jax.Array | None = None,
    relu: bool = False,
  ) -> jax.Array:
    """Maps `[B, H, W, C]` to `[B, H / strides, W / strides, features]`.

    Args:
      x: maps.
      train: whether to use batch statistics, or running ones.
      shortcut: maps to add to the result, or None. Requires ReLU.
      relu: whether to apply ReLU at the end.
    """
    bn = self.norm(
      self.features, scale_init=self.scale_init, name=f"bn{self.suffix}"
    )
    x = x.astype(bn.dtype)
    shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
    kernel = Kernel(shape, self.kernel_init, name=f"conv{self.suffix}")()
    if train and not xla.in_use():
      y = convolve(x, kernel.astype(bn.dtype), self.strides)
      return bn(y, train=True, shortcut=shortcut, relu=relu)
    if train:
      y = convolve(x, kernel.astype(bn.dtype), self.strides)
      y = bn(xla.materialize(y), train=True)
    else:
      # The running statistics are constants, so the kernel absorbs the scale.
      # cuDNN adds a shift of the same dtype, the shortcut and ReLU itself.
      scale, shift = bn.affine()
      kernel = (kernel * scale.reshape(1, 1, 1, -1)).astype(bn.dtype)
      y = convolve(x, kernel, self.strides)
      y += shift.reshape(1, 1, 1, -1).astype(bn.dtype)
    if shortcut is not None:
      y = shortcut + y
    return apply_relu(y) if relu else y
