"""This project's training and evaluation steps on random images."""

from collections.abc import Callable
import contextlib
import pathlib
import tempfile
import time
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from configs import resnet34
from galmet_jax import evaluate
from galmet_jax import metric_writer
from galmet_jax import optimizers
from galmet_jax import step_metrics
from galmet_jax import train_state
from galmet_jax import train_step
from galmet_jax.data import augment
from galmet_jax.data import galaxies
from galmet_jax.data import placement
from galmet_jax.devices import sharding
from galmet_jax.models import network

# 76,800 galaxies in batches of 64.
STEPS_PER_EPOCH = 1200


def make_config(batch: int, dtype: str) -> ml_collections.ConfigDict:
  """Returns the published recipe with this batch size, from random weights."""
  config = resnet34.get_config("as_published")
  config.model.pretrained = ""
  config.model.dtype = dtype
  config.data.placement = "device"
  config.train.batch_size = batch
  return config


def random_split(number: int, side: int) -> galaxies.Split:
  """Returns `number` galaxies of `side` × `side` random pixels."""
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
  """Returns the split, placed according to `data.placement`."""
  data = placement.make({"split": split}, config, mesh)["split"]
  # Images are transferred on first use.
  jax.block_until_ready(data.batch(0))
  return data


def make_eval_step(
  config: ml_collections.ConfigDict, mesh: jax.sharding.Mesh
) -> Callable:
  """Returns the evaluation step of the config's network."""
  model = network.from_config(config.model, 1)
  return evaluate.make_eval_step(model, augment.make_frame(config.data), mesh)


class Training:
  """One phase of the recipe, with its compiled training step.

  Attributes:
    data: placed images.
    phase: phase of the recipe.
    state: state after the last step.
    compile_s: seconds to trace, lower and compile the step.
    compiled: compiled step.
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
      config: whole config.
      mesh: devices.
      phase: name of a phase of the recipe.
      data: placed images; None: at least two batches of random images.
      state: state with the initial weights; None: new weights.
    """
    self.config, self.mesh = config, mesh
    if data is None:
      number = max(256, 2 * config.train.batch_size)
      data = place(random_split(number, config.data.crop), config, mesh)
    self.data = data
    phases = optimizers.make_phases(config.optim, STEPS_PER_EPOCH)
    self.phase = next(each for each in phases if each.name == phase)
    self._model = network.from_config(config.model, 1)
    if state is None:
      side, means = config.data.crop, jnp.full(1, 9.0)
      state = train_state.create(self._model, config, side, means)
    state = train_state.start_phase(state, self.phase)
    self.state = sharding.replicate(jax.device_get(state), mesh)
    self.compile()

  def compile(self) -> None:
    """Compiles the step and updates `compile_s`."""
    started = time.perf_counter()
    self.compiled: Any = train_step.compile_train_step(
      self.state,
      self.data,
      self.mesh,
      model=self._model,
      phase=self.phase,
      frame=augment.make_frame(self.config.data),
      config=self.config,
    )
    self.compile_s = time.perf_counter() - started

  def run(self, steps: int, first: int = 0) -> float:
    """Runs steps and records their metrics, as `main.py` does.

    Args:
      steps: number of steps.
      first: batch to start at.

    Returns:
      Their seconds.
    """
    with (
      tempfile.TemporaryDirectory() as folder,
      contextlib.closing(
        metric_writer.MetricWriter(pathlib.Path(folder), 0)
      ) as writer,
    ):
      interval = self.config.train.log_every_steps
      record = step_metrics.StepMetrics(self.phase, interval, writer, list)
      started = time.perf_counter()
      for step in range(first, first + steps):
        self.state, values = self.compiled(self.state, self.data.batch(step))
        if record.add(self.phase.start + step + 1, values):
          record.record()
      record.record(everything=True)
      jax.block_until_ready(self.state)
      return time.perf_counter() - started

  @property
  def views(self) -> int:
    """Number of views in a step."""
    return self.config.train.batch_size * self.config.train.views_per_image

  @property
  def temp_bytes_per_image(self) -> int:
    """Memory of a step without its arguments and results, per view."""
    return self.compiled.func.memory_analysis().temp_size_in_bytes // self.views

  def make_evaluation(self) -> Callable[[int], float]:
    """Returns a function that runs evaluation steps and returns their seconds.

    Each step predicts one batch of training's size, which is on the device.
    """
    packed = augment.pack(
      random_split(self.views, self.config.data.crop).images
    )
    images, views = jax.device_put(
      (packed, augment.plain_views(self.views)),
      sharding.batch_sharding(self.mesh),
    )
    step = make_eval_step(self.config, self.mesh)
    # A copy, because training steps donate their state.
    variables = jax.tree.map(jnp.copy, self.state.variables)

    def run(steps: int) -> float:
      started = time.perf_counter()
      for _ in range(steps):
        predictions = step(variables, images, views)
      jax.block_until_ready(predictions)
      return time.perf_counter() - started

    return run

  def predict(self, eval_step: Callable, data: placement.Placement) -> float:
    """Predicts a split from five views; returns the seconds."""
    started = time.perf_counter()
    predictions = evaluate.predict(
      eval_step, self.state.variables, data, self.config, tta="random"
    )
    seconds = time.perf_counter() - started
    assert len(predictions) == 5, predictions.shape
    return seconds
