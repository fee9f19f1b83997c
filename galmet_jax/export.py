"""Export of a run's weights in torchvision's layout (`--mode=export`)."""

import pathlib

import ml_collections

from galmet_jax import errors
from galmet_jax import workdir as workdir_lib
from galmet_jax.devices import processes
from galmet_jax.models import pretrained
from galmet_jax.run import Run


def export(
  config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> pathlib.Path:
  """Writes the weights that `eval.checkpoint` selects to weights.safetensors.

  Returns:
    The path of the file; `pretrained.to_torchvision` documents its names.

  Raises:
    ConfigError: for a network that torchvision does not have.
    NoCheckpointError: if there is no checkpoint.
  """
  if config.model.network != "resnet":
    raise errors.ConfigError(
      f"model.network is {config.model.network!r}, which torchvision does not "
      "have; expected resnet. Export a run of such a network."
    )
  workdir_lib.check_has_checkpoint(workdir)
  run = Run.prepare(config, workdir, read_only=True)
  state = run.trained_state()
  path = run.results / "weights.safetensors"
  processes.on_first(lambda: pretrained.save(state.variables, path))
  print(f"Wrote the weights of step {int(state.step)} to {path}.")
  return path
