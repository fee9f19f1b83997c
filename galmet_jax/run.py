"""What every mode needs before it starts: data, network, phases, places."""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import json
import pathlib
import time

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from galmet_jax import checkpoints
from galmet_jax import errors
from galmet_jax import evaluate
from galmet_jax import optimizers
from galmet_jax import train_state
from galmet_jax import train_step
from galmet_jax import workdir as workdir_lib
from galmet_jax.data import augment
from galmet_jax.data import batches
from galmet_jax.data import dataset
from galmet_jax.data import galaxies
from galmet_jax.data import placement
from galmet_jax.devices import compilation
from galmet_jax.devices import processes
from galmet_jax.devices import sharding
from galmet_jax.models import network
from galmet_jax.models import pretrained
from galmet_jax.models import resnet


@dataclasses.dataclass(frozen=True)
class Run:
  """A config bound to its data, devices and directory.

  Attributes:
    config: the whole config.
    workdir: where the run's files go.
    mesh: the devices.
    splits: the decoded splits, by name.
    data_seconds: time it took to find (or build) and decode them.
    steps_per_epoch: steps in an epoch.
    phases: the recipe's phases.
    model: the network.
    data: where the splits' images lie, by name.
    validation_step: the evaluation step during training, compiled when it is
      first called.
    eval_step: that of the report, which may show other bands.
  """

  config: ml_collections.ConfigDict
  workdir: pathlib.Path
  mesh: jax.sharding.Mesh
  splits: Mapping[str, galaxies.Split]
  data_seconds: float
  steps_per_epoch: int
  phases: tuple[optimizers.Phase, ...]
  model: network.Network
  data: Mapping[str, placement.Placement]
  validation_step: Callable
  eval_step: Callable

  @classmethod
  def prepare(
    cls, config: ml_collections.ConfigDict, workdir: pathlib.Path
  ) -> "Run":
    """Reads the data and checks the config before anything is computed.

    Args:
      config: the whole config.
      workdir: made if need be; config.json is written there.

    Returns:
      The run, ready to be trained or evaluated.

    Raises:
      ConfigError: if the workdir belongs to another config, for a batch that
        the devices cannot share, an unknown block, schedule or layer group, or
        if the config or the data differ between processes.
      tfds_sdss.DataError: for data that cannot be used.
      FileNotFoundError: for a data set that is not there; says how to get it.
    """
    mesh = sharding.make_mesh()
    for name in ("train.batch_size", "eval.batch_size"):
      block, field = name.split(".")
      sharding.check_batch_size(name, config[block][field], mesh)
    optimizers.group_of_module(config.optim.groups, resnet.MODULES)
    frame = augment.make_frame(config.data)
    reported = augment.make_frame(config.data, config.eval.bands)
    started = time.perf_counter()
    cache = compilation.directory(config.cache_dir)
    compilation.keep_compiled(cache)
    data = dataset.load(config, cache)
    data_seconds = time.perf_counter() - started
    steps_per_epoch = batches.steps_per_epoch(
      len(data["train"]), config.train.batch_size
    )
    model = network.from_config(
      config.model, len(config.data.targets), mesh.size
    )
    validation_step = evaluate.make_eval_step(model, frame, mesh)
    run = cls(
      config=config,
      workdir=workdir,
      mesh=mesh,
      splits=data,
      data_seconds=data_seconds,
      steps_per_epoch=steps_per_epoch,
      phases=optimizers.make_phases(config.optim, steps_per_epoch),
      model=model,
      data=placement.make(data, config, mesh),
      validation_step=validation_step,
      # The same one where it can be: it is compiled once.
      eval_step=(
        validation_step
        if reported == frame
        else evaluate.make_eval_step(model, reported, mesh)
      ),
    )
    workdir_lib.check_in_all_processes(config, data)
    processes.on_first(lambda: workdir_lib.check(config, workdir))
    return run

  @property
  def num_steps(self) -> int:
    """Steps in all."""
    return self.phases[-1].end

  @property
  def groups(self) -> tuple[str, ...]:
    """Layer groups from stem to head; a ConfigDict is in alphabetical order."""
    group_of = optimizers.group_of_module(
      self.config.optim.groups, resnet.MODULES
    )
    return tuple(dict.fromkeys(group_of.values()))

  @property
  def views_per_step(self) -> int:
    """Images that the network sees in a training step."""
    train = self.config.train
    return train.batch_size * train.views_per_image

  def initial_state(self) -> train_state.TrainState:
    """Returns the state before the first step, on the devices.

    Raises:
      ConfigError: if there are no such pretrained weights, or of another
        network, or if they differ between processes.
    """
    means = np.nanmean(self.splits["train"].targets, axis=0)
    state = train_state.create(
      self.model, self.config, self.phases[0], jnp.asarray(means)
    )
    if self.config.model.pretrained:
      # A download is made by the first, and found by those of the same host.
      filled = processes.first_then_others(
        lambda: pretrained.load(self.config.model.pretrained, state.variables)
      )
      state = dataclasses.replace(state, **filled)
    digests = json.dumps(checkpoints.digests(state))
    processes.assert_equal_across_processes(
      "the initial weights", digests.encode()
    )
    # The optimiser starts from the weights as they are now.
    return self.start_phase(state, self.phases[0])

  def trained_state(self) -> train_state.TrainState:
    """Restores the checkpoint that `eval.checkpoint` names.

    Raises:
      NoCheckpointError: if there is none.
    """
    directory = self.workdir / "checkpoints" / self.config.eval.checkpoint
    state = checkpoints.Checkpoints(directory, keep=2).restore(
      self.abstract_state
    )
    if state is None:
      raise errors.NoCheckpointError(
        f"expected a checkpoint in {directory}, found none. Train first: leave "
        "out --mode."
      )
    return state

  def abstract_state(self, step: int) -> train_state.TrainState:
    """Returns shapes, dtypes and shardings of the state after `step` steps."""
    # At a border between phases the optimiser is still that of the first.
    phase = optimizers.phase_at(self.phases, max(step - 1, 0))
    means = jnp.zeros(len(self.config.data.targets))
    abstract = jax.eval_shape(
      lambda: train_state.create(self.model, self.config, phase, means)
    )
    everywhere = sharding.replicated(self.mesh)
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere),
      abstract,
    )

  def start_phase(
    self, state: train_state.TrainState, phase: optimizers.Phase
  ) -> train_state.TrainState:
    """Gives the state the optimiser of a phase."""
    state = train_state.start_phase(state, self.config.optim, phase)
    return sharding.replicate(jax.device_get(state), self.mesh)

  def compile_train_step(
    self, state: train_state.TrainState, phase: optimizers.Phase
  ) -> Callable:
    """Compiles the training step of a phase."""
    return train_step.compile_train_step(
      state,
      self.data["train"],
      self.mesh,
      model=self.model,
      tx=optimizers.make_optimizer(self.config.optim, phase),
      phase=phase,
      config=self.config,
    )
