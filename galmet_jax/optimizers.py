"""The phases of a recipe, each with its optimizer and a rate per layer group.

A layer group is a set of the network's top-level modules. The optimizer of a
phase sees the trained groups only, so that frozen ones have neither gradients
nor momenta. Durations are epochs in the config and become steps here, once.
"""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import optax

from galmet_jax import errors
from galmet_jax import schedules


@dataclasses.dataclass(frozen=True)
class Phase:
  """A stretch of training with one optimizer.

  Attributes:
    name: the phase's name in the config.
    start: first step, counted from the start of training.
    end: first step after the phase.
    frozen: top-level modules that are not trained.
    rates: learning rate of each trained layer group, as a function of the step
      within the phase.
    tx: the transformation of the trained modules' gradients.
  """

  name: str
  start: int
  end: int
  frozen: tuple[str, ...]
  rates: Mapping[str, optax.Schedule]
  tx: optax.GradientTransformation


def make_phases(
  config: ml_collections.ConfigDict, steps_per_epoch: int
) -> tuple[Phase, ...]:
  """Returns the phases of a recipe, in order.

  Args:
    config: the `optim` block. `config.phases` names further blocks of it, in
      order; each has `frozen` (layer groups), `rates` (peak rate of every layer
      group) and `schedule`: 'constant' with `epochs`; 'sgdr' with `cycles`,
      `cycle_len` in epochs, `cycle_mult` and `slow_start`; or 'one_cycle' with
      `epochs` and the fields that `schedules.one_cycle` reads.
    steps_per_epoch: steps in an epoch.

  Raises:
    ConfigError: for an unknown schedule, layer group or optimizer.
  """
  phases = []
  start = 0
  for name in config.phases:
    block = config[name]
    unknown = {*block.frozen, *block.rates} - set(config.groups)
    if unknown or set(block.rates) != set(config.groups):
      raise errors.ConfigError(
        f"optim.{name} names the layer groups "
        f"{sorted({*block.frozen, *block.rates})}; expected a rate for each "
        f"of {sorted(config.groups)}."
      )
    momentum: float | optax.Schedule = config.momentum
    if block.schedule == "constant":
      steps = block.epochs * steps_per_epoch
      schedule: Callable = optax.constant_schedule
    elif block.schedule == "sgdr":
      cycles = [
        block.cycle_len * block.cycle_mult**i * steps_per_epoch
        for i in range(block.cycles)
      ]
      steps = sum(cycles)
      schedule = functools.partial(
        schedules.sgdr, cycle_steps=cycles, slow_start=block.slow_start
      )
    elif block.schedule == "one_cycle":
      steps = block.epochs * steps_per_epoch
      schedule = functools.partial(
        schedules.one_cycle, steps=steps, config=block
      )
      momentum = schedules.one_cycle_momentum(steps, block)
    else:
      raise errors.ConfigError(
        f"optim.{name}.schedule is {block.schedule!r}; expected constant, "
        f"sgdr or one_cycle. Change --config.optim.{name}.schedule."
      )
    rates = {
      group: schedule(block.rates[group])
      for group in config.groups
      if group not in block.frozen
    }
    phases.append(
      Phase(
        name=name,
        start=start,
        end=start + steps,
        frozen=tuple(m for group in block.frozen for m in config.groups[group]),
        rates=rates,
        tx=make_optimizer(config, rates, momentum),
      )
    )
    start += steps
  return tuple(phases)


def phase_at(phases: tuple[Phase, ...], step: int) -> Phase:
  """Returns the phase that runs `step`; after the last step, the last phase."""
  return next((phase for phase in phases if step < phase.end), phases[-1])


def group_of_module(
  groups: Mapping[str, tuple[str, ...]], modules: tuple[str, ...]
) -> dict[str, str]:
  """Inverts the config's layer groups: module -> group, in module order.

  Args:
    groups: layer group -> top-level modules (`optim.groups`).
    modules: the network's top-level modules.

  Raises:
    ConfigError: unless each module is in exactly one group and each group
      holds a module. (`optax.multi_transform` checks neither.)
  """
  listed = [module for group in groups.values() for module in group]
  if sorted(listed) != sorted(modules) or not all(groups.values()):
    raise errors.ConfigError(
      f"optim.groups is {dict(groups)}; expected each of {modules} in exactly "
      "one group, and no empty group."
    )
  group_of = {module: group for group in groups for module in groups[group]}
  return {module: group_of[module] for module in modules}


