"""One config and one data set, in all processes and all starts of a run."""

from collections.abc import Mapping
import json
import pathlib

import ml_collections

from galmet_jax import errors
from galmet_jax.data import galaxies
from galmet_jax.devices import processes

# Fields that change no number of the training: a run may go on with others.
_MAY_DIFFER = (
  "cache_dir",
  "eval.",
  "data.data_dir",
  "data.manual_dir",
  "data.placement",
  "train.log_every_steps",
  "train.checkpoint_every_steps",
)
# Those that may differ between the processes of a run.
_OF_A_PROCESS = ("cache_dir", "data.data_dir", "data.manual_dir")


def check_in_all_processes(
  config: ml_collections.ConfigDict, data: Mapping[str, galaxies.Split]
) -> None:
  """Raises ConfigError if processes have other configs or galaxies."""
  fields = {
    name: value
    for name, value in flat(json.loads(config.to_json())).items()
    if name not in _OF_A_PROCESS
  }
  processes.assert_equal_across_processes(
    "the config", json.dumps(fields).encode()
  )
  for name, split in data.items():
    content = split.objid.tobytes() + split.targets.tobytes()
    processes.assert_equal_across_processes(f"the {name} split", content)


def check(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Writes config.json, or compares with the one that is there.

  Raises:
    ConfigError: if the workdir belongs to another config.
  """
  path = workdir / "config.json"
  ours = json.loads(config.to_json())
  # Before the first checkpoint, as after a range test, there is no run yet.
  begun = any((workdir / "checkpoints" / "latest").glob("[0-9]*"))
  if not (begun and path.exists()):
    workdir.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(ours, indent=2) + "\n")
    return
  found, expected = flat(ours), flat(json.loads(path.read_text()))
  differing = sorted(
    name
    for name in {**found, **expected}
    if found.get(name) != expected.get(name)
    and not name.startswith(_MAY_DIFFER)
  )
  if differing:
    lines = [
      f"  {name}: there {expected.get(name)!r}, now {found.get(name)!r}"
      for name in differing
    ]
    raise errors.ConfigError(
      f"{workdir} holds a run with another config:\n" + "\n".join(lines) + "\n"
      "Give a new --workdir, or the same config to go on."
    )
  path.write_text(json.dumps(ours, indent=2) + "\n")


def flat(tree: dict, prefix: str = "") -> dict:
  """Names the leaves of a config's JSON by their full names."""
  leaves: dict = {}
  for name, value in tree.items():
    if isinstance(value, dict):
      leaves.update(flat(value, f"{prefix}{name}."))
    else:
      leaves[f"{prefix}{name}"] = value
  return leaves
