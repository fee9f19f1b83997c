"""A config bound to its data, devices and workdir: the start of every mode."""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import json
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from galmet_jax import checkpoints
from galmet_jax import config_checks
from galmet_jax import errors
from galmet_jax import evaluate
from galmet_jax import first_weights
from galmet_jax import manifest
from galmet_jax import optimizers
from galmet_jax import train_state
from galmet_jax import workdir as workdir_lib
from galmet_jax.baselines import on_features
from galmet_jax.data import augment
from galmet_jax.data import batches
from galmet_jax.data import dataset
from galmet_jax.data import placement
from galmet_jax.devices import compilation
from galmet_jax.devices import processes
from galmet_jax.devices import sharding
from galmet_jax.models import network
from galmet_jax.models import pretrained
from galmet_jax.models import resnet


@dataclasses.dataclass(frozen=True)
class Run:
  """Everything that training and evaluation need before they start.

  Attributes:
    config: the whole config.
    workdir: directory of the run's files.
    fields: all that determines training; stored in each checkpoint.
    mesh: the devices.
    data: the splits and the placement of their images, by name.
    data_seconds: time taken to find (or build) and decode the splits.
    steps_per_epoch: steps in an epoch.
    phases: phases of the recipe, in order.
    groups: layer groups from stem to head.
    model: the network.
    frame: crop, resolution and bands that the network is trained on.
    results: directory of predictions, summary and figures: the workdir if it
      is writable.
    latest: the latest checkpoints.
    best: the checkpoint of the epoch with the lowest validation error.
    validation_step: evaluation step during training; compiles on first call.
    eval_step: evaluation step of the report, which may use other bands.
  """

  config: ml_collections.ConfigDict
  workdir: pathlib.Path
  fields: Mapping[str, Any]
  mesh: jax.sharding.Mesh
  data: Mapping[str, placement.Placement]
  data_seconds: float
  steps_per_epoch: int
  phases: tuple[optimizers.Phase, ...]
  groups: tuple[str, ...]
  model: resnet.ResNet
  frame: augment.Frame
  results: pathlib.Path
  latest: checkpoints.Checkpoints
  best: checkpoints.Checkpoints
  validation_step: Callable
  eval_step: Callable

  @classmethod
  def prepare(
    cls,
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    *,
    read_only: bool = False,
  ) -> "Run":
    """Checks the config, reads the data and opens the workdir.

    Args:
      config: the whole config; see configs/resnet34.py.
      workdir: created if absent; config.json is written there.
      read_only: leave config and checkpoints of the run as they are.

    Raises:
      ConfigError: if the workdir belongs to another config, if the devices
        cannot share a batch evenly, for an unknown block, schedule or layer
        group, or if the config or the data differ between processes, or JAX
        computes in 64 bits.
      tfds_sdss.errors.DataError: if the data cannot be used.
      FileNotFoundError: if the data set is absent; names the commands that
        make it.
    """
    config_checks.check(config)
    workdir_lib.check_jax()
    mesh = sharding.make_mesh()
    for name in ("train.batch_size", "eval.batch_size"):
      block, field = name.split(".")
      sharding.check_batch_size(name, config[block][field], mesh)
    group_of = optimizers.group_of_module(config.optim.groups, resnet.MODULES)
    frame = augment.make_frame(config.data)
    eval_frame = augment.make_frame(config.data, config.eval.bands)
    started = time.perf_counter()
    compilation.use_cache(config.cache_dir)
    splits = dataset.load(config)
    data_seconds = time.perf_counter() - started
    on_features.check_weight(config.eval.gp_svr_weight, len(splits["train"]))
    steps_per_epoch = batches.steps_per_epoch(
      len(splits["train"]), config.train.batch_size
    )
    phases = optimizers.make_phases(config.optim, steps_per_epoch)
    model = network.from_config(
      config.model, len(config.data.targets), mesh.size
    )
    validation_step = evaluate.make_eval_step(model, frame, mesh)
    eval_step = validation_step
    if eval_frame != frame:
      eval_step = evaluate.make_eval_step(model, eval_frame, mesh)
    data = placement.make(splits, config, mesh)
    weights = first_weights.digest(config, workdir, read_only=read_only)
    content = workdir_lib.describe(config, splits, weights)
    workdir_lib.check_in_all_processes(content)
    processes.on_first(lambda: workdir_lib.check(content, workdir))
    if not read_only:
      processes.on_first(lambda: workdir_lib.check_writable(workdir))
      processes.on_first(lambda: workdir_lib.write_config(content, workdir))
    folder = workdir / "checkpoints"
    return cls(
      config=config,
      workdir=workdir,
      fields=workdir_lib.fixed_fields(content),
      mesh=mesh,
      data=data,
      data_seconds=data_seconds,
      steps_per_epoch=steps_per_epoch,
      phases=phases,
      groups=tuple(dict.fromkeys(group_of.values())),
      model=model,
      frame=frame,
      results=workdir_lib.results_folder(workdir) if read_only else workdir,
      # Two: if the last one is damaged, the one before it serves.
      latest=checkpoints.Checkpoints(
        folder / "latest", keep=2, read_only=read_only
      ),
      best=checkpoints.Checkpoints(
        folder / "best", keep=1, read_only=read_only
      ),
      validation_step=validation_step,
      eval_step=eval_step,
    )

  @property
  def num_steps(self) -> int:
    """Number of training steps of all phases."""
    return self.phases[-1].end

  @property
  def views_per_step(self) -> int:
    """Number of images that the network sees in a training step."""
    train = self.config.train
    return train.batch_size * train.views_per_image

  def initial_state(self) -> train_state.TrainState:
    """Returns the state before the first phase, on the devices.

    Raises:
      ConfigError: if the pretrained weights are absent or of another network,
        or if they differ between processes. For those of a run also as
        `first_weights.digest`.
    """
    means = np.nanmean(self.data["train"].split.targets, axis=0)
    state = train_state.create(
      self.model, self.config, self.frame.resolution, jnp.asarray(means)
    )
    source = self.config.model.pretrained
    if first_weights.is_run(source):
      splits = {name: data.split for name, data in self.data.items()}
      state = first_weights.load(self.config, state, splits)
    elif source:
      # The first process downloads; others on its host find the file.
      filled = processes.first_then_others(
        lambda: pretrained.load(source, state.variables)
      )
      state = dataclasses.replace(state, **filled)
    digests = json.dumps(manifest.digests(state))
    processes.assert_equal_across_processes(
      "the initial weights", digests.encode()
    )
    return sharding.replicate(jax.device_get(state), self.mesh)

  def restore(
    self, store: checkpoints.Checkpoints
  ) -> checkpoints.Restored | None:
    """Restores the newest checkpoint of this run; None if there is none.

    Raises:
      CheckpointError: if it cannot be read, or all are damaged.
      ConfigError: if it is of another network, config or data.
    """
    restored = store.restore(self.abstract_state)

    def compare() -> None:
      # Checkpoints of version 0.1 have no fields.
      if restored and "fields" in restored.progress:
        fields = restored.progress["fields"]
        workdir_lib.compare(dict(self.fields), fields, self.workdir)

    processes.on_first(compare)
    return restored

  def trained_state(self) -> train_state.TrainState:
    """Restores the checkpoint that `eval.checkpoint` names.

    Raises:
      CheckpointError: if it cannot be read.
      NoCheckpointError: if there is none.
    """
    which = self.config.eval.checkpoint
    stores = {"latest": self.latest, "best": self.best}
    restored = self.restore(stores[which])
    if restored is None:
      raise errors.NoCheckpointError(
        f"expected a checkpoint in {self.workdir}/checkpoints/{which}, found "
        "none. Train first: leave out --mode."
      )
    return restored.state

  def abstract_state(self, step: int) -> train_state.TrainState:
    """Returns shapes, dtypes and shardings of the state after `step` steps."""
    # At a phase boundary the checkpoint still holds the earlier phase's
    # optimizer.
    phase = optimizers.phase_at(self.phases, max(step - 1, 0))
    means = jnp.zeros(len(self.config.data.targets))

    def create():
      state = train_state.create(
        self.model, self.config, self.frame.resolution, means
      )
      return train_state.start_phase(state, phase)

    return sharding.abstract(jax.eval_shape(create), self.mesh)
