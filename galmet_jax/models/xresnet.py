"""The network of Wu (2020): xresnet34, simple self-attention and Mish.

It is fastai 2's `xresnet34(sa=True, act_cls=Mish)`: the ResNet-D of He et al.
(2019, "Bag of tricks"), in which a stride loses no pixel of the shortcut; the
activation of Misra (2019); one layer of the self-attention of Doria (2019).
"""

from collections.abc import Callable
from collections.abc import Sequence
import functools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from galmet_jax.models import layers
from galmet_jax.models import pooling

# fastai draws everything with fan-in; models.py's convolutions have torch's
# fan-out.
_init = layers.he_normal("fan_in")


def _conv_bn(*args) -> jax.Array:
  return layers.conv_bn(*args, init=_init)


class Stem(nn.Module):
  """Three 3×3 convolutions, 3×3/2 max-pool: a quarter of the size."""

  width: int
  norm: Callable

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps `[B, H, W, C]` to `[B, H / 4, W / 4, width]`."""
    half = self.width // 2
    for i, features in enumerate((half, half, self.width), start=1):
      strides = 2 if i == 1 else 1
      x = _conv_bn(x, self.norm, features, 3, strides, f"{i}", train)
      x = jax.nn.mish(x)
    return pooling.max_pool(x)


def _spectral_norm(matrix: jax.Array, u: jax.Array) -> tuple:
  """Returns the spectral norm by one power iteration from `u`, and the next.

  As torch has it, the gradient takes the two vectors for constants.
  """
  v = jax.lax.stop_gradient(matrix @ u)
  v /= jnp.maximum(jnp.linalg.norm(v), 1e-12)
  u = jax.lax.stop_gradient(v @ matrix)
  u /= jnp.maximum(jnp.linalg.norm(u), 1e-12)
  return v @ matrix @ u, u


class SelfAttention(nn.Module):
  """Simple self-attention: `gamma (x xᵀ) (W x) + x` with x `[C, N]`.

  N are the pixels of one image, W has spectral norm 1 (Miyato et al. 2018) and
  gamma starts at zero. There is no softmax: the cost is linear in N (Doria
  2019).

  The norm is that of one power iteration a step, whose vector `u` lies in
  `batch_stats`. While evaluating, one more is made and forgotten; torch takes
  the vectors of the last step as they are. The two agree once `u` has
  converged. `nn.SpectralNorm` is not used: what it initialises is the matrix
  divided by its norm, which makes a training step turn it further.
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
    # A sum over pixels of products of three: in float32 whatever x is.
    pixels = x.astype(jnp.float32).reshape(batch, height * width, channels)
    gram = jnp.einsum("bnc,bnd->bcd", pixels, pixels)
    y = gamma * jnp.einsum("bnc,bcd->bnd", pixels @ (kernel / norm), gram)
    return (y + pixels).reshape(x.shape).astype(x.dtype)


def average_pool(x: jax.Array) -> jax.Array:
  """2×2/2 mean of `[B, H, W, C]`, over fewer pixels at an odd edge.

  `AvgPool2d(2, ceil_mode=True)` of torch.
  """
  edges = ((0, x.shape[1] % 2), (0, x.shape[2] % 2))
  return nn.avg_pool(x, (2, 2), (2, 2), edges, count_include_pad=False)


class Block(nn.Module):
  """Two 3×3 convolutions and a shortcut that pools where it strides.

  The last BN starts with scale zero: a fresh block is its shortcut and Mish.
  """

  features: int
  strides: int
  attention: bool
  norm: Callable

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps `[B, H, W, C]` to `[B, H / strides, W / strides, features]`."""
    features, norm = self.features, self.norm
    y = _conv_bn(x, norm, features, 3, self.strides, "1", train)
    y = jax.nn.mish(y)
    zero = functools.partial(norm, scale_init=nn.initializers.zeros)
    y = _conv_bn(y, zero, features, 3, 1, "2", train)
    if self.attention:
      y = SelfAttention(name="attention")(y, train=train)
    if self.strides == 2:
      x = average_pool(x)
    if x.shape != y.shape:
      x = _conv_bn(x, norm, features, 1, 1, "_short", train)
    return jax.nn.mish(x + y)


class Stage(nn.Module):
  """`num_blocks` blocks; the first may stride, the last one attend."""

  num_blocks: int
  features: int
  strides: int
  attention: bool
  norm: Callable

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps `[B, H, W, C]` to the stage's output."""
    for i in range(self.num_blocks):
      block = Block(
        self.features,
        self.strides if i == 0 else 1,
        self.attention and i == self.num_blocks - 1,
        self.norm,
        name=f"block{i}",
      )
      x = block(x, train=train)
    return x


class Head(nn.Module):
  """Mean over the pixels and one linear layer, in float32."""

  num_targets: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps `[B, H, W, C]` to `[B, num_targets]`."""
    x = x.astype(jnp.float32).mean((1, 2))
    # Named as in models.Head: the layer that starts at the targets' means.
    return nn.Dense(self.num_targets, kernel_init=_init, name="dense2")(x)


class XResNet(nn.Module):
  """xresnet with self-attention at the end of stage1 (Wu 2020).

  Called as `models.ResNet` is, with the same top-level modules and attributes.
  It has no dropout.
  """

  stage_sizes: Sequence[int] = (3, 4, 6, 3)
  width: int = 64
  num_targets: int = 1
  dtype: Any = jnp.float32
  shards: int = 1
  sync_batch_norm: bool = True

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool, frozen: Sequence[str] = ()
  ) -> jax.Array:
    """Predicts from normalised images.

    Args:
      x: images `[B, H, W, 3]`.
      train: batch statistics (True), or running statistics.
      frozen: top-level modules that stay in evaluation mode while training:
        neither their running statistics nor the vector of the spectral norm
        is updated. The head has neither.

    Returns:
      Predictions `[B, num_targets]`, float32, in the targets' units.
    """
    norm = functools.partial(
      layers.BatchNorm,
      dtype=self.dtype,
      shards=self.shards,
      sync=self.sync_batch_norm,
    )
    modules: dict[str, nn.Module] = {
      "stem": Stem(self.width, norm, name="stem")
    }
    for i, num_blocks in enumerate(self.stage_sizes):
      modules[f"stage{i + 1}"] = Stage(
        num_blocks,
        self.width * 2**i,
        1 if i == 0 else 2,
        i == 0,
        norm,
        name=f"stage{i + 1}",
      )
    x = x.astype(self.dtype)
    for name, module in modules.items():
      x = module(x, train=train and name not in frozen)
    return Head(self.num_targets, name="head")(x)
