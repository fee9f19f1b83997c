"""The project's own steps as `main.py` compiles them, on random images."""

from collections.abc import Callable
import time
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from configs import resnet34
from galmet_jax import evaluate
from galmet_jax import optimizers
from galmet_jax import train_state
from galmet_jax import train_step
from galmet_jax.data import augment
from galmet_jax.data import galaxies
from galmet_jax.data import placement
from galmet_jax.devices import sharding
from galmet_jax.models import network

# Of 76,800 galaxies in batches of 64.
STEPS_PER_EPOCH = 1200


def make_config(batch: int, dtype: str) -> ml_collections.ConfigDict:
  """Returns the published recipe, from random weights.

  Args:
    batch: images in a batch.
    dtype: of the computation.
  """
  config = resnet34.get_config("as_published")
  config.model.pretrained = ""
  config.model.dtype = dtype
  config.data.placement = "device"
  config.train.batch_size = batch
  return config


def random_split(number: int, side: int) -> galaxies.Split:
  """Makes a split of `number` images of `side` pixels, all noise."""
  rng = np.random.default_rng(0)
  return galaxies.Split(
    objid=np.arange(number),
    images=rng.integers(0, 256, (number, side, side, 3), np.uint8),
    targets=rng.normal(9, 0.2, (number, 1)).astype(np.float32),
    columns={},
  )


def place(
  split: galaxies.Split,
  config: ml_collections.ConfigDict,
  mesh: jax.sharding.Mesh,
) -> placement.Placement:
  """Puts a split where training reads it from."""
  data = placement.make({"split": split}, config, mesh)["split"]
  # Nothing is sent before it is asked for.
  jax.block_until_ready(data.batch(0))
  return data


class Training:
  """A phase of training that can be advanced by some steps.

  Attributes:
    config: the whole config.
    data: the images, placed.
    state: after the last step.
    compile_s: seconds to trace, lower and compile the step.
    compiled: the step.
  """

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    mesh: jax.sharding.Mesh,
    phase: str = "all_sgdr",
    data: placement.Placement | None = None,
    state: train_state.TrainState | None = None,
  ):
    """Compiles the step.

    Args:
      config: the whole config.
      mesh: the devices.
      phase: name of one of the recipe's phases.
      data: the images, placed; None: random ones, two batches at least.
      state: at the start of the phase, with weights to go on from; None: a
        fresh network's.
    """
    self.config = config
    if data is None:
      number = max(256, 2 * config.train.batch_size)
      data = place(random_split(number, config.data.crop), config, mesh)
    self.data = data
    phases = optimizers.make_phases(config.optim, STEPS_PER_EPOCH)
    self.phase = next(each for each in phases if each.name == phase)
    self._mesh = mesh
    self._model = network.from_config(config.model, 1)
    if state is None:
      state = train_state.create(
        self._model, config, config.data.crop, jnp.full(1, 9.0)
      )
    state = train_state.start_phase(state, self.phase)
    self.state = jax.device_put(state, sharding.replicated(mesh))
    self.compile()

  @property
  def views(self) -> int:
    """Images that the network sees in a step."""
    return self.config.train.batch_size * self.config.train.views_per_image

  def compile(self) -> None:
    """Compiles the step, anew if need be."""
    begun = time.perf_counter()
    self.compiled: Any = train_step.compile_train_step(
      self.state,
      self.data,
      self._mesh,
      model=self._model,
      phase=self.phase,
      frame=augment.make_frame(self.config.data),
      config=self.config,
    )
    self.compile_s = time.perf_counter() - begun

  def run(self, steps: int) -> float:
    """Makes some steps; returns the seconds that they took."""
    begun = time.perf_counter()
    for i in range(steps):
      self.state, _ = self.compiled(self.state, self.data.batch(i))
    jax.block_until_ready(self.state)
    return time.perf_counter() - begun

  @property
  def temp_bytes_per_image(self) -> int:
    """Memory that the step takes beside what it is given, per view."""
    return self.compiled.memory_analysis().temp_size_in_bytes // self.views

  @property
  def moved_bytes_per_image(self) -> float:
    """What XLA says that the step reads and writes, per view."""
    return self.compiled.cost_analysis()["bytes accessed"] / self.views


def evaluation(
  training: Training, mesh: jax.sharding.Mesh
) -> Callable[[int], float]:
  """Makes what evaluates a batch some times and returns the seconds.

  Args:
    training: gives the network, its variables and the size of a batch.
    mesh: the devices.
  """
  config = training.config
  batch = training.views
  side = config.data.crop
  packed = augment.pack(random_split(batch, side).images)
  images, views = jax.device_put(
    (packed, augment.plain_views(batch)), sharding.batch_sharding(mesh)
  )
  step = make_eval_step(config, mesh)
  # Its own, for training gives its away.
  variables = jax.tree.map(jnp.copy, training.state.variables)

  def run(steps: int) -> float:
    begun = time.perf_counter()
    for _ in range(steps):
      predictions = step(variables, images, views)
    jax.block_until_ready(predictions)
    return time.perf_counter() - begun

  return run


def make_eval_step(
  config: ml_collections.ConfigDict, mesh: jax.sharding.Mesh
) -> Callable:
  """Makes the step of the config's network."""
  model = network.from_config(config.model, 1)
  return evaluate.make_eval_step(model, augment.make_frame(config.data), mesh)


def tta_seconds(
  config: ml_collections.ConfigDict,
  variables: Any,
  data: placement.Placement,
  eval_step: Callable,
) -> float:
  """Predicts a split from five views of each galaxy; returns the seconds."""
  begun = time.perf_counter()
  predictions = evaluate.predict(
    eval_step, variables, data, config, tta="random"
  )
  seconds = time.perf_counter() - begun
  assert len(predictions) == 5, predictions.shape
  return seconds
