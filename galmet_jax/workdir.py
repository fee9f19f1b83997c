"""Checks that a run keeps its config and data over processes and restarts."""

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import hashlib
import json
import os
import pathlib
import shlex
import tempfile
from typing import Any

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
# Values that runs from before these fields had.
_FORMER_VALUES = {"augment.symmetries": True}
_CONFIG = "config.json"
_FIRST_WEIGHTS = "first_weights"
# Fields that may differ between the processes of a run.
_PER_PROCESS = ("cache_dir", "data.data_dir", "data.manual_dir")


def describe(
  config: ml_collections.ConfigDict,
  data: Mapping[str, galaxies.Split],
  first_weights: str | None = None,
) -> dict[str, Any]:
  """Returns all that determines a run, as JSON.

  It is the config, the settings of JAX under `jax`, digests of the splits under
  `galaxies` and, if the run starts from another, the digest of that one's
  weights as `first_weights`.
  """
  content = {
    **json.loads(config.to_json()),
    "jax": _jax_settings(),
    "galaxies": {name: _digest(split) for name, split in data.items()},
  }
  if first_weights:
    content[_FIRST_WEIGHTS] = first_weights
  return content


def _digest(split: galaxies.Split) -> str:
  """Returns the SHA-256 of the objids, targets and up to 1,000 images."""
  digest = hashlib.sha256(split.objid.tobytes())
  digest.update(split.targets.tobytes())
  for image in split.images[:: 1 + len(split) // 1000]:
    digest.update(image.tobytes())
  return digest.hexdigest()


def fixed_fields(content: dict[str, Any]) -> dict[str, Any]:
  """Returns the fields of `describe` that affect training, by dotted names."""
  return {
    name: value
    for name, value in flatten(content).items()
    if not name.startswith(_MAY_CHANGE)
  }


def check_in_all_processes(content: dict[str, Any]) -> None:
  """Raises ConfigError if the config or the data differ between processes."""
  fields = {
    name: value
    for name, value in flatten(content).items()
    if name not in _PER_PROCESS
  }
  for name in content["galaxies"]:
    digest = fields.pop(f"galaxies.{name}").encode()
    processes.assert_equal_across_processes(f"the {name} split", digest)
  processes.assert_equal_across_processes(
    "the config", json.dumps(fields).encode()
  )


def check_jax() -> None:
  """Raises ConfigError for settings of JAX that are not supported."""
  for name, expected in (
    ("jax_enable_x64", False),
    ("jax_numpy_dtype_promotion", "standard"),
    ("jax_disable_jit", False),
  ):
    found = jax.config.values[name]
    if found != expected:
      raise errors.ConfigError(
        f"{name} is {found}; expected {expected}, the only value with which "
        "training is defined and tested. Run: env -u "
        f"{name.upper()} python main.py ..."
      )


def check(content: dict[str, Any], workdir: pathlib.Path) -> None:
  """Compares a run with the one of an earlier start.

  Args:
    content: see `describe`.
    workdir: directory of the run.

  Raises:
    ConfigError: if the workdir holds a run with another config, other galaxies
      or other settings of JAX.
    DamagedFileError: if config.json of a run is damaged.
  """
  # Before its first checkpoint a run may still change.
  if _has_checkpoint(workdir) and (workdir / _CONFIG).exists():
    stored = fixed_fields(read_config(workdir))
    compare(fixed_fields(content), stored, workdir)


def compare(
  found: dict[str, Any], expected: dict[str, Any], workdir: pathlib.Path
) -> None:
  """Raises ConfigError if the `fixed_fields` of two runs differ."""
  former = {name: x for name, x in _FORMER_VALUES.items() if name in found}
  expected = {**former, **expected}
  # Version 0.1 stored the config only.
  known = {name.partition(".")[0] for name in expected}
  lines = [
    f"  {name}: expected {expected.get(name)!r}, found {found.get(name)!r}"
    for name in sorted({**found, **expected})
    if found.get(name) != expected.get(name)
    and not (name.startswith(("jax.", "galaxies.")) and not known & {"jax"})
  ]
  if lines:
    weights = ""
    if found.get(_FIRST_WEIGHTS) != expected.get(_FIRST_WEIGHTS):
      weights = (
        f" {_FIRST_WEIGHTS}: the run that it started from has changed since."
      )
    raise errors.ConfigError(
      f"{workdir} holds a run with another config:\n" + "\n".join(lines) + "\n"
      "Give a new --workdir, or resume the run with its own config, galaxies "
      f"(galaxies.*) and JAX_* environment variables (jax.*).{weights}"
    )


def write_config(content: dict[str, Any], workdir: pathlib.Path) -> None:
  """Writes the content of `describe` to config.json."""
  workdir.mkdir(parents=True, exist_ok=True)
  files.write_json(workdir / _CONFIG, content)


def read_config(workdir: pathlib.Path) -> dict[str, Any]:
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


def stored_first_weights(workdir: pathlib.Path) -> str | None:
  """Returns `first_weights` of a run that has checkpoints; None without."""
  if not _has_checkpoint(workdir):
    return None
  try:
    return read_config(workdir).get(_FIRST_WEIGHTS)
  except FileNotFoundError:
    return None


def has_other_jax_settings(content: dict[str, Any]) -> bool:
  """Whether a run was computed with other settings of JAX."""
  return content.get("jax", _jax_settings()) != _jax_settings()


def _jax_settings() -> dict[str, Any]:
  return {name: jax.config.values[name] for name in _JAX_SETTINGS}


def check_kind(workdir: pathlib.Path, kind: str) -> None:
  """Raises ConfigError if the workdir holds results of another kind.

  Args:
    workdir: directory of the results.
    kind: `run`, `ensemble` or `reproduction`.
  """
  marks = {
    "run": "checkpoints",
    "ensemble": "fold_0",
    "reproduction": "paper_table.csv",
  }
  for found, mark in marks.items():
    if found != kind and (workdir / mark).exists():
      raise errors.ConfigError(
        f"--workdir={workdir}: expected a new folder or that of a {kind}, "
        f"found one of a {found} ({mark}), whose results would be overwritten. "
        "Give another --workdir."
      )


def _has_checkpoint(workdir: pathlib.Path) -> bool:
  return any(
    ".orbax-checkpoint-tmp" not in path.name
    for path in (workdir / "checkpoints").glob("*/[0-9]*")
  )


def check_writable(workdir: pathlib.Path) -> None:
  """Raises ConfigError unless files can be written to the workdir's folders."""
  for folder in (workdir, workdir / "figures", workdir / "tensorboard"):
    try:
      folder.mkdir(parents=True, exist_ok=True)
      with tempfile.TemporaryFile(dir=folder):
        pass
    except OSError as error:
      raise errors.ConfigError(
        f"--workdir={workdir}: expected a folder that can be written, found "
        f"{files.describe(error)}"
      ) from error


def check_has_checkpoint(workdir: pathlib.Path) -> None:
  """Raises NoCheckpointError if the workdir holds no trained run."""
  if not _has_checkpoint(workdir):
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

  It is the workdir, which is created for a search of the rate, or a folder of
  the working directory if the workdir is read-only.
  """
  with contextlib.suppress(OSError):
    workdir.mkdir(parents=True, exist_ok=True)
  if os.access(workdir, os.W_OK):
    return workdir
  path = workdir.absolute()
  # Runs of the same name in different folders have different results.
  digest = hashlib.sha256(str(path.parent).encode()).hexdigest()[:6]
  folder = pathlib.Path(f"{path.name}_results_{digest}")
  folder.mkdir(exist_ok=True)
  print(f"{workdir} is read-only: results are written to {folder}.", flush=True)
  return folder


def flatten(tree: dict) -> dict:
  """Returns the leaves of a config's JSON by their dotted names."""
  return traverse_util.flatten_dict(tree, sep=".")
