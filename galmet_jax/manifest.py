"""The manifest of a checkpoint: dtype, shape and SHA-256 of every leaf."""

import hashlib
import pathlib
from typing import Any

import jax
import numpy as np

from galmet_jax import errors
from galmet_jax.train_state import TrainState
from tfds_sdss import files

# Leaf path -> `sha256`, and `kind`: dtype and shape.
Leaves = dict[str, dict[str, str]]

# Parts of a state that predictions depend on.
VARIABLES = ("params", "batch_stats")


def digests(state: TrainState) -> dict[str, str]:
  """Returns the SHA-256 of every leaf, by its path."""
  return {
    path: _sha256(leaf) for path, leaf in _leaves(jax.device_get(state)).items()
  }


def make(state: TrainState, progress: dict[str, Any]) -> dict[str, Any]:
  """Returns the manifest of a state, with a digest of itself.

  Args:
    state: state to describe.
    progress: JSON object to store in the manifest.
  """
  found, kinds = digests(state), _kinds(state)
  content = {
    "leaves": {
      path: {"sha256": found[path], "kind": kinds[path]} for path in found
    },
    "progress": progress,
  }
  return {**content, "sha256": files.digest(content)}


def read(path: pathlib.Path) -> tuple[Leaves, dict[str, Any]]:
  """Returns the leaves and the progress in the file of a manifest.

  Raises:
    FileNotFoundError: if the file is absent.
    DamagedFileError: if it is not a manifest.
  """
  content = files.read_json(path, "")
  try:
    if "leaves" not in content:
      # Version 0.1 stored digests by path, without a kind.
      leaves = {name: {"sha256": value} for name, value in content.items()}
      if ".step" not in leaves:
        raise KeyError(".step")
      return leaves, {}
    return content["leaves"], content["progress"]
  except KeyError as error:
    raise files.DamagedFileError(f"{path} has no {error}") from error


def of_variables(variables: dict[str, Any]) -> dict[str, str]:
  """Returns the SHA-256 of the arrays of `VARIABLES`, by path in a state."""
  return {
    f".{name}{jax.tree_util.keystr(path)}": _sha256(leaf)
    for name, tree in variables.items()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def read_variables(path: pathlib.Path) -> dict[str, str]:
  """Returns what `of_variables` found for the state of a manifest's file.

  Raises the same as `read`.
  """
  starts = tuple(f".{name}" for name in VARIABLES)
  leaves, _ = read(path)
  return {
    name: leaf["sha256"]
    for name, leaf in leaves.items()
    if name.startswith(starts)
  }


def differing(state: TrainState, leaves: Leaves) -> list[str]:
  """Returns the paths of the leaves that do not have their digest."""
  found = digests(state)
  return [
    path
    for path in sorted({*found, *leaves})
    if found.get(path) != leaves.get(path, {}).get("sha256")
  ]


def check_fit(
  folder: pathlib.Path, leaves: Leaves, template: TrainState
) -> None:
  """Raises ConfigError unless the leaves are those of `template`.

  Args:
    folder: the checkpoint, for the error message.
    leaves: its leaves.
    template: arrays or abstract arrays.
  """
  expected = _kinds(template)
  found = {path: leaf.get("kind", "any") for path, leaf in leaves.items()}
  lines = [
    f"  {path}: expected {expected.get(path)}, found {found.get(path)}"
    for path in sorted({*expected, *found})
    if path not in expected
    or path not in found
    or found[path] not in ("any", expected[path])
  ]
  if lines:
    more = [f"  and {len(lines) - 5} more"] * (len(lines) > 5)
    text = "\n".join([*lines[:5], *more])
    raise errors.ConfigError(
      f"{folder} is a checkpoint of another network or optimizer:\n{text}\n"
      "Nothing was changed. Use the run's own config, or another --workdir."
    )


def _sha256(leaf: Any) -> str:
  return hashlib.sha256(np.ascontiguousarray(leaf).tobytes()).hexdigest()


def _leaves(state: TrainState) -> dict[str, Any]:
  return {
    jax.tree_util.keystr(path): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(state)
  }


def _kinds(state: TrainState) -> dict[str, str]:
  return {
    path: f"{leaf.dtype} {list(leaf.shape)}"
    for path, leaf in _leaves(state).items()
  }
