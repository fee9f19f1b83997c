"""One update of the network, compiled once per phase."""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax

from galmet_jax import errors
from galmet_jax import optimizers
from galmet_jax import train_state
from galmet_jax.data import augment
from galmet_jax.data import placement
from galmet_jax.devices import sharding
from galmet_jax.devices.cpu import xla
from galmet_jax.models import network


def loss_value(
  predictions: jax.Array, targets: jax.Array, config: ml_collections.ConfigDict
) -> jax.Array:
  """Returns the loss of a global batch, over the labels that there are.

  Args:
    predictions: `[B, T]`.
    targets: `[B, T]`; NaN where a label is missing.
    config: the `optim` block: `loss` 'rmse' (the paper's), 'mse' or 'huber'
      with `huber_delta`.

  Returns:
    Scalar, in the targets' units (squared for mse and huber): the mean over
    all labels of the batch, whichever target they are of.
  """
  known = ~jnp.isnan(targets)
  number = jnp.maximum(known.sum(), 1)
  # Where a label is missing the error is a constant, without a gradient.
  delta = jnp.where(known, predictions - jnp.where(known, targets, 0), 0)
  if config.loss == "huber":
    return optax.huber_loss(delta, delta=config.huber_delta).sum() / number
  mse = (delta**2).sum() / number
  if config.loss == "mse":
    return mse
  if config.loss == "rmse":
    # The root's gradient at zero is infinite: a batch without error must not
    # end the run.
    return jnp.sqrt(jnp.maximum(mse, 1e-12))
  raise errors.ConfigError(
    f"optim.loss is {config.loss!r}; expected rmse, mse or huber."
  )


def train_step(
  state: train_state.TrainState,
  *batch: jax.Array,
  select: Callable,
  model: network.Network,
  tx: optax.GradientTransformation,
  phase: optimizers.Phase,
  config: ml_collections.ConfigDict,
) -> tuple[train_state.TrainState, dict[str, jax.Array]]:
  """Makes one update from a batch of training examples.

  Args:
    state: the state before; donated.
    *batch: what the training data's `batch` returns.
    select: makes of it packed images, uint32 `[B, S, S]`, and targets, float32
      `[B, T]`, NaN where missing.
    model: the network.
    tx: the phase's optimiser.
    phase: tells the frozen groups.
    config: the whole config.

  Returns:
    The state after, and the scalars `loss` and `grad_norm`.
  """
  views_per_image = config.train.views_per_image
  images, targets = (
    jnp.repeat(x, views_per_image, axis=0) for x in select(*batch)
  )
  key = jax.random.fold_in(jax.random.key(config.seed), state.step)
  view_key, dropout_key = jax.random.split(key)
  views = augment.random_views(view_key, len(images), config.augment)
  pixels = augment.apply(images, views, augment.make_frame(config.data))
  groups = config.optim.groups
  trained, frozen = optimizers.split(state.params, groups, phase.frozen)

  def loss_fn(trained):
    predictions, updates = model.apply(
      {"params": {**trained, **frozen}, "batch_stats": state.batch_stats},
      pixels,
      train=True,
      frozen=tuple(frozen),
      rngs={"dropout": dropout_key},
      mutable=["batch_stats"],
    )
    loss = loss_value(predictions, targets, config.optim)
    return loss, updates["batch_stats"]

  (loss, batch_stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(
    trained
  )
  updates, opt_state = tx.update(grads, state.opt_state, trained)
  trained = optax.apply_updates(trained, updates)
  state = train_state.TrainState(
    step=state.step + 1,
    params={module: {**trained, **frozen}[module] for module in state.params},
    batch_stats=batch_stats,
    opt_state=opt_state,
  )
  return state, {"loss": loss, "grad_norm": optax.tree.norm(grads)}


def compile_train_step(
  state: train_state.TrainState,
  data: placement.Placement,
  mesh: jax.sharding.Mesh,
  **static: Any,
) -> Callable:
  """Compiles the step of a phase ahead of its first call.

  Args:
    state: the state at the start of the phase.
    data: the training data.
    mesh: over which the batch is laid.
    **static: the keyword arguments of `train_step`, but `select`.

  Returns:
    A function (state, *batch) that donates the state.
  """
  step = jax.jit(
    functools.partial(train_step, select=data.select, **static),
    out_shardings=sharding.replicated(mesh),
    donate_argnums=0,
    compiler_options=xla.compiler_options(mesh),
  )
  return step.lower(state, *data.batch(int(state.step))).compile()
