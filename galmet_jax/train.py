"""The training loop: phases of steps, validation, checkpoints, report."""

from collections.abc import Callable
import contextlib
import dataclasses
import pathlib
import time
from typing import Any

from clu import parameter_overview
import jax
import ml_collections
import numpy as np

from galmet_jax import errors
from galmet_jax import evaluate
from galmet_jax import metric_writer
from galmet_jax import metrics
from galmet_jax import optimizers
from galmet_jax import quantities
from galmet_jax import report
from galmet_jax import step_metrics
from galmet_jax import train_state
from galmet_jax import train_step
from galmet_jax import workdir as workdir_lib
from galmet_jax.devices import processes
from galmet_jax.devices import sharding
from galmet_jax.run import Run
from galmet_jax.train_state import TrainState
from tfds_sdss import signals

# Standard deviations of labels for which the recipes are not far off. They were
# chosen for metallicities, with 0.2 dex.
_SCALES = (0.002, 20.0)


@dataclasses.dataclass
class Progress:
  """What training depends on beside its state; stored in each checkpoint.

  Attributes:
    best_rmse: lowest validation RMSE of an epoch so far; None before the first.
  """

  best_rmse: float | None = None

  def as_json(self, run: Run) -> dict[str, Any]:
    """Returns the content to store in a checkpoint."""
    return {"best_rmse": self.best_rmse, "fields": dict(run.fields)}


