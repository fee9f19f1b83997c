"""Learning-rate range test (Smith 2017), as fastai's `lr_find`."""

import csv
import pathlib

import jax
import ml_collections
import numpy as np
import tqdm

from galmet_jax import optimizers
from galmet_jax import plots
from galmet_jax import train
from galmet_jax import train_step
from galmet_jax.devices import processes
from galmet_jax.run import Run

_LOWEST, _HIGHEST = 1e-5, 10.0
_NUM_STEPS = 100
# Of the smoothed loss; the test stops where it has grown fourfold.
_MEMORY = 0.98
_DIVERGED = 4.0


def find(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> float:
  """Raises the rate from step to step until the loss diverges.

  Starts from the workdir's latest checkpoint, or from a fresh network if
  there is none, in the recipe's last phase (all of whose groups train unless
  it freezes some); groups keep the ratio of their rates. The run itself is
  left as it was: nothing of the test is saved but lr_find.csv and
  figures/lr_find.png.

  Args:
    config: the whole config.
    workdir: the run's directory.

  Returns:
    The suggested rate of the fastest group: a tenth of the one at which the
    smoothed loss is least.
  """
  run = Run.prepare(config, workdir)
  state = run.latest.restore(run.abstract_state)
  if state is None:
    state = run.initial_state()
  rates = np.geomspace(_LOWEST, _HIGHEST, _NUM_STEPS)
  phase = _range_test(run.phases[-1], config.optim)
  state = train.start_phase(run, state, phase)
  data = run.data["train"]
  step_fn = train_step.compile_train_step(
    state,
    data,
    run.mesh,
    model=run.model,
    phase=phase,
    frame=run.frame,
    config=config,
  )
  losses: list[float] = []
  smoothed: list[float] = []
  average = 0.0
  with tqdm.tqdm(
    total=_NUM_STEPS,
    desc="lr_find",
    dynamic_ncols=True,
    disable=not processes.is_first(),
  ) as bar:
    for i in range(_NUM_STEPS):
      state, values = step_fn(state, data.batch(i))
      loss = float(jax.device_get(values["loss"]))
      average = _MEMORY * average + (1 - _MEMORY) * loss
      corrected = average / (1 - _MEMORY ** (i + 1))
      if not np.isfinite(loss):
        break
      losses.append(loss)
      smoothed.append(corrected)
      bar.set_postfix_str(f"rate {rates[i]:.1e}, loss {loss:.4f}")
      bar.update()
      if corrected > _DIVERGED * min(smoothed):
        break
  suggested = suggest(rates[: len(smoothed)], smoothed)
  processes.on_first(
    lambda: _write(workdir, rates[: len(losses)], losses, smoothed, suggested)
  )
  return suggested


def _write(
  workdir: pathlib.Path,
  rates: np.ndarray,
  losses: list[float],
  smoothed: list[float],
  suggested: float,
) -> None:
  """Writes lr_find.csv and the figure."""
  with open(workdir / "lr_find.csv", "w", newline="") as file:
    table = csv.writer(file)
    table.writerow(["rate", "loss", "smoothed"])
    table.writerows(zip(rates, losses, smoothed, strict=True))
  figure = workdir / "figures" / "lr_find.png"
  figure.parent.mkdir(exist_ok=True)
  plots.lr_find(
    figure,
    rates,
    np.array(losses),
    np.array(smoothed),
    suggested,
  )
  print(f"Suggested peak rate: {suggested:.2g}. See {figure}.")


def suggest(rates: np.ndarray, smoothed: list[float]) -> float:
  """Returns a tenth of the rate at which the smoothed loss is least."""
  return float(rates[int(np.argmin(smoothed))] / 10)


def _range_test(
  last: optimizers.Phase, config: ml_collections.ConfigDict
) -> optimizers.Phase:
  """Makes a phase of rising rates out of the recipe's last phase."""
  peaks = {group: config[last.name].rates[group] for group in last.rates}
  fastest = max(peaks.values())

  def rising(ratio):
    growth = (_HIGHEST / _LOWEST) ** (1 / (_NUM_STEPS - 1))
    return lambda step: ratio * _LOWEST * growth**step

  rates = {group: rising(peak / fastest) for group, peak in peaks.items()}
  return optimizers.Phase(
    name=last.name,
    start=0,
    end=_NUM_STEPS,
    frozen=last.frozen,
    rates=rates,
    tx=optimizers.make_optimizer(config, rates, config.momentum),
  )
