"""One update of the network, compiled once per phase."""

from collections.abc import Callable
from collections.abc import Sequence
import functools
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from galmet_jax import optimizers
from galmet_jax.data import augment
from galmet_jax.data import placement
from galmet_jax.devices import compilation
from galmet_jax.devices import sharding
from galmet_jax.models import resnet
from galmet_jax.train_state import TrainState

LOSSES = ("rmse", "mse", "huber", "relative_mse")


def loss_value(
  predictions: jax.Array,
  targets: jax.Array,
  config: ml_collections.ConfigDict,
  scatter: Sequence[float] = (),
) -> jax.Array:
  """Returns the loss of a global batch, over its known labels.

  Args:
    predictions: `[B, T]`.
    targets: `[B, T]`; NaN where a label is missing.
    config: the `optim` block: `loss` 'rmse' (the paper's), 'mse', 'huber' with
      `huber_delta`, or 'relative_mse' with `scatter`.
    scatter: standard deviation of each target's labels, `[T]`.

  Returns:
    Scalar, in the targets' units (squared for mse and huber; without a unit
    for relative_mse): the mean over all known labels of the batch, of all
    targets together.
  """
  known = ~jnp.isnan(targets)
  number = jnp.maximum(known.sum(), 1)
  # A missing label contributes a constant, so that its gradient is zero.
  delta = jnp.where(known, predictions - jnp.where(known, targets, 0), 0)
  if config.loss == "relative_mse":
    delta /= jnp.asarray(scatter)[None]
  if config.loss == "huber":
    return optax.huber_loss(delta, delta=config.huber_delta).sum() / number
  mse = (delta**2).sum() / number
  if config.loss in ("mse", "relative_mse"):
    return mse
  assert config.loss == "rmse", config.loss
  # The gradient of the root is infinite at zero: without the floor, a batch
  # predicted exactly would end the run.
  return jnp.sqrt(jnp.maximum(mse, 1e-12))


def train_step(
  seed: jax.Array,
  state: TrainState,
  batch: Any,
  *,
  select: Callable,
  model: resnet.ResNet,
  phase: optimizers.Phase,
  frame: augment.Frame,
  config: ml_collections.ConfigDict,
  scatter: Sequence[float] = (),
) -> tuple[TrainState, dict[str, jax.Array]]:
  """Makes one update from a batch of training examples.

  Args:
    seed: the config's seed, uint32 scalar. As an argument, it lets runs that
      differ in their seed share a program.
    state: the state before; donated.
    batch: a batch of the training data, see `placement.Placement`.
    select: the placement's function from `batch` to packed images, uint32
      `[B, S, S]`, and targets, float32 `[B, T]`, NaN where missing.
    model: the network.
    phase: the phase, with its optimizer and frozen modules.
    frame: the crop, resolution and bands that the network sees.
    config: the whole config.
    scatter: see `loss_value`.

  Returns:
    The state after, and the scalars `loss` and `grad_norm`.
  """
  images, targets = (
    jnp.repeat(x, config.train.views_per_image, axis=0) for x in select(batch)
  )
  key = jax.random.fold_in(jax.random.key(seed), state.step)
  view_key, dropout_key = jax.random.split(key)
  views = augment.random_views(view_key, len(images), config.augment)
  pixels = augment.apply(images, views, frame)
  trained, frozen = optimizers.split(state.params, phase.frozen)

  def loss_fn(trained):
    predictions, updates = model.apply(
      {"params": trained | frozen, "batch_stats": state.batch_stats},
      pixels,
      train=True,
      frozen=phase.frozen,
      rngs={"dropout": dropout_key},
      mutable=["batch_stats"],
    )
    loss = loss_value(predictions, targets, config.optim, scatter)
    return loss, updates["batch_stats"]

  grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
  (loss, batch_stats), grads = grad_fn(trained)
  updates, opt_state = phase.tx.update(grads, state.opt_state, trained)
  params = optax.apply_updates(trained, updates) | frozen
  state = TrainState(
    step=state.step + 1,
    # In the order of the state that was donated.
    params={module: params[module] for module in state.params},
    batch_stats=batch_stats,
    opt_state=opt_state,
  )
  return state, {"loss": loss, "grad_norm": _norm(grads)}


def _norm(grads: Any) -> jax.Array:
  """Returns the Euclidean norm of all gradients together."""
  squares = [
    jnp.square(x.astype(jnp.float32)).sum(tuple(range(x.ndim - 1)))
    for x in jax.tree.leaves(grads)
  ]
  # One sum for all arrays: a sum for each is as many more kernels on a GPU, and
  # without the barrier XLA takes the sum apart again.
  joined = jnp.concatenate([jnp.atleast_1d(x) for x in squares])
  return jnp.sqrt(lax.optimization_barrier(joined).sum())


def compile_train_step(
  state: TrainState,
  data: placement.Placement,
  mesh: jax.sharding.Mesh,
  **static: Any,
) -> functools.partial:
  """Compiles the step of a phase before its first call.

  Args:
    state: the state at the start of the phase.
    data: the training data.
    mesh: the devices.
    **static: the keyword arguments of `train_step` other than `select`.

  Returns:
    A function (state, batch) -> (state, metrics) that donates the state: a
    partial, whose `func` is the compiled program.
  """
  seed = np.uint32(static["config"].seed)
  step = compilation.jit(
    functools.partial(train_step, select=data.select, **static),
    mesh,
    out_shardings=(
      sharding.replicated_formats(state, mesh),
      sharding.replicated(mesh),
    ),
    donate_argnums=1,
  )
  compiled = step.lower(seed, state, data.abstract_batch()).compile()
  return functools.partial(compiled, seed)
