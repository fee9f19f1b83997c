"""Evaluation of a run: predictions, metrics, figures and summary.json."""

from collections.abc import Mapping
import json
import pathlib
import time
from typing import Any

import jax
import ml_collections
import numpy as np
import pandas as pd

from galmet_jax import evaluate
from galmet_jax import figure_style
from galmet_jax import metrics
from galmet_jax import quantities
from galmet_jax import report_figures
from galmet_jax import report_page
from galmet_jax import results
from galmet_jax import summary_text
from galmet_jax import workdir as workdir_lib
from galmet_jax.baselines import baselines
from galmet_jax.baselines import image_features
from galmet_jax.baselines import on_features
from galmet_jax.baselines.gp_svr import GpSvr
from galmet_jax.calibration import judgement
from galmet_jax.calibration import of_run
from galmet_jax.data import dataset
from galmet_jax.data import galaxies
from galmet_jax.devices import processes
from galmet_jax.run import Run
from galmet_jax.train_state import TrainState


def evaluate_only(
  config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> dict[str, Any]:
  """Evaluates the checkpoint of a run again (`--mode=evaluate`).

  The `eval` block of the config may differ from the one used in training. The
  run's config, checkpoints and record are not changed.
  Returns and raises the same as `evaluate_run`, and FolderInUseError if another
  process uses the workdir.
  """
  workdir_lib.check_has_checkpoint(workdir)
  run = Run.prepare(config, workdir, read_only=True)
  with workdir_lib.lock(run.results):
    return evaluate_run(run, {"data_s": run.data_seconds})


def evaluate_run(run: Run, timing: dict[str, float]) -> dict[str, Any]:
  """Evaluates the checkpoint `eval.checkpoint` on the splits of `eval.splits`.

  Writes predictions_SPLIT.csv, summary.json, figures/ and, from the validation
  galaxies, the calibration. The summary includes `timing`: durations in seconds
  and rates of the run so far.

  Returns:
    The content of summary.json: metrics of the first target under SPLIT, of
    further targets under SPLIT/TARGET, and `checkpoint`, `eval` and `timing`.
    For `test` also `calibration`, see `judgement.judge`. Empty on all processes
    but the first.

  Raises:
    errors.NoCheckpointError: if there is no checkpoint.
  """
  config = run.config
  state = run.trained_state()
  started = time.perf_counter()
  predictions = {
    name: evaluate.predict(
      run.eval_step,
      state.variables,
      run.data[name],
      config,
      tta=config.eval.tta,
      progress=f"evaluate {name}",
    )
    # The validation galaxies calibrate.
    for name in dict.fromkeys((*config.eval.splits, "validation"))
  }
  seconds = time.perf_counter() - started
  num_images = sum(x.shape[0] * x.shape[1] for x in predictions.values())
  timing = {
    **timing,
    "evaluate_s": seconds,
    "evaluate_images_per_s": num_images / seconds,
  }
  return (
    processes.on_first(lambda: _write(run, state, predictions, timing)) or {}
  )


def _write(
  run: Run,
  state: TrainState,
  predictions: Mapping[str, np.ndarray],
  timing: dict[str, float],
) -> dict[str, Any]:
  """Writes the results for the predictions `[V, N, T]` of each split."""
  config, step = run.config, int(state.step)
  models: list[GpSvr] = []
  if config.eval.gp_svr_weight:
    models = on_features.fit_gp_svr(run.data["train"].split, config.seed)
    predictions = {
      name: on_features.mix(
        views,
        image_features.compute(run.data[name].split.images),
        models,
        config.eval.gp_svr_weight,
      )
      for name, views in predictions.items()
    }
  calibration = of_run.calibrate(run, state, predictions["validation"], models)
  calibration.save(run.results)
  summary: dict[str, Any] = {}
  tables = {}
  train = run.data["train"].split
  by_baselines = {}
  if config.eval.baselines:
    by_baselines = baselines.predict_all(
      train,
      {name: run.data[name].split for name in config.eval.splits},
      config.data.targets,
      config.seed,
    )
  for name in config.eval.splits:
    views, split = predictions[name], run.data[name].split
    table = _predictions_table(split, views, config.data.targets)
    tables[name] = table
    blocks = write_split(
      run.results, name, table, config, by_baselines.get(name, {})
    )
    if name != "validation":
      for i, block in enumerate(blocks.values()):
        block["calibration"] = judgement.judge(
          calibration.targets[i],
          views.mean(0)[:, i],
          split.targets[:, i],
          split.columns,
          train.targets[:, i],
          config.eval.bootstrap_draws,
          config.seed,
        )
    summary |= blocks
  which = config.eval.checkpoint
  latest = max(run.latest.steps(), default=0)
  summary["checkpoint"] = {
    "which": which,
    "step": step,
    # A damaged latest step is stored, but does not count.
    "trained_steps": step if which == "latest" else latest,
    "of_steps": run.num_steps,
  }
  summary["eval"] = json.loads(config.eval.to_json())
  summary["timing"] = timing
  targets = quantities.of(dataset.describe(config), config.data.targets)
  print(
    summary_text.format_metrics(summary, config.eval.splits, targets),
    flush=True,
  )
  names = "summary.json and predictions_*.csv"
  if config.eval.figures:
    report_figures.draw(run, summary, tables, targets)
    with figure_style.optional(run.results / report_page.FILE):
      report_page.write(
        run.results,
        run.workdir,
        config,
        jax.device_get(state.variables),
        [run.data[name].split for name in tables],
        tables,
        calibration,
        summary,
      )
    names = f"summary.json, predictions_*.csv, {report_page.FILE} and figures/"
  # At the end: a run with a summary has its figures and its page.
  results.write_summary(run.results, summary, config.eval.splits)
  print(f"Wrote {names} to {run.results}.")
  return summary


def _predictions_table(
  split: galaxies.Split, views: np.ndarray, targets: tuple[str, ...]
) -> pd.DataFrame:
  """Averages predictions `[V, N, T]` over the views."""
  predicted = views.mean(0)
  # In float64, so that equal float32 predictions have a scatter of exactly 0.
  scatter = views.astype(np.float64).std(0)
  columns = {"objid": split.objid}
  for i, target in enumerate(targets):
    columns[f"{target}_true"] = split.targets[:, i]
    columns[f"{target}_pred"] = predicted[:, i]
    columns[f"{target}_tta_std"] = scatter[:, i]
  return pd.DataFrame(columns)


def write_split(
  workdir: pathlib.Path,
  name: str,
  table: pd.DataFrame,
  config: ml_collections.ConfigDict,
  by_baselines: Mapping[str, np.ndarray],
) -> dict[str, dict[str, Any]]:
  """Writes predictions_NAME.csv and computes the metrics.

  Args:
    workdir: receives the table.
    name: name of the split.
    table: `objid` and, for each target, TARGET_true (NaN where unknown) and
      TARGET_pred; N rows.
    config: the whole config.
    by_baselines: baseline -> predictions `[N, T]`, NaN where it has none.

  Returns:
    The metrics of the first target under NAME and of others under NAME/TARGET.
  """
  results.write_predictions(workdir, name, table)
  targets = config.data.targets
  blocks = {}
  for i, target in enumerate(targets):
    true = table[f"{target}_true"].to_numpy()
    predicted = table[f"{target}_pred"].to_numpy()
    known = np.isfinite(true)
    block = metrics.with_intervals(
      true[known], predicted[known], config.eval.bootstrap_draws, config.seed
    )
    for baseline, values in by_baselines.items():
      both = known & np.isfinite(values[:, i])
      if both.any():
        rmse = metrics.compute(true[both], values[both, i])["rmse"]
        block[f"rmse_{baseline}"] = float(rmse)
    blocks[summary_text.block_name(name, targets, i)] = block
  return blocks
