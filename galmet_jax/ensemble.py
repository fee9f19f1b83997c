"""An ensemble of k networks, each trained without one of k folds.

The members train one after another. Each is an ordinary run in a directory of
its own, so an interrupted ensemble resumes like any run.
"""

from collections.abc import Iterable
from collections.abc import Mapping
import copy
import json
import pathlib
from typing import Any

import ml_collections
import numpy as np
import pandas as pd

from galmet_jax import checkpoints
from galmet_jax import errors
from galmet_jax import figure_style
from galmet_jax import metrics
from galmet_jax import quantities
from galmet_jax import report
from galmet_jax import report_figures
from galmet_jax import report_page
from galmet_jax import results
from galmet_jax import summary_text
from galmet_jax import train
from galmet_jax import workdir as workdir_lib
from galmet_jax.calibration import calibration as calibration_lib
from galmet_jax.calibration import judgement
from galmet_jax.calibration import of_run
from galmet_jax.data import dataset
from galmet_jax.data import galaxies
from galmet_jax.devices import processes


def train_and_evaluate(
  config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> dict[str, Any]:
  """Trains the unfinished members and evaluates the ensemble.

  Member i is trained in `workdir/fold_i` and holds out fold i of the training
  and validation galaxies together. Each of these galaxies has one out-of-fold
  prediction, by the member that did not train on it. The predictions of a test
  galaxy are averaged over the members (Wu & Boada 2019, section 2.3.5).

  Args:
    config: the config of a member; `data.num_folds` is k and `data.fold` must
      be None.
    workdir: directory of the members and of the results.

  Returns:
    The content of summary.json: metrics of the ensemble on `test` and of the
    members on `out_of_fold` (further targets under SPLIT/TARGET), and
    `members`, the test metrics of each. Empty on all processes but the first.

  Raises:
    ConfigError: if the config sets a fold or does not evaluate both splits, or
      if members were trained or evaluated on other galaxies.
    FolderInUseError: if another process uses the workdir.
  """
  if config.data.fold is not None:
    raise errors.ConfigError(
      f"data.fold is {config.data.fold}; expected None, since an ensemble "
      "trains all folds. Leave out --config.data.fold."
    )
  if set(config.eval.splits) != {"validation", "test"}:
    raise errors.ConfigError(
      f"eval.splits is {config.eval.splits}; an ensemble needs validation and "
      "test. Leave out --config.eval.splits."
    )
  with workdir_lib.lock(workdir):
    workdir_lib.check_kind(workdir, "ensemble")
    folders = _train_members(config, workdir)
    # All processes read the images, which the first shows.
    splits = dataset.read(config).values() if config.eval.figures else ()
    return (
      processes.on_first(lambda: _write(config, workdir, folders, splits)) or {}
    )


def _train_members(
  config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> list[pathlib.Path]:
  """Trains the unfinished members; returns the folders of all."""
  members = {}
  for fold in range(config.data.num_folds):
    member = copy.deepcopy(config)
    member.data.fold = fold
    members[workdir / f"fold_{fold}"] = member
  finished = [
    folder
    for folder, member in members.items()
    if results.is_finished(member, folder)
  ]
  if finished:
    data = dataset.read(config)
    for folder in finished:
      results.check_galaxies(members[folder], folder, data)
    # The members that are trained need the memory.
    del data
  for fold, (folder, member) in enumerate(members.items()):
    print(f"Fold {fold} of {config.data.num_folds}: {folder}", flush=True)
    if folder not in finished:
      train.train_and_evaluate(member, folder)
  return list(members)


def _write(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  folders: list[pathlib.Path],
  splits: Iterable[galaxies.Split],
) -> dict[str, Any]:
  targets = tuple(config.data.targets)
  test = mean_of_members(folders, targets)
  tables = {"out_of_fold": out_of_fold(folders), "test": test}
  summary: dict[str, Any] = {}
  for name, table in tables.items():
    summary |= report.write_split(workdir, name, table, config, {})
  members = metrics.compute(
    test[f"{targets[0]}_true"].to_numpy(),
    np.stack([test[f"{targets[0]}_pred_{i}"] for i in range(len(folders))]),
  )
  summary["members"] = [
    {name: float(values[i]) for name, values in members.items()}
    for i in range(len(folders))
  ]
  summary["eval"] = json.loads(config.eval.to_json())
  calibration = of_run.calibrate_ensemble(
    folders, tables["out_of_fold"], targets
  )
  calibration.save(workdir)
  for i, target in enumerate(targets):
    block = summary[summary_text.block_name("test", targets, i)]
    labels = tables["out_of_fold"][f"{target}_true"].to_numpy()
    block["calibration"] = judgement.judge(
      calibration.targets[i],
      test[f"{target}_pred"].to_numpy(),
      test[f"{target}_true"].to_numpy(),
      {},
      labels,
      config.eval.bootstrap_draws,
      config.seed,
    )
  described = quantities.of(dataset.describe(config), targets)
  print(summary_text.format_metrics(summary, tuple(tables), described))
  rmse = members["rmse"]
  spec = quantities.digits(rmse.mean())
  print(
    f"A single member: {rmse.mean():{spec}} ± {rmse.std(ddof=1):{spec}} on the "
    "test split.",
    flush=True,
  )
  names = "summary.json and predictions_*.csv"
  if config.eval.figures:
    _draw(config, workdir, folders, splits, tables, calibration, summary)
    names = f"summary.json, predictions_*.csv, {report_page.FILE} and figures/"
  # At the end: an ensemble with a summary has its figures.
  results.write_summary(workdir, summary, tables)
  print(f"Wrote {names} to {workdir}.")
  return summary


def _draw(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  folders: list[pathlib.Path],
  splits: Iterable[galaxies.Split],
  tables: Mapping[str, pd.DataFrame],
  calibration: calibration_lib.Calibration,
  summary: Mapping[str, Any],
) -> None:
  """Writes figures/ and the page, which has the maps of the first member."""
  described = quantities.of(dataset.describe(config), config.data.targets)
  for name, table in tables.items():
    title = (
      f"{config.data.name}, {len(folders)} folds, {name.replace('_', ' ')}"
    )
    report_figures.draw_split(
      workdir, name, table, described[0], title, summary[name]
    )
  with figure_style.optional(workdir / report_page.FILE):
    first, which = folders[0], calibration.facts["which"]
    store = checkpoints.Checkpoints(
      first / "checkpoints" / which, keep=2, read_only=True
    )
    report_page.write(
      workdir,
      workdir,
      config,
      store.read_variables(calibration.facts["members"][first.name]),
      splits,
      tables,
      calibration,
      summary,
    )


def out_of_fold(folders: list[pathlib.Path]) -> pd.DataFrame:
  """Joins the predictions in `folders` for the galaxies held out there.

  Returns:
    The rows of all predictions_validation.csv and their `fold`, in order of
    objid.

  Raises:
    ConfigError: if two members held out the same galaxy.
  """
  parts = [
    results.read_predictions(folder, "validation").assign(fold=fold)
    for fold, folder in enumerate(folders)
  ]
  table = pd.concat(parts).sort_values("objid", ignore_index=True)
  repeated = table.objid[table.objid.duplicated()]
  if len(repeated):
    raise errors.ConfigError(
      f"objid {repeated.iloc[0]} is in two folds of {folders[0].parent}; "
      "expected each galaxy in one. Start again with a new --workdir."
    )
  return table


def mean_of_members(
  folders: list[pathlib.Path], targets: tuple[str, ...]
) -> pd.DataFrame:
  """Averages the predictions in `folders` for the test split.

  Returns:
    objid and, for each target, TARGET_true, TARGET_pred (the mean),
    TARGET_member_std (the standard deviation of a single member) and
    TARGET_pred_FOLD.

  Raises:
    ConfigError: if the members predict different galaxies.
  """
  tables = [results.read_predictions(folder, "test") for folder in folders]
  objid = tables[0].objid
  for folder, table in zip(folders, tables, strict=True):
    if not table.objid.equals(objid):
      raise errors.ConfigError(
        f"{folder} predicts other galaxies than {folders[0]}; expected the "
        "same test split. Start again with a new --workdir."
      )
  columns: dict[str, Any] = {"objid": objid}
  for target in targets:
    predicted = np.stack([table[f"{target}_pred"] for table in tables])
    columns[f"{target}_true"] = tables[0][f"{target}_true"]
    columns[f"{target}_pred"] = predicted.mean(0)
    columns[f"{target}_member_std"] = predicted.std(0, ddof=1)
    for fold, values in enumerate(predicted):
      columns[f"{target}_pred_{fold}"] = values
  return pd.DataFrame(columns)
