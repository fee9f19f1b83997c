"""Learning rates and momenta as functions of the step within a phase."""

import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from galmet_jax import errors


def sgdr(
  peak: float, cycle_steps: list[int], slow_start: float
) -> optax.Schedule:
  """Cosine annealing with warm restarts (Loshchilov & Hutter 2017).

  Each cycle falls from `peak` along half a cosine. As in the fastai 0.7 of Wu &
  Boada (2019), the first steps of the first cycle run at `peak` / 100 while the
  cosine advances underneath.

  Args:
    peak: learning rate at the start of each cycle.
    cycle_steps: length of each cycle in steps.
    slow_start: fraction of the first cycle's steps that run at `peak` / 100.
  """
  lengths = np.array(cycle_steps)
  starts = np.cumsum(lengths) - lengths
  slow_steps = slow_start * cycle_steps[0]

  def schedule(step):
    # The rate in each cycle, of which one is selected. The sum at the end makes
    # XLA compute the rate once, not in the update of every parameter.
    progress = (step - starts) / lengths
    rates = peak * (1 + jnp.cos(jnp.pi * progress)) / 2
    rates = jnp.where(step < slow_steps, peak / 100, rates)
    return jnp.where((progress >= 0) & (progress < 1), rates, 0).sum()

  return schedule


def one_cycle(
  peak: float, steps: int, config: ml_collections.ConfigDict
) -> optax.Schedule:
  """One rise and fall of the learning rate (Smith & Topin 2018).

  Args:
    peak: highest rate.
    steps: length of the cycle in steps.
    config: the phase's block. The rate rises from `peak / start_ratio` over
      the first `rise` of the steps, returns to it until `anneal` of them are
      left, and falls to `peak / end_ratio` over those. Without `anneal` it
      falls to `peak / end_ratio` directly. `shape` is 'linear' (fastai 0.7, Wu
      & Boada 2019) or 'cosine' (fastai 2, Wu 2020).

  Raises:
    ConfigError: for another shape, or a part shorter than one step.
  """
  top, bottom = _turning_points(steps, config)
  back = {bottom: 1 / config.start_ratio} if config.anneal else {}
  last = config.start_ratio if config.anneal else 1
  scales = {top: config.start_ratio, **back, steps: last / config.end_ratio}
  return optax.piecewise_interpolate_schedule(
    config.shape, peak / config.start_ratio, scales
  )


def one_cycle_momentum(
  steps: int, config: ml_collections.ConfigDict
) -> optax.Schedule:
  """The momentum of `one_cycle`: lowest when the rate is highest.

  Args:
    steps: length of the cycle in steps.
    config: the phase's block; `momenta` holds the highest and the lowest.
  """
  top, bottom = _turning_points(steps, config)
  high, low = config.momenta
  return optax.piecewise_interpolate_schedule(
    config.shape, high, {top: low / high, bottom: high / low}
  )


def _turning_points(
  steps: int, config: ml_collections.ConfigDict
) -> tuple[int, int]:
  """Returns the steps at which the rate peaks, and has returned."""
  top, bottom = int(config.rise * steps), int((1 - config.anneal) * steps)
  if config.shape not in ("linear", "cosine") or not 0 < top < bottom <= steps:
    raise errors.ConfigError(
      f"one_cycle has shape {config.shape!r}, rise {config.rise} and anneal "
      f"{config.anneal} over {steps} steps; expected linear or cosine, and at "
      "least one step for each part."
    )
  return top, bottom
