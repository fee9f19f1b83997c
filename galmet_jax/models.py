"""ResNets with the paper's regression head.

This and `xresnet.py` are the only users of Flax Linen.

The geometry is torchvision's: explicit symmetric padding everywhere, so that
a feature map here lies on the same pixels as there and ImageNet weights can be
loaded. `padding='SAME'` would pad strided layers on one side only.
"""

from collections.abc import Callable
from collections.abc import Sequence
import functools
import math
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

# Top-level modules in the order in which an image meets them. Layer groups
# are unions of these (`optimizers.group_of_module`).
MODULES = ("stem", "stage1", "stage2", "stage3", "stage4", "head")

BatchNorm = functools.partial(nn.BatchNorm, momentum=0.9, epsilon=1e-5)


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


# Fan-out for the convolutions (torchvision), fan-in for the head's linear
# layers (the paper's Kaiming-normal head).
_conv_init = he_normal("fan_out")
_dense_init = he_normal("fan_in")


def _conv(features: int, kernel: int, strides: int, dtype: Any, name: str):
  return nn.Conv(
    features,
    (kernel, kernel),
    strides,
    padding=kernel // 2,
    use_bias=False,
    kernel_init=_conv_init,
    dtype=dtype,
    name=name,
  )


def max_pool(x: jax.Array) -> jax.Array:
  """3×3/2 max-pool with padding 1 of maps `[B, H, W, C]`.

  Written as the maximum of nine shifted views: `reduce_window`'s gradient is
  a select-and-scatter, ten times slower on CPU and not deterministic on GPU.
  """
  height, width = (x.shape[1] + 1) // 2, (x.shape[2] + 1) // 2
  edges = ((0, 0), (1, 1), (1, 1), (0, 0))
  x = jnp.pad(x, edges, constant_values=-jnp.inf)
  shifted = [
    x[:, i : i + 2 * height - 1 : 2, j : j + 2 * width - 1 : 2]
    for i in range(3)
    for j in range(3)
  ]
  return functools.reduce(jnp.maximum, shifted)


class Stem(nn.Module):
  """7×7/2 convolution, BN, ReLU, 3×3/2 max-pool: a quarter of the size."""

  width: int
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps `[B, H, W, C]` to `[B, H / 4, W / 4, width]`."""
    x = _conv(self.width, 7, 2, self.dtype, "conv")(x)
    x = BatchNorm(dtype=self.dtype, name="bn")(x, use_running_average=not train)
    return max_pool(nn.relu(x))


class BasicBlock(nn.Module):
  """Two 3×3 convolutions and a shortcut (ResNet-18 and -34)."""

  features: int
  strides: int
  dtype: Any
  expansion = 1

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps `[B, H, W, C]` to the block's output."""
    bn = functools.partial(BatchNorm, dtype=self.dtype)
    average = not train
    y = _conv(self.features, 3, self.strides, self.dtype, "conv1")(x)
    y = nn.relu(bn(name="bn1")(y, use_running_average=average))
    y = _conv(self.features, 3, 1, self.dtype, "conv2")(y)
    y = bn(name="bn2")(y, use_running_average=average)
    if x.shape != y.shape:
      x = _conv(self.features, 1, self.strides, self.dtype, "conv_short")(x)
      x = bn(name="bn_short")(x, use_running_average=average)
    return nn.relu(x + y)


class BottleneckBlock(nn.Module):
  """1×1, 3×3 (strided), 1×1 convolutions and a shortcut (ResNet-50)."""

  features: int
  strides: int
  dtype: Any
  expansion = 4

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps `[B, H, W, C]` to the block's output."""
    bn = functools.partial(BatchNorm, dtype=self.dtype)
    average = not train
    wide = self.features * self.expansion
    y = _conv(self.features, 1, 1, self.dtype, "conv1")(x)
    y = nn.relu(bn(name="bn1")(y, use_running_average=average))
    y = _conv(self.features, 3, self.strides, self.dtype, "conv2")(y)
    y = nn.relu(bn(name="bn2")(y, use_running_average=average))
    y = _conv(wide, 1, 1, self.dtype, "conv3")(y)
    y = bn(name="bn3")(y, use_running_average=average)
    if x.shape != y.shape:
      x = _conv(wide, 1, self.strides, self.dtype, "conv_short")(x)
      x = bn(name="bn_short")(x, use_running_average=average)
    return nn.relu(x + y)


BLOCKS = {"basic": BasicBlock, "bottleneck": BottleneckBlock}


class Stage(nn.Module):
  """`num_blocks` residual blocks, of which the first one may stride."""

  block: type
  num_blocks: int
  features: int
  strides: int
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps `[B, H, W, C]` to the stage's output."""
    for i in range(self.num_blocks):
      strides = self.strides if i == 0 else 1
      block = self.block(self.features, strides, self.dtype, name=f"block{i}")
      x = block(x, train=train)
    return x


class Head(nn.Module):
  """Concat pool and two linear layers (Wu & Boada 2019, section 3.1)."""

  num_targets: int
  width: int
  dropout_rates: Sequence[float]
  dtype: Any

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool, frozen: bool = False
  ) -> jax.Array:
    """Maps `[B, H, W, C]` to `[B, num_targets]`."""
    bn = functools.partial(
      BatchNorm,
      dtype=self.dtype,
      use_running_average=frozen or not train,
    )
    dense = functools.partial(nn.Dense, kernel_init=_dense_init)
    # The maximum first, then the mean: the order of the paper's weights.
    x = jnp.concatenate([x.max((1, 2)), x.mean((1, 2))], axis=-1)
    x = bn(name="bn1")(x)
    x = nn.Dropout(self.dropout_rates[0], deterministic=not train)(x)
    x = nn.relu(dense(self.width, dtype=self.dtype, name="dense1")(x))
    x = bn(name="bn2")(x)
    x = nn.Dropout(self.dropout_rates[1], deterministic=not train)(x)
    # In float32: bf16 resolves 0.03 dex near 12 + log(O/H) = 9.
    return dense(self.num_targets, dtype=jnp.float32, name="dense2")(x)


class ResNet(nn.Module):
  """Residual network (He et al. 2015) that regresses `num_targets` numbers.

  Running variances are the biased estimates, as Flax keeps them; torch keeps
  the unbiased ones, larger by n / (n - 1) for n values per channel.
  """

  stage_sizes: Sequence[int]
  block: type = BasicBlock
  width: int = 64
  head_width: int = 512
  dropout_rates: Sequence[float] = (0.25, 0.5)
  num_targets: int = 1
  dtype: Any = jnp.float32

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
    modules: dict[str, nn.Module] = {
      "stem": Stem(self.width, self.dtype, name="stem")
    }
    for i, num_blocks in enumerate(self.stage_sizes):
      modules[f"stage{i + 1}"] = Stage(
        self.block,
        num_blocks,
        self.width * 2**i,
        1 if i == 0 else 2,
        self.dtype,
        name=f"stage{i + 1}",
      )
    x = x.astype(self.dtype)
    for name, module in modules.items():
      x = module(x, train=train and name not in frozen)
    return Head(
      self.num_targets,
      self.head_width,
      self.dropout_rates,
      self.dtype,
      name="head",
    )(x, train=train, frozen="head" in frozen)
