"""The one loop: config -> data -> phases of steps -> checkpoints -> report."""

import contextlib
import pathlib
import time
from typing import Any

from clu import parameter_overview
import jax
import ml_collections
import numpy as np

from galmet_jax import checkpoints
from galmet_jax import evaluate
from galmet_jax import metric_writer
from galmet_jax import metrics
from galmet_jax import optimizers
from galmet_jax import report
from galmet_jax import train_state
from galmet_jax.devices import processes
from galmet_jax.run import Run


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
  run = Run.prepare(config, workdir)
  latest = checkpoints.Checkpoints(workdir / "checkpoints" / "latest", keep=2)
  best = checkpoints.Checkpoints(workdir / "checkpoints" / "best", keep=1)
  state = latest.restore(run.abstract_state)
  if state is None:
    state = run.initial_state()
  first_step = int(state.step)
  best.forget_after(first_step)
  _print_overview(run, state)
  if first_step:
    print(f"Going on from step {first_step} of {run.num_steps}.", flush=True)
  timing = {"data_s": run.data_seconds, "compile_s": 0.0, "train_s": 0.0}
  with contextlib.closing(
    metric_writer.MetricWriter(workdir, first_step)
  ) as writer:
    for phase in run.phases:
      if int(state.step) < phase.end:
        state = _train_phase(run, state, phase, writer, latest, best, timing)
  views = (int(state.step) - first_step) * run.views_per_step
  if views:
    timing["train_images_per_s"] = views / timing["train_s"]
  return report.evaluate_run(run, timing)


def _train_phase(
  run: Run,
  state: train_state.TrainState,
  phase: optimizers.Phase,
  writer: metric_writer.MetricWriter,
  latest: checkpoints.Checkpoints,
  best: checkpoints.Checkpoints,
  timing: dict[str, float],
) -> train_state.TrainState:
  """Takes the state to the end of the phase; adds its seconds to timing."""
  config = run.config
  step = int(state.step)
  if step == phase.start:
    state = run.start_phase(state, phase)
  started = time.perf_counter()
  train_step = run.compile_train_step(state, phase)
  compiled = time.perf_counter()
  timing["compile_s"] += compiled - started
  print(
    f"Phase {phase.name}: steps {step + 1}-{phase.end}, compiled in "
    f"{compiled - started:.1f} s.",
    flush=True,
  )
  pending = []
  with metric_writer.ProgressBar(
    step, run.num_steps, run.views_per_step
  ) as bar:
    while step < phase.end:
      state, values = train_step(state, *run.data["train"].batch(step))
      step += 1
      pending.append((step, values))
      epoch, position = divmod(step, run.steps_per_epoch)
      save = (
        step % config.train.checkpoint_every_steps == 0 or step == run.num_steps
      )
      # The order of record, validate and save makes a kill in between
      # harmless: the next start cuts the record back to the step it restores.
      epoch_ends = position == 0
      if save or epoch_ends or len(pending) == config.train.log_every_steps:
        losses = _record(jax.device_get(pending), phase, writer, latest)
        bar.update(epoch if epoch_ends else epoch + 1, losses)
        pending = []
      if epoch_ends:
        rmse = _validate(run, state, epoch, writer, best)
        bar.say(f"epoch {epoch}: validation RMSE {rmse:.4f}")
      if save:
        latest.save(state)
  timing["train_s"] += time.perf_counter() - compiled
  return state


def _record(
  rows: list[tuple[int, dict[str, np.ndarray]]],
  phase: optimizers.Phase,
  writer: metric_writer.MetricWriter,
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
  run: Run,
  state: train_state.TrainState,
  epoch: int,
  writer: metric_writer.MetricWriter,
  best: checkpoints.Checkpoints,
) -> float:
  """Evaluates the validation split on plain views; keeps the best epoch.

  Returns the RMSE over the labels of all targets, as in the loss.
  """
  split = run.splits["validation"]
  predictions = evaluate.predict(
    run.validation_step,
    state.variables,
    run.data["validation"],
    run.config,
    tta="none",
  )[0]
  error = predictions.astype(np.float64) - split.targets
  rmse = float(np.sqrt(np.nanmean(error**2)))
  before = [
    row["validation/rmse"]
    for row in metric_writer.read(run.workdir)
    if "validation/rmse" in row
  ]
  record = {}
  for i, target in enumerate(run.config.data.targets):
    known = np.isfinite(split.targets[:, i])
    values = metrics.compute(split.targets[known, i], predictions[known, i])
    for name in metrics.NAMES:
      record[f"validation/{target}/{name}"] = float(values[name])
  writer.write(
    int(state.step), {"epoch": epoch, "validation/rmse": rmse, **record}
  )
  writer.flush()
  if processes.broadcast_int(rmse < min(before, default=np.inf)):
    best.save(state)
  return rmse


def _print_overview(run: Run, state: train_state.TrainState) -> None:
  print(parameter_overview.get_parameter_overview(state.params))
  for group in run.groups:
    modules = run.config.optim.groups[group]
    size = sum(
      leaf.size
      for module in modules
      for leaf in jax.tree.leaves(state.params[module])
    )
    print(f"Layer group {group}: {', '.join(modules)}; {size:,} parameters")
