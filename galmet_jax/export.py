"""The weights of a run in torchvision's layout (`--mode=export`)."""

import pathlib

import ml_collections

from galmet_jax import errors
from galmet_jax.devices import processes
from galmet_jax.models import pretrained
from galmet_jax.run import Run


def export(
  config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> pathlib.Path:
  """Writes weights.safetensors beside the run's other files.

  Args:
    config: the run's config; `eval.checkpoint` says which weights.
    workdir: the run's directory.

  Returns:
    The file; `pretrained.to_torchvision` tells its names.

  Raises:
    ConfigError: for a network that torchvision does not have.
    NoCheckpointError: if nothing was trained.
  """
  if config.model.network != "resnet":
    raise errors.ConfigError(
      f"model.network is {config.model.network!r}, which torchvision does not "
      "have; expected resnet."
    )
  state = Run.prepare(config, workdir).trained_state()
  path = workdir / "weights.safetensors"
  processes.on_first(lambda: pretrained.save(state.variables, path))
  print(f"Step {int(state.step)} written to {path}.")
  return path
