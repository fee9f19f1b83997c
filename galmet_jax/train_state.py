"""The state that a training step reads and returns."""

import dataclasses
from typing import Any

from flax import struct
import jax
import jax.numpy as jnp
import ml_collections

from galmet_jax import optimizers
from galmet_jax.models import resnet


@struct.dataclass
class TrainState:
  """The state of training; with the config it determines all that follows.

  Randomness is a function of (seed, step) and the order of the data one of
  (seed, epoch), so neither is stored.

  Attributes:
    step: number of steps done, int32 scalar.
    params: the network's parameters, by top-level module.
    batch_stats: running means and variances of its BatchNorms.
    opt_state: optimizer state of the phase that made the last step; None
      before the first phase.
  """

  step: jax.Array
  params: Any
  batch_stats: Any
  opt_state: Any

  @property
  def variables(self) -> dict[str, Any]:
    """The variables of `model.apply`."""
    return {"params": self.params, "batch_stats": self.batch_stats}


def create(
  model: resnet.ResNet,
  config: ml_collections.ConfigDict,
  side: int,
  label_means: jax.Array,
) -> TrainState:
  """Returns the state of a network with fresh weights.

  Args:
    model: the network.
    config: the whole config.
    side: side of the network's input, pixels.
    label_means: `[T]`, training means of the targets. With
      `model.start_at_mean` the last layer starts with these as its bias and a
      zero kernel, so that the network predicts the means.
  """
  images = jnp.zeros((1, side, side, 3))
  init = jax.jit(model.init, static_argnames="train")
  variables = init(jax.random.key(config.seed), images, train=False)
  params = dict(variables["params"])
  if config.model.start_at_mean:
    kernel = jnp.zeros_like(params["head"]["dense2"]["kernel"])
    last = {"kernel": kernel, "bias": jnp.asarray(label_means)}
    params["head"] = {**params["head"], "dense2": last}
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    batch_stats=variables["batch_stats"],
    opt_state=None,
  )


def start_phase(state: TrainState, phase: optimizers.Phase) -> TrainState:
  """Replaces the optimizer state, as each `fit` call of the recipe does."""
  trained, _ = optimizers.split(state.params, phase.frozen)
  return dataclasses.replace(state, opt_state=phase.tx.init(trained))
