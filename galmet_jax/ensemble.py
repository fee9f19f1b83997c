"""k networks, each blind to another fold; their mean and its scatter.

The members are trained one after another: each is a run like any other, in a
directory of its own, so that an ensemble may be interrupted anywhere.
"""

from collections.abc import Mapping
import copy
import pathlib
from typing import Any

import ml_collections
import numpy as np
import pandas as pd

from galmet_jax import errors
from galmet_jax import metrics
from galmet_jax import plots
from galmet_jax import report
from galmet_jax import train
from galmet_jax.devices import processes


def train_and_evaluate(
  config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> dict[str, Any]:
  """Trains the members that are not done yet, and evaluates them together.

  Member i holds out fold i of training and validation together, and lies in
  `workdir/fold_i`. Each galaxy of these has one prediction of a network that
  has not seen it (out of fold); each test galaxy has k, and their mean (Wu &
  Boada 2019, section 2.3.5).

  Args:
    config: the config of a member; `data.num_folds` is k, `data.fold` is set
      here.
    workdir: where the members and the tables go.

  Returns:
    What summary.json holds: blocks of figures of the ensemble on `test` and of
    the members on `out_of_fold` (further targets under SPLIT/TARGET), and
    `members`, the test figures of each. Nothing but in the first process.

  Raises:
    ConfigError: if the config holds out a fold already, or does not evaluate
      both splits.
  """
  if config.data.fold is not None:
    raise errors.ConfigError(
      f"data.fold is {config.data.fold}; expected None, since an ensemble "
      "trains all folds. Leave out --config.data.fold."
    )
  if set(config.eval.splits) != {"validation", "test"}:
    raise errors.ConfigError(
      f"eval.splits is {config.eval.splits}; expected validation and test, of "
      "which an ensemble is made."
    )
  folders = []
  for fold in range(config.data.num_folds):
    member = copy.deepcopy(config)
    member.data.fold = fold
    folders.append(workdir / f"fold_{fold}")
    print(f"Fold {fold} of {config.data.num_folds}: {folders[-1]}", flush=True)
    if report.finished(member, folders[-1]) is None:
      train.train_and_evaluate(member, folders[-1])
  return processes.on_first(lambda: _evaluate(config, workdir, folders)) or {}


def _evaluate(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  folders: list[pathlib.Path],
) -> dict[str, Any]:
  """Writes everything about the members together."""
  targets = tuple(config.data.targets)
  tables = {
    "out_of_fold": out_of_fold(folders),
    "test": mean_of_members(folders, targets),
  }
  summary: dict[str, Any] = {}
  for name, table in tables.items():
    table.to_csv(workdir / f"predictions_{name}.csv", index=False)
    for i, target in enumerate(targets):
      block = _figures_of_merit(table, target, config)
      summary[name if i == 0 else f"{name}/{target}"] = block
    _draw(workdir, name, table, summary[name], config)
  summary["members"] = _members(folders, targets[0])
  path = report.write_summary(workdir, summary)
  print(report.table(summary, ("out_of_fold", "test"), targets))
  single = [member["rmse"] for member in summary["members"]]
  print(
    f"A member alone: {np.mean(single):.4f} ± {np.std(single, ddof=1):.4f} on "
    f"the test split.\nWritten to {workdir}: {path.name}, predictions_*.csv"
  )
  return summary


def out_of_fold(folders: list[pathlib.Path]) -> pd.DataFrame:
  """Joins the members' predictions of the galaxies they held out.

  Args:
    folders: the members' directories.

  Returns:
    The rows of all predictions_validation.csv with their `fold`, by objid.

  Raises:
    ValueError: if a galaxy was held out twice.
  """
  parts = [
    _read(folder / "predictions_validation.csv").assign(fold=fold)
    for fold, folder in enumerate(folders)
  ]
  table = pd.concat(parts).sort_values("objid", ignore_index=True)
  if not table.objid.is_unique:
    raise ValueError(
      f"objid {table.objid[table.objid.duplicated()].iloc[0]} is in two folds."
    )
  return table


def mean_of_members(
  folders: list[pathlib.Path], targets: tuple[str, ...]
) -> pd.DataFrame:
  """Averages the members' predictions of the test split.

  Args:
    folders: the members' directories.
    targets: the targets' names.

  Returns:
    objid and, for each target, TARGET_true, TARGET_pred (the mean),
    TARGET_member_std (the scatter of the members about it, of one member) and
    TARGET_pred_FOLD.

  Raises:
    ValueError: if the members predict other galaxies.
  """
  tables = [_read(folder / "predictions_test.csv") for folder in folders]
  columns: dict[str, Any] = {"objid": tables[0].objid}
  for folder, table in zip(folders, tables, strict=True):
    if not table.objid.equals(tables[0].objid):
      raise ValueError(f"{folder} predicts other galaxies than {folders[0]}.")
  for target in targets:
    predicted = np.stack([table[f"{target}_pred"] for table in tables])
    columns[f"{target}_true"] = tables[0][f"{target}_true"]
    columns[f"{target}_pred"] = predicted.mean(0)
    columns[f"{target}_member_std"] = predicted.std(0, ddof=1)
    for fold, values in enumerate(predicted):
      columns[f"{target}_pred_{fold}"] = values
  return pd.DataFrame(columns)


def _read(path: pathlib.Path) -> pd.DataFrame:
  return pd.read_csv(path, dtype={"objid": np.int64})


def _figures_of_merit(
  table: pd.DataFrame, target: str, config: ml_collections.ConfigDict
) -> dict[str, Any]:
  known = table.dropna(subset=f"{target}_true")
  return metrics.with_intervals(
    known[f"{target}_true"].to_numpy(),
    known[f"{target}_pred"].to_numpy(),
    config.eval.bootstrap_draws,
    config.seed,
  )


def _members(
  folders: list[pathlib.Path], target: str
) -> list[dict[str, float]]:
  members = []
  for folder in folders:
    table = _read(folder / "predictions_test.csv")
    values = metrics.compute(table[f"{target}_true"], table[f"{target}_pred"])
    members.append({name: float(value) for name, value in values.items()})
  return members


def _draw(
  workdir: pathlib.Path,
  name: str,
  table: pd.DataFrame,
  values: Mapping[str, Any],
  config: ml_collections.ConfigDict,
) -> None:
  target = config.data.targets[0]
  path = workdir / "figures" / f"predicted_against_true_{name}.png"
  path.parent.mkdir(exist_ok=True)
  plots.predicted_against_true(
    path,
    table[f"{target}_true"].to_numpy(),
    table[f"{target}_pred"].to_numpy(),
    values,
    title=f"{config.data.name}, {config.data.num_folds} folds, "
    + name.replace("_", " "),
    label=report.label(target),
  )
