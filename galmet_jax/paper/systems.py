"""The systems of a reproduction: the config of each run."""

import copy
import pathlib

import ml_collections

from galmet_jax import errors
from galmet_jax import first_weights

# A system that starts from the weights of another: system:NAME.
_SYSTEM = "system:"


def folders(config: ml_collections.ConfigDict, name: str) -> list[str]:
  """Returns the names of a system's folders, one for each seed."""
  block = config.reproduce
  seeds = 1 if name in block.ensembles else block.seeds
  return [name, *(f"{name}_seed_{i}" for i in range(1, seeds))]


def configs_of(
  config: ml_collections.ConfigDict, runs: pathlib.Path
) -> dict[str, ml_collections.ConfigDict]:
  """Returns the config of each run by the name of its folder.

  They are in training order: all systems of the first seed come first.

  Args:
    config: see `reproduce.reproduce`.
    runs: folder of the runs.

  Raises:
    ConfigError: if a system has no entry in `reproduce.changes`, or starts from
      an unknown source.
  """
  block = config.reproduce
  configs = {}
  for i in range(block.seeds):
    for name in (*block.sources, *block.runs):
      folder = folders(config, name)[i]
      configs[folder] = _system_config(config, name)
      configs[folder].seed += i
      source = configs[folder].model.pretrained
      if source.startswith(_SYSTEM):
        source = source.removeprefix(_SYSTEM)
        if source not in block.sources:
          raise errors.ConfigError(
            f"system {name} starts from {source}; expected one of the sources "
            f"({', '.join(block.sources)})."
          )
        place = runs / folders(config, source)[i]
        configs[folder].model.pretrained = f"{first_weights.PREFIX}{place}"
  for name in block.ensembles:
    configs[name] = _system_config(config, name)
    configs[name].eval.splits = ("validation", "test")
  return configs


def _system_config(
  config: ml_collections.ConfigDict, name: str
) -> ml_collections.ConfigDict:
  if name not in config.reproduce.changes:
    raise errors.ConfigError(
      f"reproduce.changes has no {name!r}; expected one of "
      f"{', '.join(config.reproduce.changes)}."
    )
  changed = common_config(config)
  changed.update(config.reproduce.changes[name])
  return changed


def common_config(
  config: ml_collections.ConfigDict,
) -> ml_collections.ConfigDict:
  """Copies a config without its block `reproduce`."""
  common = copy.deepcopy(config)
  with common.unlocked():
    del common.reproduce
  return common
