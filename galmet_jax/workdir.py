"""Checks that a run keeps its config and data over processes and restarts."""

from collections.abc import Mapping
import json
import pathlib

from flax import traverse_util
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


def check(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Writes config.json, or compares it with the one of an earlier start.

  Raises:
    ConfigError: if the workdir holds a run with another config.
  """
  path = workdir / "config.json"
  found = json.loads(config.to_json())
  # Before its first checkpoint a run may still change: lr_find leaves none.
  has_started = any((workdir / "checkpoints" / "latest").glob("[0-9]*"))
  if has_started and path.exists():
    _compare(found, json.loads(path.read_text()), workdir)
  workdir.mkdir(parents=True, exist_ok=True)
  text = json.dumps(found, indent=2) + "\n"
  files.write_atomically(path, text.encode())


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