def train_and_evaluate(
  config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> dict[str, Any]:
  """Trains, or resumes training, and evaluates at the end.

  A run that was killed resumes from its last checkpoint and ends with the same
  bits as an uninterrupted one (same machine, same number of devices and
  threads).

  Args:
    config: the whole config; see configs/resnet34.py.
    workdir: directory of the run's files; created if absent.

  Returns:
    The content of summary.json.

  Raises:
    FolderInUseError: if another process uses the workdir.
    step_metrics.NonFiniteLossError: names the step; earlier checkpoints stay.
  """
  with workdir_lib.lock(workdir):
    workdir_lib.check_kind(workdir, "run")
    return _train_and_evaluate(Run.prepare(config, workdir))


def _train_and_evaluate(run: Run) -> dict[str, Any]:
  restored = run.restore(run.latest)
  if restored is None:
    _check_not_lost(run)
  state = restored.state if restored else run.initial_state()
  first_step = int(state.step)
  run.best.delete_after(first_step)
  progress = Progress()
  if restored:
    progress.best_rmse = restored.progress.get("best_rmse")
  if run.best.set_damaged_aside(run.abstract_state):
    # Otherwise no later epoch might be saved.
    progress.best_rmse = None
    print("The best of the remaining epochs will be stored.", flush=True)
  _print_overview(run, state)
  _print_scales(run)
  if first_step:
    print(f"Resuming at step {first_step} of {run.num_steps}.", flush=True)
  timing = {"data_s": run.data_seconds, "compile_s": 0.0, "train_s": 0.0}
  with contextlib.closing(
    metric_writer.MetricWriter(run.workdir, first_step)
  ) as writer:
    for phase in run.phases:
      if int(state.step) < phase.end:
        state = _train_phase(run, state, phase, writer, progress, timing)
  views = (int(state.step) - first_step) * run.views_per_step
  if views:
    timing["train_images_per_s"] = views / timing["train_s"]
  # The report reads the checkpoint from disk: it describes what is stored.
  return report.evaluate_run(run, timing)


def _check_not_lost(run: Run) -> None:
  """Raises CheckpointError if the latest checkpoints have been removed.

  A run killed early may have a best epoch and no latest step, but only up to
  the first step at which a latest one is saved.
  """
  first = run.config.train.checkpoint_every_steps
  lost = [step for step in run.best.steps() if step > first]
  if lost:
    raise errors.CheckpointError(
      f"{run.workdir}/checkpoints/latest: expected the last steps of a run, "
      f"whose best is step {lost[0]}; found none. Restore the folder from a "
      "copy, or train again in a new --workdir."
    )


def start_phase(
  run: Run, state: TrainState, phase: optimizers.Phase
) -> TrainState:
  """Gives the state the phase's optimizer, on all devices of the run."""
  state = train_state.start_phase(state, phase)
  return sharding.replicate(jax.device_get(state), run.mesh)


def compile_step(
  run: Run, state: TrainState, phase: optimizers.Phase
) -> Callable:
  """Compiles the phase's training step for the run's data and devices."""
  return train_step.compile_train_step(
    state,
    run.data["train"],
    run.mesh,
    model=run.model,
    phase=phase,
    frame=run.frame,
    config=run.config,
    scatter=_scatter(run),
  )


def _scatter(run: Run) -> tuple[float, ...]:
  """Returns the standard deviation of each target's training labels."""
  labels = run.data["train"].split.targets.astype(np.float64)
  # Equal labels have none.
  return tuple(float(x) or 1.0 for x in np.nanstd(labels, axis=0))


def _train_phase(
  run: Run,
  state: TrainState,
  phase: optimizers.Phase,
  writer: metric_writer.MetricWriter,
  progress: Progress,
  timing: dict[str, float],
) -> TrainState:
  """Trains to the end of the phase; updates `progress` and `timing`."""
  config = run.config
  step = int(state.step)
  if step == phase.start:
    state = start_phase(run, state, phase)
  data = run.data["train"]
  started = time.perf_counter()
  step_fn = compile_step(run, state, phase)
  compiled = time.perf_counter()
  timing["compile_s"] += compiled - started
  print(
    f"Phase {phase.name}: steps {step + 1}-{phase.end}, compiled in "
    f"{compiled - started:.1f} s.",
    flush=True,
  )
  record = step_metrics.StepMetrics(
    phase, config.train.log_every_steps, writer, run.latest.steps
  )
  bar = metric_writer.ProgressBar(step, run.num_steps, run.views_per_step)
  # A signal stops training after the step, not within it.
  with bar, signals.postponed():
    while step < phase.end:
      state, values = step_fn(state, data.batch(step))
      step += 1
      full = record.add(step, values)
      epoch, position = divmod(step, run.steps_per_epoch)
      epoch_ends = position == 0
      save = (
        step % config.train.checkpoint_every_steps == 0 or step == run.num_steps
      )
      # Several processes must stop at the same step: at the next record.
      stopped = jax.process_count() == 1 and bool(signals.received())
      # Record, validate, save: in this order a kill at any point is harmless,
      # because the next start cuts the record back to the restored step.
      everything = save or epoch_ends or stopped
      interval_ends = full or everything
      if interval_ends:
        losses = record.record(everything=everything)
        bar.update(epoch if epoch_ends else epoch + 1, losses)
      if epoch_ends:
        rmse = _validate(run, state, epoch, writer, progress)
        shown = f"{rmse:{quantities.digits(rmse)}}"
        bar.print_line(f"epoch {epoch}: validation RMSE {shown}")
      stop = processes.max_int(signals.received()) if interval_ends else 0
      if save or stop:
        run.latest.save(state, progress.as_json(run))
      if stop:
        processes.leave()
        raise signals.Stopped(
          stop,
          f" after step {step} of {run.num_steps}. A checkpoint is saved; the "
          "same command resumes.",
        )
  timing["train_s"] += time.perf_counter() - compiled
  return state


def _validate(
  run: Run,
  state: TrainState,
  epoch: int,
  writer: metric_writer.MetricWriter,
  progress: Progress,
) -> float:
  """Evaluates the validation split on plain views; saves the best epoch.

  Returns the RMSE over the labels of all targets, as in the loss.
  """
  data = run.data["validation"]
  predictions = evaluate.predict(
    run.validation_step, state.variables, data, run.config, tta="none"
  )[0]
  true = data.split.targets
  rmse = float(
    np.sqrt(np.nanmean((predictions.astype(np.float64) - true) ** 2))
  )
  record = {}
  for i, target in enumerate(run.config.data.targets):
    known = np.isfinite(true[:, i])
    values = metrics.compute(true[known, i], predictions[known, i])
    for name in metrics.NAMES:
      record[f"validation/{target}/{name}"] = float(values[name])
  writer.write(
    int(state.step), {"epoch": epoch, "validation/rmse": rmse, **record}
  )
  writer.flush()
  best = progress.best_rmse
  is_best = np.isfinite(rmse) and (best is None or rmse < best)
  if processes.broadcast_int(bool(is_best)):
    progress.best_rmse = rmse
    run.best.save(state, progress.as_json(run))
  return rmse


def _print_scales(run: Run) -> None:
  """Warns of labels that the rates of the recipes do not fit."""
  low, high = _SCALES
  labels = run.data["train"].split.targets.astype(np.float64)
  for name, scale in zip(
    run.config.data.targets, np.nanstd(labels, axis=0), strict=True
  ):
    if scale and not low <= scale <= high:
      print(
        f"{name}: the labels have a standard deviation of {scale:.2g}; the "
        "recipes were chosen for 0.2. If the network is no better than the "
        "training mean, build the sample with another unit or with logarithms."
      )


def _print_overview(run: Run, state: TrainState) -> None:
  print(parameter_overview.get_parameter_overview(state.params))
  for group in run.groups:
    modules = run.config.optim.groups[group]
    leaves = jax.tree.leaves([state.params[module] for module in modules])
    size = sum(leaf.size for leaf in leaves)
    print(f"Layer group {group}: {', '.join(modules)}; {size:,} parameters")
