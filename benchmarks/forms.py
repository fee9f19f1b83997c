"""What forms are, and those of whole networks, blocks and their input."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import dataclasses
import functools
import types
from typing import Any
from unittest import mock

from flax import linen as nn
from flax import traverse_util
import jax
from jax import lax
import jax.numpy as jnp
import ml_collections
import numpy as np

from benchmarks import steps
from galmet_jax.data import augment
from galmet_jax.devices.cpu import xla
from galmet_jax.models import layers
from galmet_jax.models import network
from galmet_jax.models import resnet


@dataclasses.dataclass(frozen=True)
class Form:
  """One way to write a piece.

  Attributes:
    function: makes the outputs from what is trained and what is given.
    patch: makes the context in which it is traced.
    options: whether XLA has the project's compiler options.
  """

  function: Callable[[Any, Any], Any]
  patch: Callable[[], contextlib.AbstractContextManager] = (
    contextlib.nullcontext
  )
  options: bool = True


@dataclasses.dataclass(frozen=True)
class Piece:
  """A part of a step.

  Attributes:
    name: of the piece.
    trained: what has a gradient, or None.
    given: what has none.
    forms: by name; the first is the form in use.
  """

  name: str
  trained: Any
  given: Any
  forms: Mapping[str, Form]


def patched(
  module: types.ModuleType, name: str, replacement: Callable
) -> Callable[[], contextlib.AbstractContextManager]:
  """Makes what makes a context in which a module's function is another."""
  return functools.partial(mock.patch.object, module, name, replacement)


def run_training(
  module: nn.Module, params: Any, statistics: Any, x: jax.Array, **arguments
) -> tuple[jax.Array, Any]:
  """Applies a module in training.

  Args:
    module: has BatchNorm.
    params: its parameters.
    statistics: its running statistics.
    x: maps `[B, H, W, C]`.
    **arguments: further ones of the module.

  Returns:
    The result, and the new statistics, which pass on no gradient.
  """
  variables = {"params": params, "batch_stats": statistics}
  y, updates = module.apply(variables, x, mutable=["batch_stats"], **arguments)
  return y, lax.stop_gradient(updates["batch_stats"])


def normal(shape: tuple[int, ...]) -> np.ndarray:
  """Draws float32 numbers of mean 0 and deviation 1."""
  return np.random.default_rng(0).standard_normal(shape, np.float32)


def maps(
  config: ml_collections.ConfigDict, side: int, channels: int
) -> np.ndarray:
  """Draws maps `[B, side, side, channels]` of the config's batch and dtype."""
  shape = (config.train.batch_size, side, side, channels)
  return normal(shape).astype(jnp.dtype(config.model.dtype))


def draw_variables(module: nn.Module, x: np.ndarray, seed: int = 0) -> Any:
  """Draws a module's variables; none of a BatchNorm's or bias is neutral.

  Args:
    module: the module.
    x: what it is applied to.
    seed: of the draw.
  """
  rng = np.random.default_rng(seed)
  draw = {
    "kernel": lambda shape: rng.normal(0, np.prod(shape[:-1]) ** -0.5, shape),
    "scale": lambda shape: rng.uniform(0.5, 1.5, shape),
    "bias": lambda shape: rng.normal(0, 0.3, shape),
    "mean": lambda shape: rng.normal(0, 0.3, shape),
    "var": lambda shape: rng.uniform(0.5, 2, shape),
  }
  init = functools.partial(module.init, train=False)
  shapes = jax.eval_shape(init, jax.random.key(0), x)
  flat = traverse_util.flatten_dict(shapes)
  return traverse_util.unflatten_dict(
    {path: np.float32(draw[path[-1]](v.shape)) for path, v in flat.items()}
  )


def evaluation(config: ml_collections.ConfigDict) -> Piece:
  """The whole network by running statistics."""
  model = network.from_config(config.model, 1)
  x = maps(config, config.data.crop, 3)

  def evaluate(_, given):
    return model.apply(*given, train=False)

  forms = {
    "in_use": Form(evaluate),
    "not_folded": Form(evaluate, patched(layers, "conv_bn", _conv_then_bn)),
  }
  return Piece("evaluation", None, (draw_variables(model, x), x), forms)


def _conv_then_bn(x, norm, features, kernel, strides, name, train, *, init):
  """`layers.conv_bn` with a normalisation of its own in evaluation too."""
  bn = norm(features, name=f"bn{name}")
  shape = (kernel, kernel, x.shape[-1], features)
  weights = layers.Kernel(shape, init, name=f"conv{name}")().astype(bn.dtype)
  y = layers.convolve(x.astype(bn.dtype), weights, strides)
  return bn(y, train=train)


def blocks(config: ml_collections.ConfigDict) -> Piece:
  """The first stage's residual blocks in training.

  All of them: around one block, recomputation has nothing to free.
  """
  width, dtype = config.model.width, jnp.dtype(config.model.dtype)
  norm = functools.partial(layers.BatchNorm, dtype=dtype)
  block = resnet.BasicBlock(width, 1, norm)
  x = maps(config, config.data.crop // 4, width)
  number = config.model.stage_sizes[0]
  variables = [draw_variables(block, x, seed) for seed in range(number)]

  def one(params, statistics, x):
    return run_training(block, params, statistics, x, train=True)

  def chain(one, trained, statistics):
    x, params = trained
    updates = []
    for each in zip(params, statistics, strict=True):
      x, update = one(*each, x)
      updates.append(update)
    return x, updates

  in_use = functools.partial(chain, one)
  return Piece(
    "blocks",
    (x, [each["params"] for each in variables]),
    [each["batch_stats"] for each in variables],
    {
      "in_use": Form(in_use),
      "not_written": Form(in_use, patched(xla, "materialize", lambda x: x)),
      "recomputed": Form(functools.partial(chain, jax.checkpoint(one))),
    },
  )


def inputs(config: ml_collections.ConfigDict) -> Iterator[Piece]:
  """A batch's images as the network sees them: random views, plain ones."""
  batch, side = config.train.batch_size, config.data.crop
  dtype = jnp.dtype(config.model.dtype)
  frame = augment.Frame(side, side)
  images = steps.random_split(batch, side).images
  packed = augment.pack(images)

  def view(which, _, given):
    return augment.apply(given[which], given[-1], frame).astype(dtype)

  def normalise(_, given):
    return _crop_and_normalise(given[0], frame).astype(dtype)

  forms = {
    "in_use": Form(functools.partial(view, 0)),
    "uint8": Form(functools.partial(view, 1)),
  }
  views = augment.random_views(jax.random.key(0), batch, config.augment)
  yield Piece("input_random", None, (packed, images, views), forms)
  forms = {"in_use": forms["in_use"], "not_sampled": Form(normalise)}
  views = augment.plain_views(batch)
  yield Piece("input_plain", None, (packed, views), forms)


def _crop_and_normalise(packed, frame):
  start = (packed.shape[1] - frame.crop) // 2
  kept = packed[:, start : start + frame.crop, start : start + frame.crop]
  pixels = jnp.stack([kept >> 8 * i & 255 for i in range(3)], -1)
  mean = jnp.asarray(augment.IMAGENET_MEAN).reshape(1, 1, 1, 3)
  std = jnp.asarray(augment.IMAGENET_STD).reshape(1, 1, 1, 3)
  return (pixels.astype(jnp.float32) / 255 - mean) / std
