"""Learning-rate range test (Smith 2017), like fastai's `lr_find`."""

import dataclasses
import pathlib

import jax
import ml_collections
import numpy as np
import pandas as pd

from galmet_jax import errors
from galmet_jax import figure_style
from galmet_jax import optimizers
from galmet_jax import plots
from galmet_jax import progress
from galmet_jax import train
from galmet_jax.devices import processes
from galmet_jax.run import Run
from tfds_sdss import files

_LOWEST, _HIGHEST = 1e-5, 10.0
_NUM_STEPS = 100
# Decay of the exponential moving average of the loss.
_DECAY = 0.98
# The test stops once the smoothed loss exceeds this multiple of its minimum.
_DIVERGED = 4.0


def find(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> float:
  """Increases the rate at every step until the loss diverges.

  Starts from the workdir's latest checkpoint, or from the initial weights if
  there is none, and trains the layer groups of the recipe's last phase with the
  ratios of their rates. Writes lr_find.csv and figures/lr_find.png; checkpoints
  and metrics of the run stay as they are.

  Returns:
    The suggested peak rate of the fastest group, see `suggest`.
  """
  run = Run.prepare(config, workdir, read_only=True)
  restored = run.restore(run.latest)
  state = restored.state if restored else run.initial_state()
  rates = np.geomspace(_LOWEST, _HIGHEST, _NUM_STEPS)
  phase = _range_test(run.phases[-1], config.optim)
  state = train.start_phase(run, state, phase)
  data = run.data["train"]
  step_fn = train.compile_step(run, state, phase)
  losses: list[float] = []
  smoothed: list[float] = []
  average = 0.0
  with progress.bar(total=_NUM_STEPS, desc="lr_find") as bar:
    for i in range(_NUM_STEPS):
      state, values = step_fn(state, data.batch(i))
      loss = float(jax.device_get(values["loss"]))
      if not np.isfinite(loss):
        break
      average = _DECAY * average + (1 - _DECAY) * loss
      losses.append(loss)
      # The average starts at zero; this removes the bias.
      smoothed.append(average / (1 - _DECAY ** (i + 1)))
      bar.set_postfix_str(f"rate {rates[i]:.1e}, loss {loss:.4f}")
      bar.update()
      if smoothed[-1] > _DIVERGED * min(smoothed):
        break
  if not losses:
    raise errors.ConfigError(
      f"lr_find: the loss is not finite at the first rate, {rates[0]:.0e}; "
      "expected a finite one. Check the labels and --config.model.dtype, or "
      "start with an empty --workdir."
    )
  table = pd.DataFrame(
    {"rate": rates[: len(losses)], "loss": losses, "smoothed": smoothed}
  )
  suggested = suggest(rates, smoothed)
  processes.on_first(lambda: _write(run.results, table, suggested))
  return suggested


def _write(folder: pathlib.Path, table: pd.DataFrame, suggested: float) -> None:
  folder.mkdir(parents=True, exist_ok=True)
  files.write_atomically(
    folder / "lr_find.csv", table.to_csv(index=False).encode()
  )
  path = folder / "figures" / "lr_find.png"
  print(f"Suggested peak rate: {suggested:.2g}. See {path}.", flush=True)
  with figure_style.optional(path):
    plots.lr_find(path, table, suggested)


def suggest(rates: np.ndarray, smoothed: list[float]) -> float:
  """Returns a tenth of the rate with the lowest smoothed loss."""
  return float(rates[int(np.argmin(smoothed))] / 10)


def _range_test(
  last: optimizers.Phase, config: ml_collections.ConfigDict
) -> optimizers.Phase:
  """Returns the last phase with exponentially increasing rates."""
  peaks = {group: config[last.name].rates[group] for group in last.rates}
  fastest = max(peaks.values())

  def rising(ratio):
    growth = (_HIGHEST / _LOWEST) ** (1 / (_NUM_STEPS - 1))
    return lambda step: ratio * _LOWEST * growth**step

  rates = {group: rising(peak / fastest) for group, peak in peaks.items()}
  return dataclasses.replace(
    last,
    start=0,
    end=_NUM_STEPS,
    rates=rates,
    tx=optimizers.make_optimizer(config, rates, config.momentum),
  )
