"""Learning-rate schedules and the phases of a recipe.

Durations are epochs in the config and become steps here, once.
"""

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
