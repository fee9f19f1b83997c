"""The metrics of training steps, recorded one interval behind the device."""

from collections.abc import Callable
from collections.abc import Mapping

import jax
import numpy as np

from galmet_jax import metric_writer
from galmet_jax import optimizers


class NonFiniteLossError(FloatingPointError):
  """The loss or its gradient is not finite."""


class StepMetrics:
  """Checks and records the metrics of a phase's steps.

  An interval is recorded while the device is busy with the next one: the device
  never waits for the record.
  """

  def __init__(
    self,
    phase: optimizers.Phase,
    interval: int,
    writer: metric_writer.MetricWriter,
    saved: Callable[[], list[int]],
  ):
    """Computes the learning rates of the phase.

    Args:
      phase: the phase of the steps.
      interval: number of steps in an interval.
      writer: where to record.
      saved: returns the steps that have a checkpoint, for the text of an error.
    """
    self._phase = phase
    self._interval = interval
    self._writer = writer
    self._saved = saved
    self._rates = _rates_of(phase)
    self._current: list[tuple[int, Mapping[str, jax.Array]]] = []
    self._before: list[tuple[int, Mapping[str, jax.Array]]] = []

  def add(self, step: int, values: Mapping[str, jax.Array]) -> bool:
    """Adds a step, without reading it; returns whether the interval ends."""
    self._current.append((step, values))
    return len(self._current) == self._interval

  def record(self, *, everything: bool = False) -> list[float]:
    """Ends the interval, and records the one before it.

    Args:
      everything: also record the interval that ends.

    Returns:
      The losses of the recorded steps.

    Raises:
      NonFiniteLossError: names the first step with a loss or gradient that is
        not finite.
    """
    rows = [*self._before, *self._current] if everything else self._before
    self._before, self._current = [] if everything else self._current, []
    rows = jax.device_get(rows)
    for step, values in rows:
      self._check(step, values)
      row = {f"train/{name}": float(x) for name, x in values.items()}
      for group, rates in self._rates.items():
        row[f"lr/{group}"] = float(rates[step - 1 - self._phase.start])
      self._writer.write(step, row, events=step == rows[-1][0])
    self._writer.flush()
    return [float(values["loss"]) for _, values in rows]

  def _check(self, step: int, values: Mapping[str, np.ndarray]) -> None:
    if all(np.isfinite(value) for value in values.values()):
      return
    self._writer.flush()
    name = self._phase.name
    raise NonFiniteLossError(
      f"The loss is {values['loss']} and its gradient norm "
      f"{values['grad_norm']} at step {step} (phase {name}); expected finite "
      f"numbers. The checkpoints of steps {self._saved()} stay. Lower the "
      f"rates, --config.optim.{name}.rates, in a new --workdir."
    )


def _rates_of(phase: optimizers.Phase) -> dict[str, np.ndarray]:
  """Returns the learning rate of each layer group at each step of a phase.

  All at once, because every evaluation would wait for the device.
  """
  steps = np.arange(phase.end - phase.start)
  return {
    group: np.broadcast_to(jax.vmap(rate)(steps), steps.shape)
    for group, rate in phase.rates.items()
  }
