"""Learning-rate schedules and the phases of a recipe.

Durations are epochs in the config and become steps here, once.
"""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses

import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from galmet_jax import errors


def sgdr(
  peak: float,
  cycle_steps: list[int],
  slow_start: float,
) -> optax.Schedule:
  """Cosine annealing with warm restarts (Loshchilov & Hutter 2017).

  As fastai 0.7 ran it for Wu & Boada (2019): each cycle falls from `peak`
  along half a cosine, and the first `slow_start` of the first cycle's steps
  run at `peak` / 100, while the cosine moves on beneath.

  Args:
    peak: learning rate at the start of each cycle.
    cycle_steps: length of each cycle in steps.
    slow_start: fraction of the first cycle's steps.

  Returns:
    A function of the step within the phase.
  """
  starts = np.cumsum([0, *cycle_steps[:-1]])
  lengths = np.array(cycle_steps)

  def schedule(step):
    cycle = jnp.searchsorted(starts, step, side="right") - 1
    progress = (step - jnp.take(starts, cycle)) / jnp.take(lengths, cycle)
    rate = peak * (1 + jnp.cos(jnp.pi * progress)) / 2
    return jnp.where(step < slow_start * cycle_steps[0], peak / 100, rate)

  return schedule


def one_cycle(
  peak: float, steps: int, config: ml_collections.ConfigDict
) -> optax.Schedule:
  """One rise and fall of the rate (Smith & Topin 2018).

  Args:
    peak: the highest rate.
    steps: length of the cycle in steps.
    config: the phase's block. The rate rises from `peak / start_ratio` over
      the first `rise` of the steps, falls back until only `anneal` of them are
      left, and in these on to `peak / end_ratio`; without `anneal` it falls
      there at once. `shape` 'linear' is fastai 0.7's (Wu & Boada 2019),
      'cosine' fastai 2's (Wu 2020).

  Returns:
    A function of the step within the phase.

  Raises:
    ConfigError: for another shape, or parts longer than the whole.
  """
  top, bottom = _turns(steps, config)
  back = {bottom: 1 / config.start_ratio} if config.anneal else {}
  last = config.start_ratio if config.anneal else 1
  scales = {top: config.start_ratio, **back, steps: last / config.end_ratio}
  return optax.piecewise_interpolate_schedule(
    config.shape, peak / config.start_ratio, scales
  )


def one_cycle_momentum(
  steps: int, config: ml_collections.ConfigDict
) -> optax.Schedule:
  """The momentum under `one_cycle`: low where the rate is high.

  Args:
    steps: length of the cycle in steps.
    config: the phase's block; `momenta` are the highest and the lowest.

  Returns:
    A function of the step within the phase.
  """
  top, bottom = _turns(steps, config)
  high, low = config.momenta
  return optax.piecewise_interpolate_schedule(
    config.shape, high, {top: low / high, bottom: high / low}
  )


def _turns(steps: int, config: ml_collections.ConfigDict) -> tuple[int, int]:
  """Returns the steps at which a cycle's rate is highest, and back."""
  top, bottom = int(config.rise * steps), int((1 - config.anneal) * steps)
  if config.shape not in ("linear", "cosine") or not 0 < top < bottom <= steps:
    raise errors.ConfigError(
      f"a cycle has shape {config.shape!r}, rise {config.rise} and anneal "
      f"{config.anneal} of {steps} steps; expected linear or cosine, and a "
      "step at least for each part."
    )
  return top, bottom


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
        group: sgdr(block.rates[group], cycles, block.slow_start)
        for group in trained
      }
    elif block.schedule == "one_cycle":
      steps = block.epochs * steps_per_epoch
      momentum = one_cycle_momentum(steps, block)
      rates = {
        group: one_cycle(block.rates[group], steps, block) for group in trained
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