def split(
  params: Mapping[str, Any], frozen: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Splits the parameters into (trained, frozen) top-level modules."""
  trained = {m: p for m, p in params.items() if m not in frozen}
  return trained, {m: p for m, p in params.items() if m in frozen}


def make_optimizer(
  config: ml_collections.ConfigDict,
  rates: Mapping[str, optax.Schedule],
  momentum: float | optax.Schedule,
) -> optax.GradientTransformation:
  """Makes an optimizer with one rate per layer group.

  Args:
    config: the `optim` block: `groups`, `weight_decay`, and `optimizer`. 'sgd'
      adds weight decay to the gradient before the momentum, as torch does; for
      'adamw' and 'ranger' it is decoupled and the momentum is the first decay
      rate.
    rates: learning rates of the trained layer groups.
    momentum: a number, or a function of the step.

  Returns:
    A transformation of the trained part of `split`'s parameters.

  Raises:
    ConfigError: for an unknown optimizer.
  """
  optimizers = {"sgd": _sgd, "adamw": _adamw, "ranger": _radam}
  if config.optimizer not in optimizers:
    raise errors.ConfigError(
      f"optim.optimizer is {config.optimizer!r}; expected sgd, adamw or "
      "ranger. Change --config.optim.optimizer."
    )
  make = functools.partial(optimizers[config.optimizer], config.weight_decay)
  if callable(momentum):
    # Optax takes a schedule for the rate only; this wrapper takes any.
    make = optax.inject_hyperparams(make)
  group_of = {m: group for group in rates for m in config.groups[group]}

  def labels(params):
    # One per parameter: the labels' depth is part of the checkpoints' layout.
    return {
      module: jax.tree.map(lambda _, group=group_of[module]: group, tree)
      for module, tree in params.items()
    }

  by_group = optax.multi_transform(
    {group: make(rate, momentum) for group, rate in rates.items()}, labels
  )
  return lookahead(by_group) if config.optimizer == "ranger" else by_group


def _sgd(decay: float, rate, momentum) -> optax.GradientTransformation:
  return optax.chain(
    optax.add_decayed_weights(decay), optax.sgd(rate, momentum=momentum)
  )


def _adamw(decay: float, rate, momentum) -> optax.GradientTransformation:
  return optax.adamw(rate, b1=momentum, weight_decay=decay)


def _radam(decay: float, rate, momentum) -> optax.GradientTransformation:
  """Rectified Adam (Liu et al. 2020) with fastai's second decay rate."""
  return optax.chain(
    optax.scale_by_radam(b1=momentum, b2=0.99, eps=1e-6),
    optax.add_decayed_weights(decay),
    optax.scale_by_learning_rate(rate),
  )


class LookaheadState(NamedTuple):
  """Optax's lookahead state and the slow weights."""

  inner: Any
  slow: Any


def lookahead(
  fast: optax.GradientTransformation,
) -> optax.GradientTransformation:
  """Lookahead (Zhang et al. 2019): every 6 steps, halfway back.

  Optax's own lookahead takes parameters as pairs of fast and slow weights. This
  one stores the slow weights in the optimizer state, so that the network has a
  single set of parameters. Around `_radam` it is Ranger with fastai's defaults.
  """
  inner = optax.lookahead(fast, sync_period=6, slow_step_size=0.5)

  def init(params):
    pair = optax.LookaheadParams.init_synced(params)
    # A copy: the training step donates its state, and no buffer twice.
    return LookaheadState(inner.init(pair), jax.tree.map(jnp.array, params))

  def update(gradients, state, params):
    pair = optax.LookaheadParams(params, state.slow)
    updates, inner_state = inner.update(gradients, state.inner, pair)
    slow = optax.apply_updates(state.slow, updates.slow)
    return updates.fast, LookaheadState(inner_state, slow)

  return optax.GradientTransformation(init, update)
