"""The network of Wu (2020): xresnet34 with simple self-attention and Mish.

It equals fastai 2's `xresnet34(sa=True, act_cls=Mish)`: the ResNet-D of He et
al. (2019, "Bag of tricks"), whose strided shortcuts use every pixel; Misra's
(2019) activation; and one layer of Doria's (2019) self-attention.
"""

from collections.abc import Callable
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp

from galmet_jax.models import batch_norm
from galmet_jax.models import layers
from galmet_jax.models import pooling
from galmet_jax.models import resnet

# fastai uses fan-in for all layers.
_init = layers.he_normal("fan_in")


class Stem(nn.Module):
  """Three 3×3 convolutions, the first with stride 2, and max-pool."""

  width: int
  conv_bn: Callable[..., layers.ConvBN]

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps `[B, H, W, C]` to `[B, H / 4, W / 4, width]`."""
    conv_bn, half = self.conv_bn, self.width // 2
    x = jax.nn.mish(conv_bn(half, 3, strides=2, suffix="1")(x, train=train))
    x = jax.nn.mish(conv_bn(half, 3, suffix="2")(x, train=train))
    x = jax.nn.mish(conv_bn(self.width, 3, suffix="3")(x, train=train))
    return pooling.max_pool(x)


def _spectral_norm(
  matrix: jax.Array, u: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns the spectral norm from one power iteration, and the next `u`.

  As in torch, the gradient treats both vectors as constants.
  """
  v = jax.lax.stop_gradient(matrix @ u)
  v /= jnp.maximum(jnp.linalg.norm(v), 1e-12)
  u = jax.lax.stop_gradient(v @ matrix)
  u /= jnp.maximum(jnp.linalg.norm(u), 1e-12)
  return v @ matrix @ u, u


class SelfAttention(nn.Module):
  """Simple self-attention (Doria 2019): `gamma (x xᵀ) (W x) + x`.

  x is `[C, N]` for an image of N pixels, W has spectral norm 1 (Miyato et al.
  2018) and gamma starts at zero. Without a softmax the cost is linear in N.

  The spectral norm comes from one power iteration per training step; its
  vector `u` is part of `batch_stats`. Evaluation makes one more iteration and
  discards it, whereas torch uses the vectors of the last step; the results
  agree once `u` has converged. `nn.SpectralNorm` does not fit, because it
  stores the initial matrix divided by its norm.
  """

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps `[B, H, W, C]` to the same shape and type."""
    batch, height, width, channels = x.shape
    kernel = self.param("kernel", _init, (channels, channels), jnp.float32)
    gamma = self.param("gamma", nn.initializers.zeros, ())
    last = self.variable(
      "batch_stats",
      "u",
      lambda: jax.random.normal(self.make_rng("params"), (channels,)),
    )
    norm, u = _spectral_norm(kernel, last.value)
    if train:
      last.value = u
    # bfloat16 is too coarse for a sum over pixels of triple products.
    pixels = x.astype(jnp.float32).reshape(batch, height * width, channels)
    gram = jnp.einsum("bnc,bnd->bcd", pixels, pixels)
    y = gamma * jnp.einsum("bnc,bcd->bnd", pixels @ (kernel / norm), gram)
    return (y + pixels).reshape(x.shape).astype(x.dtype)


def average_pool(x: jax.Array) -> jax.Array:
  """Averages 2×2 pixels of `[B, H, W, C]`, fewer at an odd edge.

  Equals torch's `AvgPool2d(2, ceil_mode=True)`.
  """
  edges = ((0, x.shape[1] % 2), (0, x.shape[2] % 2))
  return nn.avg_pool(x, (2, 2), (2, 2), edges, count_include_pad=False)


class Block(nn.Module):
  """Two 3×3 convolutions and a shortcut that averages where it strides.

  The scale of the last BatchNorm starts at zero, so that a new block computes
  Mish of its shortcut.
  """

  features: int
  strides: int
  conv_bn: Callable[..., layers.ConvBN]
  attention: bool = False

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps `[B, H, W, C]` to `[B, H / strides, W / strides, features]`."""
    conv_bn, n = self.conv_bn, self.features
    y = conv_bn(n, 3, strides=self.strides, suffix="1")(x, train=train)
    y = jax.nn.mish(y)
    zeros = nn.initializers.zeros
    y = conv_bn(n, 3, suffix="2", scale_init=zeros)(y, train=train)
    if self.attention:
      y = SelfAttention(name="attention")(y, train=train)
    if self.strides == 2:
      x = average_pool(x)
    if x.shape != y.shape:
      x = conv_bn(n, 1, suffix="_short")(x, train=train)
    return jax.nn.mish(x + y)


class Head(nn.Module):
  """Mean over the pixels and one linear layer, in float32.

  It has no BatchNorm and no dropout: `norm`, `train` and `frozen` are unused.
  """

  num_targets: int
  norm: Callable[..., batch_norm.BatchNorm]

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool, frozen: bool = False
  ) -> jax.Array:
    """Maps `[B, H, W, C]` to `[B, num_targets]`."""
    x = x.astype(jnp.float32).mean((1, 2))
    # The last layer is dense2 in both heads: `train_state.create` sets its
    # bias to the mean of the targets.
    return nn.Dense(self.num_targets, kernel_init=_init, name="dense2")(x)


xresnet34 = functools.partial(
  resnet.ResNet,
  stage_sizes=(3, 4, 6, 3),
  stem=Stem,
  block=Block,
  attention_block=functools.partial(Block, attention=True),
  head=Head,
  kernel_init=_init,
)
