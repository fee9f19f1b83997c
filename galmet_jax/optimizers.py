"""Layer groups and the optimiser of a phase.

A layer group is a set of the network's top-level modules. Frozen groups are
left out of what the optimiser sees, so that neither their gradients nor their
momenta exist.
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


def group_of_module(
  groups: Mapping[str, tuple[str, ...]], modules: tuple[str, ...]
) -> dict[str, str]:
  """Inverts the config's groups: module -> layer group.

  Args:
    groups: layer group -> top-level modules (`optim.groups`).
    modules: the network's top-level modules.

  Returns:
    For each module its group, in the order of `modules`.

  Raises:
    ConfigError: unless each module stands in exactly one group and each group
      holds a module that exists. (`optax.multi_transform` lets both pass.)
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
  params: Mapping[str, Any],
  groups: Mapping[str, tuple[str, ...]],
  frozen: tuple[str, ...],
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Parts the parameters into (trained, frozen) top-level modules."""
  group_of = group_of_module(groups, tuple(params))
  trained = {m: p for m, p in params.items() if group_of[m] not in frozen}
  rest = {m: p for m, p in params.items() if group_of[m] in frozen}
  return trained, rest


@dataclasses.dataclass(frozen=True)
class Phase:
  """A stretch of training with one optimiser state.

  Attributes:
    name: its name in the config.
    start: first step, counted from the start of training.
    end: first step after it.
    frozen: names of the layer groups that are not trained.
    rates: layer group -> learning rate as a function of the step within the
      phase, for the groups that are trained.
    momentum: a number, or a function of the step within the phase.
  """

  name: str
  start: int
  end: int
  frozen: tuple[str, ...]
  rates: Mapping[str, Callable]
  momentum: float | Callable


def make_phases(
  config: ml_collections.ConfigDict, steps_per_epoch: int
) -> tuple[Phase, ...]:
  """Lays the phases of a recipe end to end.

  Args:
    config: the `optim` block. `config.phases` names further blocks of it, in
      order; each has `schedule` ('constant' with `epochs`, 'sgdr' with
      `cycles`, `cycle_len` in epochs, `cycle_mult` and `slow_start`, or
      'one_cycle' with `epochs` and what the function of this name reads),
      `frozen` (layer groups) and `rates` (peak rate of every layer group).
    steps_per_epoch: steps in an epoch.

  Returns:
    The phases, in order.

  Raises:
    ConfigError: for a schedule or layer group that does not exist.
  """
  phases = []
  start = 0
  for name in config.phases:
    block = config[name]
    unknown = {*block.frozen, *block.rates} - set(config.groups)
    if unknown or set(block.rates) != set(config.groups):
      raise errors.ConfigError(
        f"optim.{name} speaks of the layer groups "
        f"{sorted({*block.frozen, *block.rates})}; expected a rate for each "
        f"of {sorted(config.groups)}."
      )
    momentum: float | Callable = config.momentum
    trained = [group for group in config.groups if group not in block.frozen]
    if block.schedule == "constant":
      steps = block.epochs * steps_per_epoch
      rates = {
        group: optax.constant_schedule(block.rates[group]) for group in trained
      }
    elif block.schedule == "sgdr":
      cycles = [
        block.cycle_len * block.cycle_mult**i * steps_per_epoch
        for i in range(block.cycles)
      ]
      steps = sum(cycles)
      rates = {
        group: schedules.sgdr(block.rates[group], cycles, block.slow_start)
        for group in trained
      }
    elif block.schedule == "one_cycle":
      steps = block.epochs * steps_per_epoch
      momentum = schedules.one_cycle_momentum(steps, block)
      rates = {
        group: schedules.one_cycle(block.rates[group], steps, block)
        for group in trained
      }
    else:
      raise errors.ConfigError(
        f"optim.{name}.schedule is {block.schedule!r}; expected constant, "
        "sgdr or one_cycle."
      )
    frozen = tuple(block.frozen)
    phases.append(Phase(name, start, start + steps, frozen, rates, momentum))
    start += steps
  return tuple(phases)


def phase_at(phases: tuple[Phase, ...], step: int) -> Phase:
  """Returns the phase that runs `step`; the last one at the end of it all."""
  for phase in phases:
    if step < phase.end:
      return phase
  return phases[-1]


def make_optimizer(
  config: ml_collections.ConfigDict, phase: Phase
) -> optax.GradientTransformation:
  """Makes the optimiser of one phase, with a rate per layer group.

  Args:
    config: the `optim` block: `optimizer` 'sgd' (weight decay is L2, added to
      the gradient before the momentum as torch does), 'adamw' or 'ranger'
      (the momentum is the first decay rate; weight decay is decoupled),
      `weight_decay`, `groups`.
    phase: supplies the rates of its trained groups and the momentum.

  Returns:
    A transformation of the trained part of `split`'s parameters.

  Raises:
    ConfigError: for an optimiser that does not exist.
  """
  decay = config.weight_decay
  if config.optimizer == "sgd":
    make = functools.partial(_sgd, decay)
  elif config.optimizer == "adamw":
    make = functools.partial(_adamw, decay)
  elif config.optimizer == "ranger":
    make = functools.partial(_radam, decay)
  else:
    raise errors.ConfigError(
      f"optim.optimizer is {config.optimizer!r}; expected sgd, adamw or ranger."
    )

  def of_rate(rate):
    if callable(phase.momentum):
      # Optax takes schedules of a rate, of other numbers only this way.
      return optax.inject_hyperparams(make)(rate, phase.momentum)
    return make(rate, phase.momentum)

  def labels(params):
    group_of = {m: g for g, ms in config.groups.items() for m in ms}
    return {
      module: jax.tree.map(lambda _, m=module: group_of[m], tree)
      for module, tree in params.items()
    }

  by_group = optax.multi_transform(
    {group: of_rate(rate) for group, rate in phase.rates.items()}, labels
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
  """Optax's state, and the slow weights that it keeps beside the fast."""

  inner: Any
  slow: Any


def lookahead(
  fast: optax.GradientTransformation,
) -> optax.GradientTransformation:
  """Lookahead (Zhang et al. 2019): every 6 steps back half the way.

  Optax's own asks for parameters in pairs of fast and slow; here the slow ones
  are kept in the optimiser's state, so that the network has but one set.

  Args:
    fast: the optimiser within.

  Returns:
    A transformation of plain parameters. Ranger is this around `_radam`, with
    fastai's numbers.
  """
  inner = optax.lookahead(fast, sync_period=6, slow_step_size=0.5)

  def init(params):
    pair = optax.LookaheadParams.init_synced(params)
    # A copy: a training step donates the state, and no buffer twice.
    return LookaheadState(inner.init(pair), jax.tree.map(jnp.array, params))

  def update(gradients, state, params):
    pair = optax.LookaheadParams(params, state.slow)
    updates, inner_state = inner.update(gradients, state.inner, pair)
    slow = optax.apply_updates(state.slow, updates.slow)
    return updates.fast, LookaheadState(inner_state, slow)

  return optax.GradientTransformation(init, update)
