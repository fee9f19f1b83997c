"""ResNets with the paper's regression head.

This, `xresnet.py` and `layers.py` are the only users of Flax Linen.
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

# Top-level modules in the order in which an image meets them. Layer groups
# are unions of these (`optimizers.group_of_module`).
MODULES = ("stem", "stage1", "stage2", "stage3", "stage4", "head")

# Fan-out for the convolutions (torchvision), fan-in for the head's linear
# layers (the paper's Kaiming-normal head).
_conv_init = layers.he_normal("fan_out")
_dense_init = layers.he_normal("fan_in")


# A partial would take the function as it is now: benchmarks put others there.
def _conv_bn(*args) -> jax.Array:
  return layers.conv_bn(*args, init=_conv_init)


class Stem(nn.Module):
  """7×7/2 convolution, BN, ReLU, 3×3/2 max-pool: a quarter of the size."""

  width: int
  norm: Callable

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps `[B, H, W, C]` to `[B, H / 4, W / 4, width]`."""
    x = _conv_bn(x, self.norm, self.width, 7, 2, "", train)
    return pooling.max_pool(layers.relu(x))


class BasicBlock(nn.Module):
  """Two 3×3 convolutions and a shortcut (ResNet-18 and -34)."""

  features: int
  strides: int
  norm: Callable
  expansion = 1

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps `[B, H, W, C]` to the block's output."""
    features, strides, norm = self.features, self.strides, self.norm
    y = layers.relu(_conv_bn(x, norm, features, 3, strides, "1", train))
    y = _conv_bn(y, norm, features, 3, 1, "2", train)
    if x.shape != y.shape:
      x = _conv_bn(x, norm, features, 1, strides, "_short", train)
    return layers.relu(x + y)


class BottleneckBlock(nn.Module):
  """1×1, 3×3 (strided), 1×1 convolutions and a shortcut (ResNet-50)."""

  features: int
  strides: int
  norm: Callable
  expansion = 4

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps `[B, H, W, C]` to the block's output."""
    features, strides, norm = self.features, self.strides, self.norm
    wide = features * self.expansion
    y = layers.relu(_conv_bn(x, norm, features, 1, 1, "1", train))
    y = layers.relu(_conv_bn(y, norm, features, 3, strides, "2", train))
    y = _conv_bn(y, norm, wide, 1, 1, "3", train)
    if x.shape != y.shape:
      x = _conv_bn(x, norm, wide, 1, strides, "_short", train)
    return layers.relu(x + y)


BLOCKS = {"basic": BasicBlock, "bottleneck": BottleneckBlock}


class Stage(nn.Module):
  """`num_blocks` residual blocks, of which the first one may stride."""

  block: type
  num_blocks: int
  features: int
  strides: int
  norm: Callable

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps `[B, H, W, C]` to the stage's output."""
    for i in range(self.num_blocks):
      strides = self.strides if i == 0 else 1
      block = self.block(self.features, strides, self.norm, name=f"block{i}")
      x = block(x, train=train)
    return x


class Head(nn.Module):
  """Concat pool and two linear layers (Wu & Boada 2019, section 3.1)."""

  num_targets: int
  width: int
  dropout_rates: Sequence[float]
  norm: Callable
  dtype: Any

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool, frozen: bool = False
  ) -> jax.Array:
    """Maps `[B, H, W, C]` to `[B, num_targets]`."""
    dense = functools.partial(nn.Dense, kernel_init=_dense_init)
    learning = train and not frozen
    # The maximum first, then the mean: the order of the paper's weights.
    x = jnp.concatenate([x.max((1, 2)), x.mean((1, 2))], axis=-1)
    x = self.norm(x.shape[-1], name="bn1")(x, train=learning)
    x = nn.Dropout(self.dropout_rates[0], deterministic=not train)(x)
    x = nn.relu(dense(self.width, dtype=self.dtype, name="dense1")(x))
    x = self.norm(self.width, name="bn2")(x, train=learning)
    x = nn.Dropout(self.dropout_rates[1], deterministic=not train)(x)
    # In float32: bf16 resolves 0.03 dex near 12 + log(O/H) = 9.
    return dense(self.num_targets, dtype=jnp.float32, name="dense2")(x)


class ResNet(nn.Module):
  """Residual network (He et al. 2015) that regresses `num_targets` numbers.

  Attributes:
    shards: devices over which a batch is laid in training.
    sync_batch_norm: see `layers.BatchNorm`.
  """

  stage_sizes: Sequence[int]
  block: type = BasicBlock
  width: int = 64
  head_width: int = 512
  dropout_rates: Sequence[float] = (0.25, 0.5)
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
      train: batch statistics and dropout (True), or running statistics.
      frozen: top-level modules whose BatchNorm stays in evaluation mode while
        training: their running statistics are used and not updated.

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
        self.block,
        num_blocks,
        self.width * 2**i,
        1 if i == 0 else 2,
        norm,
        name=f"stage{i + 1}",
      )
    x = x.astype(self.dtype)
    for name, module in modules.items():
      x = module(x, train=train and name not in frozen)
    return Head(
      self.num_targets,
      self.head_width,
      self.dropout_rates,
      norm,
      self.dtype,
      name="head",
    )(x, train=train, frozen="head" in frozen)
