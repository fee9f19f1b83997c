"""What a training step reads and writes."""

import dataclasses
from typing import Any

from flax import struct
import jax
import jax.numpy as jnp
import ml_collections

from galmet_jax import optimizers
from galmet_jax.data import augment
from galmet_jax.models import network


@struct.dataclass
class TrainState:
  """The whole state of training: with the config it determines what follows.

  Randomness is a function of (seed, step) and the data's order one of
  (seed, epoch), so that neither needs a place here.

  Attributes:
    step: steps done, int32 scalar.
    params: the network's parameters, by top-level module.
    batch_stats: running means and variances of its BatchNorms.
    opt_state: optimiser state of the phase that made the last step.
  """

  step: jax.Array
  params: Any
  batch_stats: Any
  opt_state: Any

  @property
  def variables(self) -> dict[str, Any]:
    """What the network is applied with."""
    return {"params": self.params, "batch_stats": self.batch_stats}


def create(
  model: network.Network,
  config: ml_collections.ConfigDict,
  phase: optimizers.Phase,
  label_means: jax.Array,
) -> TrainState:
  """Makes the state of a fresh network.

  Args:
    model: the network.
    config: the whole config.
    phase: the first phase; its optimiser is started.
    label_means: `[T]`, training means of the targets. With
      `model.start_at_mean` the last layer starts as the constant prediction
      of them (its bias; its kernel is zero), without it as drawn.

  Returns:
    The state before the first step.
  """
  side = augment.make_frame(config.data).resolution
  images = jnp.zeros((1, side, side, 3))
  key = jax.random.key(config.seed)
  variables = jax.jit(model.init, static_argnames="train")(
    key, images, train=False
  )
  params = dict(variables["params"])
  if config.model.start_at_mean:
    kernel = jnp.zeros_like(params["head"]["dense2"]["kernel"])
    last = {"kernel": kernel, "bias": jnp.asarray(label_means)}
    params["head"] = {**params["head"], "dense2": last}
  state = TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    batch_stats=variables["batch_stats"],
    opt_state=None,
  )
  return start_phase(state, config.optim, phase)


def start_phase(
  state: TrainState,
  config: ml_collections.ConfigDict,
  phase: optimizers.Phase,
) -> TrainState:
  """Gives the state a new optimiser, as each fit() call of the recipe does."""
  tx = optimizers.make_optimizer(config, phase)
  trained, _ = optimizers.split(state.params, config.groups, phase.frozen)
  return dataclasses.replace(state, opt_state=tx.init(trained))
