"""The paper's table by one command (`--mode=reproduce`)."""

import copy
import json
import pathlib
import shutil
from typing import Any

import ml_collections
import numpy as np
import pandas as pd

from galmet_jax import baselines
from galmet_jax import ensemble
from galmet_jax import errors
from galmet_jax import report
from galmet_jax import train
from galmet_jax.data import dataset
from galmet_jax.data import galaxies
from galmet_jax.devices import compilation
from galmet_jax.devices import processes
from galmet_jax.paper import comparison


def reproduce(
  config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> pd.DataFrame | None:
  """Trains every system that is not done yet and sets them side by side.

  Args:
    config: a whole config, and a block `reproduce`: `runs` and `ensembles`
      name systems in the order in which they are trained and listed, and
      `changes.NAME` holds what differs from the rest of the config.
    workdir: `runs/NAME` holds each system's run; paper_table.md and .csv,
      predictions_test.csv and figures/ are written beside.

  Returns:
    The table, as `published.table` makes it; None but in the first process.

  Raises:
    ConfigError: if the config has no block `reproduce`, or that not a system
      it names, or a run in the workdir is another.
  """
  if "reproduce" not in config:
    raise errors.ConfigError(
      "the config has no block reproduce, which names the systems; expected "
      "one such as --config=configs/reproduce_mock.py."
    )
  single = _without_reproduce(config)
  configs = {
    name: _config_of(config, name)
    for name in (*config.reproduce.runs, *config.reproduce.ensembles)
  }
  for name in configs:
    print(f"== {name}", flush=True)
    _train(name, config, configs, workdir / "runs")
  cache = compilation.directory(config.cache_dir)
  galaxies = dataset.load(single, cache)

  def write() -> pd.DataFrame:
    predicted = _predictions(single, galaxies, configs, workdir / "runs")
    return comparison.write(single, workdir, galaxies, configs, predicted)

  return processes.on_first(write)


def _without_reproduce(
  config: ml_collections.ConfigDict,
) -> ml_collections.ConfigDict:
  single = copy.deepcopy(config)
  with single.unlocked():
    del single.reproduce
  return single


def _config_of(
  config: ml_collections.ConfigDict, name: str
) -> ml_collections.ConfigDict:
  """Returns the config of one system."""
  if name not in config.reproduce.changes:
    raise errors.ConfigError(
      f"reproduce.changes has no {name!r}; expected one of "
      f"{', '.join(config.reproduce.changes)}."
    )
  member = _without_reproduce(config)
  member.update(config.reproduce.changes[name])
  if name in config.reproduce.ensembles:
    member.eval.splits = ("validation", "test")
  return member


def _train(
  name: str,
  config: ml_collections.ConfigDict,
  configs: dict[str, ml_collections.ConfigDict],
  runs: pathlib.Path,
) -> None:
  """Trains one system, or goes on, or finds it done."""
  member, folder = configs[name], runs / name
  if name in config.reproduce.ensembles:
    ensemble.train_and_evaluate(member, folder)
    return
  if report.is_finished(member, folder):
    print("Done already.", flush=True)
    return
  processes.on_first(lambda: _take_over(name, config, configs, runs))
  train.train_and_evaluate(member, folder)


def _take_over(
  name: str,
  config: ml_collections.ConfigDict,
  configs: dict[str, ml_collections.ConfigDict],
  runs: pathlib.Path,
) -> None:
  """Copies the training of a system that differs in its evaluation alone."""
  member, folder = configs[name], runs / name
  for other in config.reproduce.runs:
    if other == name or (folder / "checkpoints").exists():
      break
    if _training(configs[other]) == _training(member):
      shutil.copytree(runs / other / "checkpoints", folder / "checkpoints")
      shutil.copyfile(runs / other / "metrics.jsonl", folder / "metrics.jsonl")


def _training(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """Returns the part of a config that says how to train."""
  fields = json.loads(config.to_json())
  del fields["eval"]
  return fields


def _predictions(
  config: ml_collections.ConfigDict,
  galaxies: dict[str, galaxies.Split],
  configs: dict[str, ml_collections.ConfigDict],
  runs: pathlib.Path,
) -> dict[str, np.ndarray]:
  """Returns each system's predictions of the first target, `[N]`, by name."""
  test = galaxies["test"]
  targets = tuple(config.data.targets[:1])
  predicted = {
    name: values[:, 0].astype(np.float64)
    for name, values in baselines.predict_all(
      galaxies["train"], test, targets, config.seed
    ).items()
  }
  for name in configs:
    table = pd.read_csv(
      runs / name / "predictions_test.csv", dtype={"objid": np.int64}
    )
    if not np.array_equal(table.objid, test.objid):
      raise errors.ConfigError(
        f"{runs / name} predicts {len(table)} other galaxies than the test "
        f"split's {len(test)}. Give a new --workdir."
      )
    predicted[name] = table[f"{targets[0]}_pred"].to_numpy(np.float64)
    if (
      "lgm_tot_p50_pred" in table and "lgm_tot_p50" in galaxies["train"].columns
    ):
      relation = baselines.fit_mass_metallicity(
        galaxies["train"].columns["lgm_tot_p50"],
        galaxies["train"].targets[:, 0],
      )
      predicted["cnn_mass"] = baselines.mass_metallicity(
        table["lgm_tot_p50_pred"].to_numpy(), *relation
      )
  return predicted
