"""The networks of a trained run or ensemble, without its training data."""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

import jax
import ml_collections
import numpy as np

from galmet_jax import checkpoints
from galmet_jax import disk_errors
from galmet_jax import errors
from galmet_jax import evaluate
from galmet_jax import workdir as workdir_lib
from galmet_jax.calibration import of_run
from galmet_jax.data import augment
from galmet_jax.data import galaxies
from galmet_jax.data import placement
from galmet_jax.devices import sharding
from galmet_jax.models import network
from galmet_jax.models import resnet
from tfds_sdss import files


@dataclasses.dataclass(frozen=True)
class Networks:
  """Networks that differ in their weights only.

  Attributes:
    config: the config of a member, with the views that are calibrated.
    config_digest: SHA-256 of the config.json of all members.
    variables: of each member, on the devices.
    model: the network without its weights.
    frame: the crop, resolution and bands that it sees.
    eval_step: see `evaluate.make_eval_step`.
    mesh: the devices.
  """

  config: ml_collections.ConfigDict
  config_digest: str
  variables: tuple[Any, ...]
  model: resnet.ResNet
  frame: augment.Frame
  eval_step: Any
  mesh: jax.sharding.Mesh

  @classmethod
  def load(cls, folder: pathlib.Path, facts: Mapping[str, Any]) -> "Networks":
    """Reads the checkpoints that a calibration is bound to.

    Args:
      folder: of the run or the ensemble; nothing is changed there.
      facts: of the calibration.

    Raises:
      ConfigError, CheckpointError, NoCheckpointError, DamagedFileError: if
        they are absent, damaged or others.
    """
    workdir_lib.check_jax()
    steps = facts.get("members", {"": facts["step"]})
    contents = [_read_config(folder / name) for name in steps]
    if workdir_lib.has_other_jax_settings(contents[0]):
      raise errors.ConfigError(
        f"{folder} was trained with other settings of JAX "
        f"({contents[0]['jax']}), which change its predictions. Set these "
        "JAX_* environment variables."
      )
    mesh = sharding.make_mesh()
    config = _to_config(contents[0], facts)
    # Every device gets a part of a batch.
    size, devices = config.eval.batch_size, mesh.size
    config.eval.batch_size = -(-size // devices) * devices
    model = network.from_config(
      config.model, len(config.data.targets), mesh.size
    )
    found_variables = [
      _read_variables(folder / name / "checkpoints" / facts["which"], step)
      for name, step in steps.items()
    ]
    digests = [of_run.checkpoint_digest(each) for each in found_variables]
    found = of_run.join_digests(digests, ensemble="members" in facts)
    if found != facts["checkpoint"]:
      raise errors.ConfigError(
        f"{folder}: expected the checkpoint that was calibrated (step "
        f"{facts['step']}), found another one. Calibrate it: python main.py "
        "--mode=evaluate, or ensemble, with the run's flags."
      )
    frame = augment.make_frame(config.data, config.eval.bands)
    return cls(
      config=config,
      config_digest=files.digest({"members": contents}),
      variables=tuple(
        sharding.replicate(each, mesh) for each in found_variables
      ),
      model=model,
      frame=frame,
      eval_step=evaluate.make_eval_step(model, frame, mesh),
      mesh=mesh,
    )

  def predict(self, images: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Predicts images from all views.

    Args:
      images: uint8 `[N, S, S, 3]`.
      ids: int64 `[N]`, which choose the random views.

    Returns:
      float32 `[M, V, N, T]` for M members and V views.
    """
    split = galaxies.Split(
      objid=ids,
      images=images,
      targets=np.zeros((len(ids), len(self.config.data.targets)), np.float32),
      columns={},
    )
    data = placement.OnHost(
      split, self.mesh, self.config.seed, self.config.eval.batch_size
    )
    return np.stack(
      [
        evaluate.predict(
          *(self.eval_step, variables, data, self.config),
          tta=self.config.eval.tta,
        )
        for variables in self.variables
      ]
    )


def _read_variables(folder: pathlib.Path, step: int) -> dict[str, Any]:
  store = checkpoints.Checkpoints(folder, keep=2, read_only=True)
  if step not in store.steps():
    raise errors.NoCheckpointError(
      f"{folder}: expected the checkpoint that was calibrated, of step {step}, "
      f"found those of steps {store.steps()}. Copy the whole folder of the "
      "run, or calibrate again: python main.py --mode=evaluate, or ensemble, "
      "with the run's flags."
    )
  try:
    return store.read_variables(step)
  except disk_errors.DamagedError as error:
    raise errors.CheckpointError(
      f"{folder / str(step)} is damaged: {error}. Restore the folder of the "
      "run from a copy."
    ) from error


def _read_config(folder: pathlib.Path) -> dict[str, Any]:
  try:
    return workdir_lib.read_config(folder)
  except FileNotFoundError as error:
    raise errors.ConfigError(
      f"{folder}: expected the config.json of a run, found none. Copy the "
      "whole folder of the run."
    ) from error


def _to_config(
  content: dict[str, Any], facts: Mapping[str, Any]
) -> ml_collections.ConfigDict:
  """Returns the config of config.json, with the views that are calibrated."""
  added = ("jax", "galaxies", "first_weights")
  own = {name: value for name, value in content.items() if name not in added}
  return ml_collections.ConfigDict(_tuples({**own, "eval": facts["eval"]}))


def _tuples(value: Any) -> Any:
  """Replaces the lists of JSON by the tuples of configs."""
  if isinstance(value, dict):
    return {key: _tuples(each) for key, each in value.items()}
  return tuple(map(_tuples, value)) if isinstance(value, list) else value
