"""Trains all systems of the paper and tabulates them (`--mode=reproduce`)."""

from collections.abc import Container
import contextlib
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
from galmet_jax import first_weights
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
from galmet_jax.paper import systems

_MASS = "lgm_tot_p50"


def reproduce(
  config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> pd.DataFrame | None:
  """Trains every system that is not finished, and compares all of them.

  Writes each system's run to `runs/NAME`, those of further seeds to
  `runs/NAME_seed_1` etc., and paper_table.md and .csv, claims.md and .csv,
  diagnostics.json, predictions_test.csv and figures/ to the workdir.

  Args:
    config: a complete config with a block `reproduce`: `sources`, `runs` and
      `ensembles` name systems in training order, and `changes.NAME` holds the
      fields in which a system differs from the config. Sources give their
      weights to systems with `model.pretrained=system:NAME`, and are not
      compared. Sources and runs are trained with `seeds` different seeds.
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
  common = systems.common_config(config)
  configs = systems.configs_of(config, workdir / "runs")
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
  for name in configs:
    print(f"== {name}", flush=True)
    if name in config.reproduce.ensembles:
      ensemble.train_and_evaluate(configs[name], runs / name)
    else:
      _train_run(name, configs, runs)
  splits = dataset.load(common)

  def compare() -> pd.DataFrame:
    compared = (*config.reproduce.runs, *config.reproduce.ensembles)
    folders = {name: systems.folders(config, name) for name in compared}
    predicted = _predictions(common, splits, runs, folders)
    first = {name: configs[name] for name in compared}
    return comparison.write(common, workdir, splits, first, predicted)

  return processes.on_first(compare)


def _check_systems(
  config: ml_collections.ConfigDict,
  configs: dict[str, ml_collections.ConfigDict],
  runs: pathlib.Path,
) -> None:
  """Checks every system before the first one is trained."""
  config_checks.check(config)
  samples: dict[str, dict[str, galaxies.Split]] = {}
  for name, system in configs.items():
    try:
      config_checks.check(system)
      sample = system.data.name
      if sample not in samples:
        samples[sample] = dataset.read(system)
      in_folds = name in config.reproduce.ensembles
      dataset.check_sizes(samples[sample], system, in_folds=in_folds)
      if not (runs / name).exists():
        _check_weights(system, runs, configs)
      if not in_folds and results.is_finished(system, runs / name):
        results.check_galaxies(system, runs / name, samples[sample])
    except errors.ConfigError as error:
      raise errors.ConfigError(f"System {name}: {error}") from error


def _check_weights(
  config: ml_collections.ConfigDict,
  runs: pathlib.Path,
  configs: Container[str],
) -> None:
  source = config.model.pretrained
  if not source:
    return
  if first_weights.is_run(source):
    folder = pathlib.Path(source.removeprefix(first_weights.PREFIX))
    # A source is trained before the systems that start from it.
    if folder.parent != runs or folder.name not in configs:
      first_weights.digest(config, runs)
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
  folders: dict[str, list[str]],
) -> dict[str, np.ndarray]:
  """Returns predictions of the first target, `[S, N]`, for S seeds.

  Args:
    config: the config that the systems have in common.
    splits: galaxies by split.
    runs: folder of the runs.
    folders: names of the runs of each system, one for each seed.
  """
  train_split, test = splits["train"], splits["test"]
  target = config.data.targets[0]
  predicted = {
    name: values[None, :, 0].astype(np.float64)
    for name, values in baselines.predict_all(
      train_split, {"test": test}, (target,), config.seed
    )["test"].items()
  }
  for name, own in folders.items():
    tables = [results.read_predictions(runs / folder, "test") for folder in own]
    for folder, rows in zip(own, tables, strict=True):
      if not np.array_equal(rows.objid, test.objid):
        raise errors.ConfigError(
          f"{runs / folder} predicts {len(rows)} galaxies; expected the "
          f"{len(test)} of the test split, in its order. Give a new --workdir."
        )
    predicted[name] = np.stack(
      [rows[f"{target}_pred"].to_numpy(np.float64) for rows in tables]
    )
    if f"{_MASS}_pred" in tables[0] and _MASS in train_split.columns:
      relation = mass_metallicity.fit(
        train_split.columns[_MASS], train_split.targets[:, 0]
      )
      masses = np.stack([rows[f"{_MASS}_pred"] for rows in tables])
      predicted["cnn_mass"] = mass_metallicity.evaluate(masses, *relation)
  return predicted
