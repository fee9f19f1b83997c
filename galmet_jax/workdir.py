"""Checks that a run keeps its config and data over processes and restarts."""

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import json
import os
import pathlib
import shlex

from flax import traverse_util
import jax
import ml_collections

from galmet_jax import errors
from galmet_jax.data import galaxies
from galmet_jax.devices import processes
from tfds_sdss import files

# Fields that do not affect training; they may change on resume.
_MAY_CHANGE = (
  "cache_dir",
  "eval.",
  "data.data_dir",
  "data.manual_dir",
  "data.placement",
  "train.log_every_steps",
  "train.checkpoint_every_steps",
)
# Settings of JAX that change results.
_JAX_SETTINGS = (
  "jax_default_prng_impl",
  "jax_threefry_partitionable",
  "jax_random_seed_offset",
  "jax_default_matmul_precision",
)
_CONFIG = "config.json"
# Fields that may differ between the processes of a run.
_PER_PROCESS = ("cache_dir", "data.data_dir", "data.manual_dir")


def check_in_all_processes(
  config: ml_collections.ConfigDict, data: Mapping[str, galaxies.Split]
) -> None:
  """Raises ConfigError if the config or the data differ between processes."""
  fields = {
    name: value
    for name, value in flatten(json.loads(config.to_json())).items()
    if name not in _PER_PROCESS
  }
  processes.assert_equal_across_processes(
    "the config", json.dumps(fields).encode()
  )
  for name, split in data.items():
    content = split.objid.tobytes() + split.targets.tobytes()
    processes.assert_equal_across_processes(f"the {name} split", content)


def check_jax() -> None:
  """Raises ConfigError if JAX computes in 64 bits."""
  if jax.config.values["jax_enable_x64"]:
    raise errors.ConfigError(
      "JAX_ENABLE_X64 is set; expected 32 bits, in which the checkpoints and "
      "all results are defined. Run: env -u JAX_ENABLE_X64 python main.py ..."
    )


def check(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Compares the config with the one of an earlier start.

  Raises:
    ConfigError: if the workdir holds a run with another config, or a run that
      was computed with other settings of JAX.
    DamagedFileError: if config.json of a run is damaged.
  """
  path = workdir / _CONFIG
  # Before its first checkpoint a run may still change.
  has_started = any((workdir / "checkpoints" / "latest").glob("[0-9]*"))
  if has_started and path.exists():
    stored = read_config(workdir)
    expected = stored.pop("jax", None)
    _compare(json.loads(config.to_json()), stored, workdir)
    for name, found in _jax_settings().items():
      if expected is not None and expected.get(name) != found:
        raise errors.ConfigError(
          f"{workdir}: expected {name} {expected.get(name)!r}, found "
          f"{found!r}, which would change the results. Set the environment "
          f"variable {name.upper()} as before, or give a new --workdir."
        )


def write_config(
  config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> None:
  """Writes config.json: the config, and the settings of JAX under `jax`."""
  workdir.mkdir(parents=True, exist_ok=True)
  content = {**json.loads(config.to_json()), "jax": _jax_settings()}
  files.write_json(workdir / _CONFIG, content)


def read_config(workdir: pathlib.Path) -> dict:
  """Returns the content of config.json.

  Raises:
    FileNotFoundError: if it is absent.
    DamagedFileError: if it is damaged.
  """
  path = workdir / _CONFIG
  return files.read_json(
    path,
    "If the command has the run's own config, it can write the file again: rm "
    f"{shlex.quote(str(path))}",
  )


def _jax_settings() -> dict:
  return {name: jax.config.values[name] for name in _JAX_SETTINGS}


def check_has_checkpoint(workdir: pathlib.Path) -> None:
  """Raises NoCheckpointError if the workdir holds no trained run."""
  if not any((workdir / "checkpoints").glob("*/[0-9]*")):
    raise errors.NoCheckpointError(
      f"--workdir={workdir}: expected a trained run, found no checkpoint in "
      f"{workdir / 'checkpoints'}. Train first: leave out --mode."
    )


@contextlib.contextmanager
def lock(workdir: pathlib.Path) -> Iterator[None]:
  """Locks the workdir, in the first process, against other runs.

  Raises:
    FolderInUseError: if another run uses it; names its process.
  """
  with contextlib.ExitStack() as stack:
    processes.on_first(lambda: stack.enter_context(files.lock(workdir)))
    yield


def results_folder(workdir: pathlib.Path) -> pathlib.Path:
  """Returns the folder for results of a run that is not trained further.

  It is the workdir, or a folder of the working directory if the workdir is
  read-only.
  """
  if os.access(workdir, os.W_OK):
    return workdir
  folder = pathlib.Path(f"{workdir.absolute().name}_results")
  folder.mkdir(exist_ok=True)
  print(f"{workdir} is read-only: results are written to {folder}.", flush=True)
  return folder


def _compare(found: dict, expected: dict, workdir: pathlib.Path) -> None:
  found, expected = flatten(found), flatten(expected)
  lines = [
    f"  {name}: expected {expected.get(name)!r}, found {found.get(name)!r}"
    for name in sorted({**found, **expected})
    if found.get(name) != expected.get(name)
    and not name.startswith(_MAY_CHANGE)
  ]
  if lines:
    raise errors.ConfigError(
      f"{workdir} holds a run with another config:\n" + "\n".join(lines) + "\n"
      "Give a new --workdir, or the run's own config to resume it."
    )


def flatten(tree: dict) -> dict:
  """Returns the leaves of a config's JSON by their dotted names."""
  return traverse_util.flatten_dict(tree, sep=".")
