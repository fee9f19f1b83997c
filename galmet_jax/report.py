"""What a finished run leaves: tables, figures, summary.json, a short table."""

from collections.abc import Mapping
import json
import os
import pathlib
import time
from typing import Any

import ml_collections
import numpy as np
import pandas as pd

from galmet_jax import baselines
from galmet_jax import evaluate
from galmet_jax import metric_writer
from galmet_jax import metrics
from galmet_jax import plots
from galmet_jax.data import galaxies
from galmet_jax.devices import processes
from galmet_jax.run import Run


def evaluate_run(run: Run, timing: dict[str, float]) -> dict[str, Any]:
  """Evaluates the splits of `eval.splits` and writes everything about them.

  Writes predictions_SPLIT.csv, summary.json and figures/.

  Args:
    run: the run; its workdir holds the checkpoint named by
      `eval.checkpoint` ('latest' or 'best').
    timing: seconds and rates known so far, by name.

  Returns:
    What summary.json holds: a block of figures for each split (of the first
    target; further targets under SPLIT/TARGET) and `timing`. Nothing but in the
    first process, which alone writes.

  Raises:
    errors.NoCheckpointError: if there is no checkpoint.
  """
  config = run.config
  state = run.trained_state()
  started = time.perf_counter()
  views = {
    name: evaluate.predict(
      run.eval_step,
      state.variables,
      run.data[name],
      config,
      tta=config.eval.tta,
      progress=f"evaluate {name}",
    )
    for name in config.eval.splits
  }
  seconds = time.perf_counter() - started
  images = sum(x.shape[0] * x.shape[1] for x in views.values())
  timing = {
    **timing,
    "evaluate_s": seconds,
    "evaluate_images_per_s": images / seconds,
  }
  step = int(state.step)
  return processes.on_first(lambda: _write(run, step, views, timing)) or {}


def _write(
  run: Run,
  step: int,
  views: Mapping[str, np.ndarray],
  timing: dict[str, float],
) -> dict[str, Any]:
  """Writes everything about predictions `[V, N, T]` of splits, by name."""
  config = run.config
  summary: dict[str, Any] = {}
  for name, values in views.items():
    split = run.data[name].split
    predicted = values.mean(0)
    # In float64: eight equal float32 numbers must have no scatter.
    scatter = values.astype(np.float64).std(0)
    _write_predictions(run, name, split, predicted, scatter)
    summary |= _figures_of_merit(run, name, split, predicted)
    _draw(run, name, split, predicted, summary[name])
  summary["checkpoint"] = {
    "which": config.eval.checkpoint,
    "step": step,
    "trained_steps": max(run.latest.steps(), default=0),
    "of_steps": run.num_steps,
  }
  summary["eval"] = json.loads(config.eval.to_json())
  summary["timing"] = timing
  rows = metric_writer.read(run.workdir)
  if rows:
    plots.training_curves(
      run.workdir / "figures" / "training_curves.png", rows, run.groups
    )
  path = write_summary(run.workdir, summary)
  print(table(summary, config.eval.splits, config.data.targets))
  print(f"Written to {run.workdir}: {path.name}, predictions_*.csv, figures/")
  return summary


def write_summary(
  workdir: pathlib.Path, summary: dict[str, Any]
) -> pathlib.Path:
  """Writes summary.json, whole or not at all; returns its path."""
  path = workdir / "summary.json"
  partial = path.with_suffix(".partial")
  partial.write_text(json.dumps(summary, indent=2) + "\n")
  os.replace(partial, path)
  return path


