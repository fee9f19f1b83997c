"""Batch normalisation, together with the ReLU and the shortcut after it."""

from collections.abc import Callable
import functools
from typing import Any

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from galmet_jax.devices.cpu import xla

_MOMENTUM = 0.9
_EPSILON = 1e-5


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def normalise(
  x: jax.Array,
  scale: jax.Array,
  bias: jax.Array,
  shortcut: jax.Array | None,
  sync: bool,
  relu: bool,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Normalises by batch statistics (Ioffe & Szegedy 2015, algorithm 1).

  Then it adds the shortcut and applies ReLU. With them in one function, the
  gradient of ReLU is computed from x again instead of being stored and read: on
  a GPU a step takes as long as it moves bytes.

  Args:
    x: `[D, B, P, C]`: shards, images, pixels, channels.
    scale: float32 `[C]`, their gamma.
    bias: float32 `[C]`, their beta.
    shortcut: as x, or None. Requires ReLU.
    sync: whether the statistics are those of all shards together, or of each
      shard alone.
    relu: whether to apply ReLU.

  Returns:
    The result in x's dtype, and the float32 `[C]` mean and biased variance,
    averaged over shards. The statistics pass no gradient on.
  """
  return _normalise_forward(x, scale, bias, shortcut, sync, relu)[0]


def _normalise_forward(x, scale, bias, shortcut, sync, relu):
  x32 = x.astype(jnp.float32)
  # E[x²] - E[x]² needs one pass over x. float32 is accurate enough because the
  # mean of a convolution's output is of the order of its deviation.
  mean, square = _means(sync, x32, x32 * x32)
  var = jnp.maximum(square - mean * mean, 0)
  inverse = lax.rsqrt(var + _EPSILON)
  y = (x32 - mean) * (inverse * _expand(scale, 4)) + _expand(bias, 4)
  if shortcut is not None:
    y += _separate(shortcut).astype(jnp.float32)
  y = (jnp.maximum(y, 0) if relu else y).astype(x.dtype)
  if relu:
    y = _separate(y)
  statistics = (mean.mean((0, 1, 2)), var.mean((0, 1, 2)))
  output = None if shortcut is None else y
  return (y, *statistics), (x, scale, bias, mean, inverse, output)


def _normalise_backward(sync, relu, residuals, gradients):
  x, scale, bias, mean, inverse, output = residuals
  gradient, shortcut_gradient = gradients[0], None
  if output is not None:
    # The shortcut's gradient is stored in any case.
    gradient = shortcut_gradient = jnp.where(output > 0, gradient, 0)
  recompute_relu = relu and output is None

  def parts(x, gradient):
    """Returns the gradient before the ReLU, and the normalised x."""
    x_hat = (x.astype(jnp.float32) - mean) * inverse
    dy = gradient.astype(jnp.float32)
    if recompute_relu:
      y = x_hat * _expand(scale, 4) + _expand(bias, 4)
      # A comparison would be stored, and read by both users.
      dy *= jnp.maximum(jnp.sign(y), 0)
    return dy, x_hat

  if recompute_relu:
    x, gradient = _separate((x, gradient))
  dy, x_hat = parts(x, gradient)
  mean_dy, mean_dy_x_hat = _means(sync, dy, dy * x_hat)
  dy, x_hat = parts(*_separate((x, gradient)))
  dx = (dy - mean_dy - x_hat * mean_dy_x_hat) * (inverse * _expand(scale, 4))
  size = x.size // x.shape[-1]
  return (
    dx.astype(x.dtype),
    mean_dy_x_hat.mean((0, 1, 2)) * size,
    mean_dy.mean((0, 1, 2)) * size,
    shortcut_gradient,
  )


normalise.defvjp(_normalise_forward, _normalise_backward)


def _separate(x: Any) -> Any:
  """Keeps XLA from sharing computations across this point, on GPUs.

  It would store their results, and move more bytes than it saves.
  """
  return x if xla.in_use() else lax.optimization_barrier(x)


def _means(sync: bool, *values: jax.Array) -> list[jax.Array]:
  """Averages `[D, B, P, C]` over images and pixels, and shards with `sync`.

  Only the mean over shards communicates between devices.
  """
  _, images, pixels, _ = values[0].shape
  if xla.in_use():
    # Sums over images come first: the CPU backend adds their long rows much
    # faster.
    rows = xla.materialize([x.sum(1, keepdims=True) for x in values])
    sums = [x.sum(2, keepdims=True) for x in rows]
  else:
    # One reduction of all values takes fewer kernels than one for each.
    zeros = (jnp.zeros((), jnp.float32),) * len(values)
    sums = [x[:, None, None] for x in lax.reduce(values, zeros, _add, (1, 2))]
  means = [x / (images * pixels) for x in sums]
  return [x.mean(0, keepdims=True) for x in means] if sync else means


def _add(a: tuple, b: tuple) -> tuple:
  return tuple(x + y for x, y in zip(a, b, strict=True))


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

  def __call__(
    self,
    x: jax.Array,
    *,
    train: bool,
    shortcut: jax.Array | None = None,
    relu: bool = False,
  ) -> jax.Array:
    """Normalises `[B, ..., features]` and, in training, updates the state.

    In training it also adds the shortcut and applies ReLU.
    """
    if not train:
      scale, shift = (_expand(v, x.ndim) for v in self.affine())
      return (x.astype(jnp.float32) * scale + shift).astype(self.dtype)
    sharded = (self.shards, x.shape[0] // self.shards, -1, x.shape[-1])
    y, mean, var = normalise(
      x.reshape(sharded),
      self.scale,
      self.bias,
      None if shortcut is None else shortcut.reshape(sharded),
      self.sync,
      relu,
    )
    if not self.is_initializing():
      self.mean.value = _MOMENTUM * self.mean.value + (1 - _MOMENTUM) * mean
      self.var.value = _MOMENTUM * self.var.value + (1 - _MOMENTUM) * var
    return y.reshape(x.shape).astype(self.dtype)
