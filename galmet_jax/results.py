"""The results of a run on disk: predictions_SPLIT.csv and summary.json.

summary.json has the SHA-256 of each table of predictions, and its own. A
damaged or altered file is never used: the run counts as unfinished, and is
evaluated again.
"""

from collections.abc import Iterable
from collections.abc import Mapping
import hashlib
import json
import math
import pathlib
from typing import Any

from absl import logging
import ml_collections
import numpy as np
import pandas as pd

from galmet_jax import first_weights
from galmet_jax import workdir as workdir_lib
from galmet_jax.data import galaxies
from galmet_jax.data import splits as splits_lib
from galmet_jax.devices import processes
from tfds_sdss import files

_SUMMARY = "summary.json"
_REMEDY = "Repeat the command that trained the run: it evaluates again."


def write_predictions(
  folder: pathlib.Path, split: str, table: pd.DataFrame
) -> None:
  """Writes predictions_SPLIT.csv."""
  data = table.to_csv(index=False).encode()
  files.write_atomically(_predictions(folder, split), data)


def read_predictions(folder: pathlib.Path, split: str) -> pd.DataFrame:
  """Reads predictions_SPLIT.csv of an evaluated run.

  Raises:
    FileNotFoundError: if the table or the summary is absent.
    DamagedFileError: if one of them is not as it was written.
  """
  path = _predictions(folder, split)
  _check_predictions(path, read_summary(folder))
  return pd.read_csv(path, dtype={"objid": np.int64})


def write_summary(
  folder: pathlib.Path, summary: dict[str, Any], splits: Iterable[str]
) -> None:
  """Writes summary.json; a number that is not finite becomes null.

  Args:
    folder: directory of the results.
    summary: content of the file.
    splits: splits whose tables belong to it.
  """
  tables = [_predictions(folder, split) for split in splits]
  digests = {path.name: _sha256(path) for path in tables}
  content = {**_finite(summary), "files": digests}
  files.write_json(folder / _SUMMARY, content)


def read_summary(folder: pathlib.Path) -> dict[str, Any]:
  """Returns the content of summary.json.

  Raises:
    FileNotFoundError: if it is absent.
    DamagedFileError: if it is not as it was written.
  """
  return files.read_json(folder / _SUMMARY, _REMEDY)


def to_json(content: dict[str, Any]) -> str:
  """Returns indented JSON; a number that is not finite becomes null."""
  return json.dumps(_finite(content), indent=2, allow_nan=False) + "\n"


def is_finished(
  config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> bool:
  """Whether the workdir holds a complete run of exactly this config.

  Complete means trained to the last step and evaluated. All processes return
  the answer of the first.
  """
  finished = processes.on_first(lambda: _is_finished(config, workdir))
  return bool(processes.broadcast_int(bool(finished)))


def check_galaxies(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  data: Mapping[str, galaxies.Split],
) -> None:
  """Compares a finished run with the galaxies that are there now.

  Args:
    config: the run's config.
    workdir: directory of the run, which `is_finished`.
    data: the data set's own splits, with any targets.

  Raises:
    ConfigError: if the run was trained on other galaxies.
  """
  own = splits_lib.apply_splits(
    {
      name: galaxies.with_targets(split, config.data.targets)
      for name, split in data.items()
    },
    config.data,
    config.seed,
  )
  weights = first_weights.digest(config, workdir)
  found = workdir_lib.fixed_fields(workdir_lib.describe(config, own, weights))

  def compare() -> None:
    stored = workdir_lib.fixed_fields(workdir_lib.read_config(workdir))
    workdir_lib.compare(found, stored, workdir)

  processes.on_first(compare)


def _is_finished(
  config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> bool:
  expected = json.loads(config.to_json())
  try:
    stored = workdir_lib.read_config(workdir)
    other_jax = workdir_lib.has_other_jax_settings(stored)
    summary = read_summary(workdir)
    for split in expected["eval"]["splits"]:
      _check_predictions(_predictions(workdir, split), summary)
  except FileNotFoundError:
    return False
  except files.DamagedFileError as error:
    logging.warning("%s", error)
    return False
  checkpoint = summary.get("checkpoint", {})
  return (
    {name: stored.get(name) for name in expected} == expected
    # Training then names the setting that differs.
    and not other_jax
    # An evaluation with other options replaces the summary.
    and summary.get("eval") == expected["eval"]
    and checkpoint.get("trained_steps", -1) == checkpoint.get("of_steps")
  )


def _predictions(folder: pathlib.Path, split: str) -> pathlib.Path:
  return folder / f"predictions_{split}.csv"


def _check_predictions(path: pathlib.Path, summary: dict[str, Any]) -> None:
  expected = summary.get("files", {}).get(path.name)
  if _sha256(path) != expected:
    raise files.DamagedFileError(
      f"{path} is damaged: expected the SHA-256 in {_SUMMARY}. {_REMEDY}"
    )


def _sha256(path: pathlib.Path) -> str:
  return hashlib.sha256(path.read_bytes()).hexdigest()


def _finite(value: Any) -> Any:
  """Replaces numbers that JSON does not have by None."""
  if isinstance(value, dict):
    return {key: _finite(each) for key, each in value.items()}
  if isinstance(value, (list, tuple)):
    return [_finite(each) for each in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value
