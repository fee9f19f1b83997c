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
  """

  name: str
  start: int
  end: int
  frozen: tuple[str, ...]
  rates: Mapping[str, Callable]


def make_phases(
  config: ml_collections.ConfigDict, steps_per_epoch: int
) -> tuple[Phase, ...]:
  """Lays the phases of a recipe end to end.

  Args:
    config: the `optim` block. `config.phases` names further blocks of it, in
      order; each has `schedule` ('constant' with `epochs`, or 'sgdr' with
      `cycles`, `cycle_len` in epochs, `cycle_mult` and `slow_start`),
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
    else:
      raise errors.ConfigError(
        f"optim.{name}.schedule is {block.schedule!r}; expected constant or "
        "sgdr."
      )
    phases.append(Phase(name, start, start + steps, tuple(block.frozen), rates))
    start += steps
  return tuple(phases)


def phase_at(phases: tuple[Phase, ...], step: int) -> Phase:
  """Returns the phase that runs `step`; the last one at the end of it all."""
  for phase in phases:
    if step < phase.end:
      return phase
  return phases[-1]
