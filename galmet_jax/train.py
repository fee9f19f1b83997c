"""The one loop: config -> data -> phases of steps -> checkpoints -> report."""

import pathlib
import time
from typing import Any

from clu import parameter_overview
import jax
import ml_collections
import numpy as np

from galmet_jax import checkpoints
from galmet_jax import evaluate
from galmet_jax import logging
from galmet_jax import metrics
from galmet_jax import report
from galmet_jax import run
from galmet_jax import schedules
from galmet_jax import train_state


class NonFiniteLossError(FloatingPointError):
  """The loss or its gradient is no longer a number."""


def train_and_evaluate(
  config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> dict[str, Any]:
  """Trains, or goes on training, and evaluates once at the end.

  A run that was interrupted, however rudely, goes on from its last checkpoint
  and ends with the same bits as if it had not been (same machine, same number
  of devices and threads).

  Args:
    config: the whole config; see configs/resnet34.py.
    workdir: the run's directory; made if need be.

  Returns:
    What summary.json holds.

  Raises:
    NonFiniteLossError: names the step; the checkpoints before it stay.
  """
  this = run.prepare(config, workdir)
  latest = checkpoints.Checkpoints(workdir / "checkpoints" / "latest", keep=2)
  best = checkpoints.Checkpoints(workdir / "checkpoints" / "best", keep=1)
  state = latest.restore(this.abstract_state)
  resumed = state is not None
  if state is None:
    state = this.initial_state()
  _print_overview(state, config)
  step = int(state.step)
  if resumed:
    print(f"Going on from step {step} of {this.num_steps}.", flush=True)
  writer = logging.MetricWriter(workdir, step)
  views_per_step = config.train.batch_size * config.train.views_per_image
  timing = {"data_s": this.data_seconds, "compile_s": 0.0, "train_s": 0.0}
  first_step = step
  for phase in this.phases:
    if step >= phase.end:
      continue
    if step == phase.start:
      state = this.start_phase(state, phase)
    started = time.perf_counter()
    train_step = this.compile_train_step(state, phase)
    compiled = time.perf_counter()
    timing["compile_s"] += compiled - started
    print(
      f"Phase {phase.name}: steps {step + 1}-{phase.end}, compiled in "
      f"{compiled - started:.1f} s.",
      flush=True,
    )
    pending = []
    with logging.ProgressBar(step, this.num_steps, views_per_step) as bar:
      while step < phase.end:
        state, values = train_step(
          state, *this.training_arrays, this.batch(step)
        )
        step += 1
        pending.append((step, values))
        epoch, position = divmod(step, this.steps_per_epoch)
        save = not position or not step % config.train.checkpoint_every_steps
        if save or len(pending) == config.train.log_every_steps:
          losses = _record(jax.device_get(pending), phase, writer, latest)
          bar.update(epoch + bool(position), losses)
          pending = []
        # Record, validate, record, save: a kill in between is undone by the
        # next start, which cuts the record back to the step it restores.
        if not position:
          _validate(this, state, epoch, writer, best)
          bar.say(_last_validation(workdir))
        if save:
          latest.save(state)
    timing["train_s"] += time.perf_counter() - compiled
  writer.close()
  if step > first_step:
    timing["train_images_per_s"] = (
      (step - first_step) * views_per_step / timing["train_s"]
    )
  return report.evaluate_run(this, timing)


def _record(
  rows: list[tuple[int, dict[str, np.ndarray]]],
  phase: schedules.Phase,
  writer: logging.MetricWriter,
  latest: checkpoints.Checkpoints,
) -> list[float]:
  """Checks and records the metrics of some steps; returns their losses."""
  for step, values in rows:
    if not all(np.isfinite(value) for value in values.values()):
      writer.flush()
      raise NonFiniteLossError(
        f"The loss is {values['loss']} and its gradient norm "
        f"{values['grad_norm']} at step {step} (phase {phase.name}); expected "
        f"numbers. The checkpoints of steps {latest.steps()} are kept. Lower "
        f"the rates, --config.optim.{phase.name}.rates, in a new --workdir."
      )
    record = {f"train/{name}": float(x) for name, x in values.items()}
    for group, rate in phase.rates.items():
      record[f"lr/{group}"] = float(rate(step - 1 - phase.start))
    writer.write(step, record)
  writer.flush()
  return [float(values["loss"]) for _, values in rows]


def _validate(
  this: run.Run,
  state: train_state.TrainState,
  epoch: int,
  writer: logging.MetricWriter,
  best: checkpoints.Checkpoints,
) -> None:
  """Evaluates the validation split on plain views; keeps the best epoch."""
  split = this.splits["validation"]
  predictions = evaluate.predict(
    this.eval_step, state.variables, split, this.config, tta="none"
  )[0]
  values = metrics.compute(split.targets.T, predictions.T)
  # All targets together, as in the loss.
  rmse = float(np.sqrt(np.mean(values["rmse"] ** 2)))
  before = [row["validation/rmse"] for row in _validations(this.workdir)]
  record = {
    f"validation/{target}/{name}": float(values[name][i])
    for i, target in enumerate(this.config.data.targets)
    for name in metrics.NAMES
  }
  writer.write(
    int(state.step), {"epoch": epoch, "validation/rmse": rmse, **record}
  )
  writer.flush()
  if rmse < min(before, default=np.inf):
    best.save(state)


def _validations(workdir: pathlib.Path) -> list[dict]:
  return [row for row in logging.read(workdir) if "validation/rmse" in row]


def _last_validation(workdir: pathlib.Path) -> str:
  row = _validations(workdir)[-1]
  return f"epoch {row['epoch']}: validation RMSE {row['validation/rmse']:.4f}"


def _print_overview(
  state: train_state.TrainState, config: ml_collections.ConfigDict
) -> None:
  print(parameter_overview.get_parameter_overview(state.params))
  for group, modules in config.optim.groups.items():
    size = sum(
      leaf.size
      for module in modules
      for leaf in jax.tree.leaves(state.params[module])
    )
    print(f"Layer group {group}: {', '.join(modules)}; {size:,} parameters")
