"""Trains all systems of the paper and tabulates them (`--mode=reproduce`)."""

import contextlib
import copy
import itertools
import json
import pathlib
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pandas as pd

from galmet_jax import config_checks
from galmet_jax import ensemble
from galmet_jax import errors
from galmet_jax import results
from galmet_jax import train
from galmet_jax import train_state
from galmet_jax import workdir as workdir_lib
from galmet_jax.baselines import baselines
from galmet_jax.baselines import mass_metallicity
from galmet_jax.data import augment
from galmet_jax.data import dataset
from galmet_jax.data import galaxies
from galmet_jax.devices import processes
from galmet_jax.models import network
from galmet_jax.models import pretrained
from galmet_jax.paper import comparison

_MASS = "lgm_tot_p50"


def reproduce(
  config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> pd.DataFrame | None:
  """Trains every system that is not finished, and compares all of them.

  Writes each system's run to `runs/NAME`, and paper_table.md and .csv,
  diagnostics.json, predictions_test.csv and figures/ to the workdir.

  Args:
    config: a complete config with a block `reproduce`: `runs` and `ensembles`
      name systems in training order, and `changes.NAME` holds the fields in
      which a system differs from the config.
    workdir: directory of the reproduction.

  Returns:
    The table from `table.compare_systems`; None except in the first process.

  Raises:
    ConfigError: if the config has no block `reproduce` or an unknown system,
      or a run in the workdir belongs to another config.
    FolderInUseError: if another process uses the workdir.
  """
  if "reproduce" not in config:
    raise errors.ConfigError(
      "expected a config with a block `reproduce`, which names the systems; "
      "found none. Try --config=configs/reproduce_mock.py."
    )
  common = _common_config(config)
  configs = system_configs(config)
  with workdir_lib.lock(workdir):
    workdir_lib.check_kind(workdir, "reproduction")
    return _reproduce(config, common, configs, workdir)


def _reproduce(
  config: ml_collections.ConfigDict,
  common: ml_collections.ConfigDict,
  configs: dict[str, ml_collections.ConfigDict],
  workdir: pathlib.Path,
) -> pd.DataFrame | None:
  runs = workdir / "runs"
  _check_systems(config, configs, runs)
  for name in config.reproduce.runs:
    print(f"== {name}", flush=True)
    _train_run(name, configs, runs)
  for name in config.reproduce.ensembles:
    print(f"== {name}", flush=True)
    ensemble.train_and_evaluate(configs[name], runs / name)
  splits = dataset.load(common)

  def compare() -> pd.DataFrame:
    predicted = _predictions(common, splits, runs, list(configs))
    return comparison.write(common, workdir, splits, configs, predicted)

  return processes.on_first(compare)


def system_configs(
  config: ml_collections.ConfigDict,
) -> dict[str, ml_collections.ConfigDict]:
  """Returns the config of each system by name, in training order.

  Raises:
    ConfigError: if a system has no entry in `reproduce.changes`.
  """
  configs = {}
  for name in (*config.reproduce.runs, *config.reproduce.ensembles):
    if name not in config.reproduce.changes:
      raise errors.ConfigError(
        f"reproduce.changes has no {name!r}; expected one of "
        f"{', '.join(config.reproduce.changes)}."
      )
    configs[name] = _common_config(config)
    configs[name].update(config.reproduce.changes[name])
    if name in config.reproduce.ensembles:
      configs[name].eval.splits = ("validation", "test")
  return configs


def _check_systems(
  config: ml_collections.ConfigDict,
  configs: dict[str, ml_collections.ConfigDict],
  runs: pathlib.Path,
) -> None:
  """Checks every system before the first one is trained."""
  config_checks.check(config)
  data = dataset.read(config)
  for name, system in configs.items():
    try:
      config_checks.check(system)
      in_folds = name in config.reproduce.ensembles
      dataset.check_sizes(data, system, in_folds=in_folds)
      if not (runs / name).exists():
        _check_weights(system)
      if not in_folds and results.is_finished(system, runs / name):
        results.check_galaxies(system, runs / name, data)
    except errors.ConfigError as error:
      raise errors.ConfigError(f"System {name}: {error}") from error


def _check_weights(config: ml_collections.ConfigDict) -> None:
  source = config.model.pretrained
  if not source:
    return
  targets = len(config.data.targets)
  state = jax.eval_shape(
    lambda: train_state.create(
      network.from_config(config.model, targets),
      config,
      augment.make_frame(config.data).resolution,
      jnp.zeros(targets),
    )
  )
  processes.first_then_others(lambda: pretrained.load(source, state.variables))


def _common_config(
  config: ml_collections.ConfigDict,
) -> ml_collections.ConfigDict:
  """Copies a config without its block `reproduce`."""
  common = copy.deepcopy(config)
  with common.unlocked():
    del common.reproduce
  return common


def _train_run(
  name: str,
  configs: dict[str, ml_collections.ConfigDict],
  runs: pathlib.Path,
) -> None:
  """Trains or resumes a system unless it is finished."""
  if results.is_finished(configs[name], runs / name):
    print("Already finished.", flush=True)
    return
  processes.on_first(lambda: _copy_training(name, configs, runs))
  train.train_and_evaluate(configs[name], runs / name)


def _copy_training(
  name: str,
  configs: dict[str, ml_collections.ConfigDict],
  runs: pathlib.Path,
) -> None:
  """Copies the checkpoints of an earlier run that trained the same network.

  Systems that differ only in their evaluation need a single training.
  """
  folder = runs / name
  if (folder / "checkpoints").exists():
    return
  earlier = itertools.takewhile(lambda other: other != name, configs)
  ours = _training_fields(configs[name])
  donor = next(
    (other for other in earlier if _training_fields(configs[other]) == ours),
    None,
  )
  if donor is not None:
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
      shutil.copyfile(runs / donor / "metrics.jsonl", folder / "metrics.jsonl")
    # Renamed at the end: an interrupted copy would be a damaged checkpoint.
    part = folder / "checkpoints.part"
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(
      runs / donor / "checkpoints",
      part,
      ignore=shutil.ignore_patterns("*.corrupt*"),
    )
    part.rename(folder / "checkpoints")


def _training_fields(config: ml_collections.ConfigDict) -> dict[str, Any]:
  fields = json.loads(config.to_json())
  del fields["eval"]
  return fields


def _predictions(
  config: ml_collections.ConfigDict,
  splits: dict[str, galaxies.Split],
  runs: pathlib.Path,
  names: list[str],
) -> dict[str, np.ndarray]:
  """Returns predictions of the first target by baselines and systems, `[N]`."""
  train_split, test = splits["train"], splits["test"]
  target = config.data.targets[0]
  predicted = {
    name: values[:, 0].astype(np.float64)
    for name, values in baselines.predict_all(
      train_split, {"test": test}, (target,), config.seed
    )["test"].items()
  }
  for name in names:
    rows = results.read_predictions(runs / name, "test")
    if not np.array_equal(rows.objid, test.objid):
      raise errors.ConfigError(
        f"{runs / name} predicts {len(rows)} galaxies; expected the "
        f"{len(test)} of the test split, in its order. Give a new --workdir."
      )
    predicted[name] = rows[f"{target}_pred"].to_numpy(np.float64)
    if f"{_MASS}_pred" in rows and _MASS in train_split.columns:
      relation = mass_metallicity.fit(
        train_split.columns[_MASS], train_split.targets[:, 0]
      )
      predicted["cnn_mass"] = mass_metallicity.evaluate(
        rows[f"{_MASS}_pred"].to_numpy(), *relation
      )
  return predicted
