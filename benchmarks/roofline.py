"""What a training step has to do, and the most that the hardware does.

Operations and bytes are counted from the network's geometry, not from the
compiled program: a program that does more than it must gets no credit for it.
"""

from collections.abc import Callable
import dataclasses
import time

import jax
import jax.numpy as jnp
import ml_collections

_ROUNDS = 5


@dataclasses.dataclass(frozen=True)
class Convolution:
  """One convolution of square maps.

  Attributes:
    kernel: side of the kernel, pixels.
    inputs: channels of the input.
    outputs: channels of the output.
    side_in: side of the input, pixels.
    side_out: side of the output, pixels.
  """

  kernel: int
  inputs: int
  outputs: int
  side_in: int
  side_out: int

  @property
  def macs(self) -> int:
    """Multiply-adds per image."""
    return self.kernel**2 * self.inputs * self.written

  @property
  def read(self) -> int:
    """Numbers of the input, per image."""
    return self.inputs * self.side_in**2

  @property
  def written(self) -> int:
    """Numbers of the output, per image."""
    return self.outputs * self.side_out**2


def convolutions(
  config: ml_collections.ConfigDict, side: int
) -> list[Convolution]:
  """Lists the convolutions of a ResNet of basic blocks, the stem first.

  Args:
    config: the `model` block: `stage_sizes` and `width`.
    side: of the network's input, pixels.
  """
  width = config.width
  half = -(-side // 2)
  layers = [Convolution(7, 3, width, side, half)]
  channels, side = width, -(-half // 2)
  for stage, num_blocks in enumerate(config.stage_sizes):
    features = width * 2**stage
    for block in range(num_blocks):
      strides = 2 if stage and block == 0 else 1
      smaller = -(-side // strides)
      layers.append(Convolution(3, channels, features, side, smaller))
      layers.append(Convolution(3, features, features, smaller, smaller))
      if strides > 1 or channels != features:
        layers.append(Convolution(1, channels, features, side, smaller))
      channels, side = features, smaller
  return layers


def forward_macs(config: ml_collections.ConfigDict, side: int) -> int:
  """Multiply-adds of one image's way through the network, the head included.

  Args:
    config: the `model` block.
    side: of the network's input, pixels.
  """
  layers = convolutions(config, side)
  pooled = 2 * layers[-1].outputs
  head = pooled * config.head_width + config.head_width
  return sum(layer.macs for layer in layers) + head


def training_flop(config: ml_collections.ConfigDict, side: int) -> int:
  """Floating-point operations of a training step, per image.

  Three times the forward pass (itself, the gradients of inputs and those of
  kernels) less the gradient of the images, which nobody wants.

  Args:
    config: the `model` block.
    side: of the network's input, pixels.
  """
  stem = convolutions(config, side)[0]
  return 2 * (3 * forward_macs(config, side) - stem.macs)


def training_bytes(
  config: ml_collections.ConfigDict, side: int, itemsize: int
) -> int:
  """Bytes that a training step moves per image, if no cache holds any.

  As XLA has to do it, with no BatchNorm fused into a convolution. Each output
  of a convolution is passed over eleven times: written; read for its
  statistics; read and written to be normalised; backwards read twice to be
  summed (it and its gradient), read twice and written for the gradient of the
  normalisation, and that read by both gradients of the convolution. Each input
  is read by the convolution and by its kernel's gradient, and its own gradient
  written. Sums of shortcuts take four passes over their output, the max-pool
  four over its input. Kernels are shared by a batch and left out.

  Args:
    config: the `model` block.
    side: of the network's input, pixels.
    itemsize: bytes of a number.
  """
  layers = convolutions(config, side)
  stem = layers[0]
  numbers = sum(11 * layer.written + 3 * layer.read for layer in layers)
  numbers += 4 * stem.written - stem.read
  # A block has two of 3×3, and its sum is of the size of the second's output.
  seconds = [layer for layer in layers if layer.kernel == 3][1::2]
  numbers += sum(4 * layer.written for layer in seconds)
  return numbers * itemsize


def matmul_flop_per_s(dtype: str, device: jax.Device) -> float:
  """Measures the rate of a matrix product too large for any overhead.

  Args:
    dtype: of the factors.
    device: where.
  """
  side, repeats = (2048, 4) if device.platform == "cpu" else (8192, 20)
  keys = jax.random.split(jax.random.key(0), 2)
  # Normal numbers: a GPU that multiplies zeros draws less power, and is faster.
  a, b = (
    jax.device_put(jax.random.normal(key, (side, side)).astype(dtype), device)
    for key in keys
  )
  multiply = jax.jit(jnp.matmul)
  return 2 * side**3 / _least_seconds(lambda _: multiply(a, b), a, repeats)


def copy_bytes_per_s(dtype: str, device: jax.Device) -> float:
  """Measures how fast an array larger than all caches is read and written.

  Args:
    dtype: of the array.
    device: where.
  """
  size, repeats = (2**28, 4) if device.platform == "cpu" else (2**31, 20)
  count = size // jnp.dtype(dtype).itemsize
  x = jax.device_put(jnp.ones(count, dtype), device)
  # In place: new pages from the operating system would be timed as well.
  move = jax.jit(lambda x: -x, donate_argnums=0)
  return 2 * size / _least_seconds(move, x, repeats)


def _least_seconds(function: Callable, x: jax.Array, repeats: int) -> float:
  """Returns the least time of a call, each on what the one before returned."""
  x = jax.block_until_ready(function(x))
  least = float("inf")
  for _ in range(_ROUNDS):
    begun = time.perf_counter()
    for _ in range(repeats):
      x = function(x)
    jax.block_until_ready(x)
    least = min(least, (time.perf_counter() - begun) / repeats)
  return least
