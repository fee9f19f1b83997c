"""Residual networks (He et al. 2015) with the paper's regression head.

Only `galmet_jax.models` imports Flax Linen.
"""

from collections.abc import Callable
from collections.abc import Sequence
import functools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from galmet_jax.models import batch_norm
from galmet_jax.models import layers
from galmet_jax.models import pooling

# Top-level modules, from the image to the prediction. Layer groups are unions
# of these (`optimizers.group_of_module`).
MODULES = ("stem", "stage1", "stage2", "stage3", "stage4", "head")


class Stem(nn.Module):
  """7×7 convolution with stride 2, BatchNorm, ReLU, max-pool."""

  width: int
  conv_bn: Callable[..., layers.ConvBN]

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps `[B, H, W, C]` to `[B, H / 4, W / 4, width]`."""
    x = self.conv_bn(self.width, 7, strides=2)(x, train=train, relu=True)
    return pooling.max_pool(x)


class BasicBlock(nn.Module):
  """Two 3×3 convolutions and a shortcut (ResNet-18 and -34)."""

  features: int
  strides: int
  conv_bn: Callable[..., layers.ConvBN]

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps `[B, H, W, C]` to `[B, H / strides, W / strides, features]`."""
    conv_bn, n, strides = self.conv_bn, self.features, self.strides
    y = conv_bn(n, 3, strides=strides, suffix="1")(x, train=train, relu=True)
    if x.shape != y.shape:
      x = conv_bn(n, 1, strides=strides, suffix="_short")(x, train=train)
    last = conv_bn(n, 3, suffix="2")
    return last(y, train=train, shortcut=x, relu=True)


class BottleneckBlock(nn.Module):
  """1×1, 3×3 and 1×1 convolutions and a shortcut (ResNet-50).

  As in torchvision, the 3×3 convolution has the stride.
  """

  features: int
  strides: int
  conv_bn: Callable[..., layers.ConvBN]

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps `[B, H, W, C]` to `[B, H / strides, W / strides, 4 features]`."""
    conv_bn, n, strides = self.conv_bn, self.features, self.strides
    y = conv_bn(n, 1, suffix="1")(x, train=train, relu=True)
    y = conv_bn(n, 3, strides=strides, suffix="2")(y, train=train, relu=True)
    if x.shape != (*y.shape[:3], 4 * n):
      x = conv_bn(4 * n, 1, strides=strides, suffix="_short")(x, train=train)
    last = conv_bn(4 * n, 1, suffix="3")
    return last(y, train=train, shortcut=x, relu=True)


BLOCKS = {"basic": BasicBlock, "bottleneck": BottleneckBlock}


class Stage(nn.Module):
  """A sequence of residual blocks, the first of which has the strides."""

  blocks: Sequence[Callable[..., nn.Module]]
  features: int
  strides: int
  conv_bn: Callable[..., layers.ConvBN]

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps `[B, H, W, C]` to the output of the last block."""
    for i, block in enumerate(self.blocks):
      strides = self.strides if i == 0 else 1
      module = block(self.features, strides, self.conv_bn, name=f"block{i}")
      x = module(x, train=train)
    return x


class Head(nn.Module):
  """Concat pool and two linear layers (Wu & Boada 2019, section 3.1)."""

  num_targets: int
  norm: Callable[..., batch_norm.BatchNorm]
  width: int = 512
  dropout_rates: Sequence[float] = (0.25, 0.5)

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool, frozen: bool = False
  ) -> jax.Array:
    """Maps `[B, H, W, C]` to float32 `[B, num_targets]`."""
    dense = functools.partial(nn.Dense, kernel_init=layers.he_normal("fan_in"))
    # Weights trained with fastai expect the maximum first.
    x = jnp.concatenate([x.max((1, 2)), x.mean((1, 2))], axis=-1)
    x = self.norm(x.shape[-1], name="bn1")(x, train=train and not frozen)
    x = nn.Dropout(self.dropout_rates[0], deterministic=not train)(x)
    x = nn.relu(dense(self.width, dtype=x.dtype, name="dense1")(x))
    x = self.norm(self.width, name="bn2")(x, train=train and not frozen)
    x = nn.Dropout(self.dropout_rates[1], deterministic=not train)(x)
    # Near 12 + log(O/H) = 9 the resolution of bfloat16 is only 0.03 dex.
    return dense(self.num_targets, dtype=jnp.float32, name="dense2")(x)


class ResNet(nn.Module):
  """A residual network that predicts `num_targets` numbers.

  Attributes:
    stage_sizes: number of blocks per stage.
    block: residual block.
    stem: maps images to `[B, H / 4, W / 4, width]`.
    attention_block: last block of stage1, if it is not a `block`.
    head: maps the last stage's output to predictions.
    kernel_init: initializer of convolutions; fan-out is torchvision's.
    width: features of the stem and of stage1; each further stage doubles them.
    num_targets: number of predictions per image.
    dtype: dtype of activations; parameters are float32.
    shards: number of devices that share a training batch.
    sync_batch_norm: see `batch_norm.BatchNorm.sync`.
    freeze_batch_norm: whether training, too, normalises by the running
      statistics, which then stay as they are. Scales and biases are trained.
  """

  stage_sizes: Sequence[int]
  block: Callable[..., nn.Module] = BasicBlock
  stem: Callable[..., nn.Module] = Stem
  attention_block: Callable[..., nn.Module] | None = None
  head: Callable[..., nn.Module] = Head
  kernel_init: Callable = layers.he_normal("fan_out")
  width: int = 64
  num_targets: int = 1
  dtype: Any = jnp.float32
  shards: int = 1
  sync_batch_norm: bool = True
  freeze_batch_norm: bool = False

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool, frozen: Sequence[str] = ()
  ) -> jax.Array:
    """Predicts from normalised images.

    Args:
      x: images `[B, H, W, 3]`.
      train: whether to use batch statistics and dropout, or running statistics.
      frozen: top-level modules that use their running statistics and do not
        update their state in training. Dropout in the head stays active.

    Returns:
      Predictions `[B, num_targets]`, float32, in the targets' units.
    """
    norm = functools.partial(
      batch_norm.BatchNorm,
      dtype=self.dtype,
      shards=self.shards,
      sync=self.sync_batch_norm,
    )
    conv_bn = functools.partial(
      layers.ConvBN, norm=norm, kernel_init=self.kernel_init
    )
    modules = {"stem": self.stem(self.width, conv_bn, name="stem")}
    for i, num_blocks in enumerate(self.stage_sizes):
      blocks = [self.block] * num_blocks
      if i == 0 and self.attention_block:
        blocks[-1] = self.attention_block
      name, strides = f"stage{i + 1}", 1 if i == 0 else 2
      modules[name] = Stage(
        tuple(blocks), self.width * 2**i, strides, conv_bn, name=name
      )
    x = x.astype(self.dtype)
    if self.freeze_batch_norm:
      frozen = MODULES
    for name, module in modules.items():
      x = module(x, train=train and name not in frozen)
    head = self.head(self.num_targets, norm, name="head")
    return head(x, train=train, frozen="head" in frozen)
