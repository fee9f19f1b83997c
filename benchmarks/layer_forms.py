"""Layers in the forms that `benchmarks.pieces` compares."""

from collections.abc import Iterator
import functools

from flax import linen as nn
from jax import lax
import jax.numpy as jnp
import ml_collections
import numpy as np

from benchmarks import forms
from galmet_jax.devices.cpu import winograd
from galmet_jax.devices.cpu import xla
from galmet_jax.models import layers
from galmet_jax.models import pooling


def stem(config: ml_collections.ConfigDict) -> forms.Piece:
  """7×7/2 convolution of images; no gradient of these is wanted."""
  side = config.data.crop
  return forms.Piece(
    "stem",
    forms.normal((7, 7, 3, config.model.width)),
    forms.maps(config, side, 3),
    {
      "in_use": forms.Form(_plain_stem),
      "channels_4": forms.Form(functools.partial(_padded_stem, 4)),
      "channels_8": forms.Form(functools.partial(_padded_stem, 8)),
      "space_to_depth": forms.Form(_space_to_depth_stem),
    },
  )


def _plain_stem(kernel, x):
  return layers.convolve(x, kernel.astype(x.dtype), 2)


def _padded_stem(channels, kernel, x):
  more = channels - x.shape[-1]
  kernel = jnp.pad(kernel, ((0, 0), (0, 0), (0, more), (0, 0)))
  x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, more)))
  return _plain_stem(kernel, xla.materialize(x))


def _space_to_depth_stem(kernel, x):
  """The 7×7 kernel, as 8×8, is 4×4 on blocks of 2×2 pixels."""
  batch, height, width, channels = x.shape
  if height % 2 or width % 2:
    raise ValueError(
      f"The image has {height}×{width} pixels; space to depth expects even "
      "sides. Crop or pad it to even ones first."
    )
  x = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
  x = x.transpose(0, 1, 3, 2, 4, 5)
  x = x.reshape(batch, height // 2, width // 2, 4 * channels)
  kernel = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0)))
  kernel = kernel.reshape(4, 2, 4, 2, channels, -1).transpose(0, 2, 1, 3, 4, 5)
  kernel = kernel.reshape(4, 4, 4 * channels, -1).astype(x.dtype)
  return lax.conv_general_dilated(
    xla.materialize(x),
    kernel,
    (1, 1),
    ((2, 1), (2, 1)),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )


def max_pool(config: ml_collections.ConfigDict) -> forms.Piece:
  """3×3/2 max-pool of the stem's maps."""
  side = -(-config.data.crop // 2)
  return forms.Piece(
    "max_pool",
    _without_ties(config, side),
    None,
    {
      "in_use": forms.Form(lambda x, _: pooling.max_pool(x)),
      "reduce_window": forms.Form(lambda x, _: _reduce_window(x)),
      "nine_slices": forms.Form(lambda x, _: _nine_slices(x)),
    },
  )


def _without_ties(config, side):
  """Maps with nine values by turns, so that no window has equal maxima.

  The forms share the gradient differently among those.
  """
  batch, width = config.train.batch_size, config.model.width
  values = np.broadcast_to(np.arange(9.0) - 4, (batch, width, 9))
  values = np.random.default_rng(0).permuted(values, axis=-1)
  tile = values.reshape(batch, width, 3, 3).transpose(0, 2, 3, 1)
  times = -(-side // 3)
  x = np.tile(tile, (1, times, times, 1))[:, :side, :side]
  return x.astype(jnp.dtype(config.model.dtype))


def _reduce_window(x):
  # A Python number: XLA's gradient knows no other first value.
  edges = ((0, 0), (1, 1), (1, 1), (0, 0))
  return lax.reduce_window(
    x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), edges
  )


def _nine_slices(x):
  height, width = (x.shape[1] + 1) // 2, (x.shape[2] + 1) // 2
  edges = ((0, 0), (1, 1), (1, 1), (0, 0))
  x = jnp.pad(x, edges, constant_values=-jnp.inf)
  shifted = [
    x[:, i : i + 2 * height - 1 : 2, j : j + 2 * width - 1 : 2]
    for i in range(3)
    for j in range(3)
  ]
  return functools.reduce(jnp.maximum, shifted)


def batch_norm(
  name: str, config: ml_collections.ConfigDict, side: int, channels: int
) -> forms.Piece:
  """BatchNorm and ReLU of maps `[B, side, side, channels]`."""
  dtype = jnp.dtype(config.model.dtype)
  ours = layers.BatchNorm(channels, dtype)
  flax = nn.BatchNorm(momentum=0.9, epsilon=1e-5, dtype=dtype)
  x = forms.maps(config, side, channels)
  variables = forms.draw_variables(ours, x)
  in_use = functools.partial(_normalised, ours, {"train": True}, layers.relu)
  arguments = {"use_running_average": False}
  return forms.Piece(
    name,
    (x, variables["params"]),
    variables["batch_stats"],
    {
      "in_use": forms.Form(in_use),
      "flax": forms.Form(
        functools.partial(_normalised, flax, arguments, nn.relu)
      ),
      "plain_sums": forms.Form(
        in_use, forms.patched(layers, "_means", _plain_means)
      ),
    },
  )


def _normalised(module, arguments, relu, trained, statistics):
  x, params = trained
  y, updates = forms.run_training(module, params, statistics, x, **arguments)
  return relu(y), updates


def _plain_means(sync, *values):
  del sync  # there is one part
  return [x.mean((0, 1, 2), keepdims=True) for x in values]


def convolutions(config: ml_collections.ConfigDict) -> Iterator[forms.Piece]:
  """Those of some stages; in the first one Winograd's would not pay."""
  for stage in (1, 2, 4):
    side = config.data.crop // 2 ** (stage + 1)
    channels = config.model.width * 2 ** (stage - 1)
    yield convolution(f"convolution_stage{stage}", config, side, channels)


def convolution(
  name: str, config: ml_collections.ConfigDict, side: int, channels: int
) -> forms.Piece:
  """A 3×3 convolution of maps `[B, side, side, channels]`."""
  x = forms.maps(config, side, channels)
  kernel = forms.normal((3, 3, channels, channels))

  def convolve(trained, _):
    x, kernel = trained
    return layers.convolve(x, kernel.astype(x.dtype), 1)

  direct = forms.patched(winograd, "is_faster", lambda *_: False)
  return forms.Piece(
    name,
    (x, kernel),
    None,
    {
      "in_use": forms.Form(convolve),
      "direct": forms.Form(convolve, direct),
      "default_options": forms.Form(convolve, direct, options=False),
    },
  )
