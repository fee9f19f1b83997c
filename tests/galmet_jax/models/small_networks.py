"""Small networks for tests, and a NumPy network to compare with."""

import functools

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from galmet_jax.data import galaxies
from galmet_jax.models import resnet


def tiny(*, stage_sizes=(1, 1), dropout_rates=(0.25, 0.5), **changes):
  head = functools.partial(resnet.Head, width=16, dropout_rates=dropout_rates)
  return resnet.ResNet(stage_sizes, head=head, width=8, **changes)


def images(*shape, seed=0):
  values = np.random.default_rng(seed).normal(size=(*shape, 3))
  return jnp.asarray(values, jnp.float32)


def split(rng, number, size, num_targets=1):
  """Draws a split of noise."""
  return galaxies.Split(
    objid=np.arange(number) + 1237648704043942146,
    images=rng.integers(0, 256, (number, size, size, 3), np.uint8),
    targets=np.float32(rng.normal(8.9, 0.2, (number, num_targets))),
    columns={},
  )


def run(model, variables, x, **keywords):
  return jax.jit(functools.partial(model.apply, **keywords))(variables, x)


def run_modules(model, variables, x, mutable=(), **keywords):
  """Returns predictions, outputs of the top-level modules, and new state."""
  y, updates = run(
    model,
    variables,
    x,
    capture_intermediates=lambda module, _: module.name in resnet.MODULES,
    mutable=["intermediates", *mutable],
    **keywords,
  )
  outputs = updates.pop("intermediates")
  return y, {name: outputs[name]["__call__"][0] for name in outputs}, updates


def abstract_variables(model):
  x = jnp.zeros((1, 32, 32, 3))
  return jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))


def drawn(model, seed=0):
  """Draws variables; every bias and BatchNorm differs from its default."""
  rng = np.random.default_rng(seed)
  draw = {
    "kernel": lambda shape: rng.normal(0, np.prod(shape[:-1]) ** -0.5, shape),
    "scale": lambda shape: rng.uniform(0.5, 1.5, shape),
    "bias": lambda shape: rng.normal(0, 0.3, shape),
    "mean": lambda shape: rng.normal(0, 0.3, shape),
    "var": lambda shape: rng.uniform(0.5, 2.0, shape),
    # Self-attention:
    "gamma": lambda shape: np.full(shape, 0.02),
    "u": lambda shape: rng.normal(0, 1, shape),
  }
  flat = traverse_util.flatten_dict(abstract_variables(model))
  for path, leaf in flat.items():
    flat[path] = jnp.asarray(draw[path[-1]](leaf.shape), jnp.float32)
  return traverse_util.unflatten_dict(flat)


class NumpyResNet:
  """The forward pass in float64, independent of JAX."""

  def __init__(self, variables):
    self.params = variables["params"]
    self.stats = variables["batch_stats"]

  @staticmethod
  def convolve(x, kernel, stride):
    side = kernel.shape[0]
    edge = side // 2
    x = np.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (side, side), (1, 2))
    return np.einsum(
      "bhwcij,ijco->bhwo",
      windows[:, ::stride, ::stride],
      np.asarray(kernel, np.float64),
      optimize=True,
    )

  @staticmethod
  def pool(x):
    edges = ((0, 0), (1, 1), (1, 1), (0, 0))
    x = np.pad(x, edges, constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))
    return windows[:, ::2, ::2].max((-1, -2))

  @staticmethod
  def normalise(x, params, stats):
    p, s = (
      {k: np.asarray(v, np.float64) for k, v in tree.items()}
      for tree in (params, stats)
    )
    scale = p["scale"] / np.sqrt(s["var"] + 1e-5)
    return (x - s["mean"]) * scale + p["bias"]

  def conv_bn(self, x, path, index, stride):
    params, stats = self.params, self.stats
    for name in path:
      params, stats = params[name], stats[name]
    separator = "_" if index == "short" else ""
    x = self.convolve(x, params[f"conv{separator}{index}"]["kernel"], stride)
    name = f"bn{separator}{index}"
    return self.normalise(x, params[name], stats[name])

  def block(self, x, path, stride):
    params = self.params[path[0]][path[1]]
    # The second convolution of a bottleneck has the stride, and the first one
    # of a basic block.
    bottleneck = "conv3" in params
    strides = (1, stride, 1) if bottleneck else (stride, 1)
    y = x
    for i, s in enumerate(strides, start=1):
      y = self.conv_bn(y, path, str(i), s)
      if i < len(strides):
        y = np.maximum(y, 0)
    if "conv_short" in params:
      x = self.conv_bn(x, path, "short", stride)
    return np.maximum(x + y, 0)

  def __call__(self, x):
    x = np.asarray(x, np.float64)
    x = self.pool(np.maximum(self.conv_bn(x, ("stem",), "", 2), 0))
    stages = sorted(name for name in self.params if name.startswith("stage"))
    for stage in stages:
      for name in sorted(self.params[stage]):
        first = stage != "stage1" and name == "block0"
        x = self.block(x, (stage, name), 2 if first else 1)
    head, stats = self.params["head"], self.stats["head"]
    x = np.concatenate([x.max((1, 2)), x.mean((1, 2))], axis=1)
    x = self.normalise(x, head["bn1"], stats["bn1"])
    x = x @ np.asarray(head["dense1"]["kernel"]) + head["dense1"]["bias"]
    x = self.normalise(np.maximum(x, 0), head["bn2"], stats["bn2"])
    return x @ np.asarray(head["dense2"]["kernel"]) + head["dense2"]["bias"]