def finished(
  config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> dict[str, Any] | None:
  """Returns the summary of a run that is done, None if there is work left.

  In processes other than the first, nothing ({}) for one that is done.

  Args:
    config: the run's config, the same to the last field.
    workdir: the run's directory.
  """
  summary = processes.on_first(lambda: _finished(config, workdir))
  return (
    (summary or {}) if processes.broadcast_int(summary is not None) else None
  )


def _finished(
  config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> dict[str, Any] | None:
  try:
    found = json.loads((workdir / "config.json").read_text())
    summary = json.loads((workdir / "summary.json").read_text())
  except FileNotFoundError:
    return None
  ours, done = json.loads(config.to_json()), summary["checkpoint"]
  # A run that was to be evaluated otherwise, and was killed before, has the new
  # config and the old summary.
  if found != ours or summary["eval"] != ours["eval"]:
    return None
  return summary if done["trained_steps"] == done["of_steps"] else None


def _write_predictions(
  run: Run,
  name: str,
  split: galaxies.Split,
  predicted: np.ndarray,
  scatter: np.ndarray,
) -> None:
  columns: dict[str, np.ndarray] = {"objid": split.objid}
  for i, target in enumerate(run.config.data.targets):
    columns[f"{target}_true"] = split.targets[:, i]
    columns[f"{target}_pred"] = predicted[:, i]
    columns[f"{target}_tta_std"] = scatter[:, i]
  path = run.workdir / f"predictions_{name}.csv"
  pd.DataFrame(columns).to_csv(path, index=False)


def _figures_of_merit(
  run: Run, name: str, split: galaxies.Split, predicted: np.ndarray
) -> dict[str, Any]:
  config = run.config
  others: dict[str, np.ndarray] = {}
  if config.eval.baselines:
    others = baselines.predict_all(
      run.data["train"].split, split, config.data.targets, config.seed
    )
  blocks = {}
  for i, target in enumerate(config.data.targets):
    true = split.targets[:, i]
    known = np.isfinite(true)
    block = metrics.with_intervals(
      true[known],
      predicted[known, i],
      config.eval.bootstrap_draws,
      config.seed,
    )
    for baseline, values in others.items():
      both = known & np.isfinite(values[:, i])
      if both.any():
        rmse = metrics.compute(true[both], values[both, i])["rmse"]
        block[f"rmse_{baseline}"] = float(rmse)
    blocks[name if i == 0 else f"{name}/{target}"] = block
  return blocks


def _draw(
  run: Run,
  name: str,
  split: galaxies.Split,
  predicted: np.ndarray,
  values: dict[str, Any],
) -> None:
  """Draws the figures of one split, for the first target."""
  target = run.config.data.targets[0]
  true, predicted = split.targets[:, 0], predicted[:, 0]
  folder = run.workdir / "figures"
  folder.mkdir(exist_ok=True)
  plots.predicted_against_true(
    folder / f"predicted_against_true_{name}.png",
    true,
    predicted,
    values,
    title=f"{run.config.data.name}, {name} split",
    label=label(target),
  )
  rng = np.random.default_rng(run.config.seed)
  chosen = rng.permutation(len(split))[:24]
  worst = np.argsort(-np.abs(predicted - true))[:24]
  for kind, index in (("examples", chosen), ("worst_outliers", worst)):
    plots.examples(
      folder / f"{kind}_{name}.png",
      split.images[index],
      true[index],
      predicted[index],
      split.objid[index],
      title=f"{run.config.data.name}, {name} split: " + kind.replace("_", " "),
    )


# As the tables call them.
BASELINES = {
  "training_mean": "training mean",
  "random_forest": "random forest",
  "gradient_boosting": "gradient boosting",
  "mass_metallicity": "mass-metallicity relation",
}


def label(target: str) -> str:
  """Returns what a figure calls a target."""
  return "12 + log(O/H)" if target == "oh_p50" else target


def table(
  summary: dict[str, Any], splits: tuple[str, ...], targets: tuple[str, ...]
) -> str:
  """Formats the figures of merit beside the baselines."""
  lines = []
  for name in splits:
    for i, target in enumerate(targets):
      block = summary[name if i == 0 else f"{name}/{target}"]
      low, high = block["rmse_ci68"]
      lines += [
        "",
        f"{target}, {name} split ({block['n']} galaxies)      RMSE [dex]",
      ]
      for baseline, title in BASELINES.items():
        if f"rmse_{baseline}" in block:
          lines.append(f"  {title:<29}{block[f'rmse_{baseline}']:.4f}")
      lines += [
        f"  {'network':<29}{block['rmse']:.4f}  (68 %: {low:.4f}-{high:.4f})",
        f"  its NMAD {block['nmad']:.4f}, bias {block['bias']:+.4f}, "
        f"R² {block['r2']:.3f}, slope {block['slope']:.3f}, "
        f"outliers {100 * block['outlier_fraction']:.1f} %",
      ]
  return "\n".join([*lines, ""])


def evaluate_only(
  config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> dict[str, Any]:
  """Evaluates the checkpoint of a run again (`--mode=evaluate`).

  Args:
    config: the run's config; its `eval` block may differ.
    workdir: the run's directory.

  Returns:
    As `evaluate_run`.
  """
  run = Run.prepare(config, workdir)
  return evaluate_run(run, {"data_s": run.data_seconds})
