"""This project's steps, compiled for H100 GPUs that do not exist."""

from collections.abc import Callable
import dataclasses
import pathlib
from typing import Any

import jax
from jax.experimental import topologies
import jax.numpy as jnp

from benchmarks import jax_steps
from galmet_jax import evaluate
from galmet_jax import optimizers
from galmet_jax import train_state
from galmet_jax import train_step
from galmet_jax.data import augment
from galmet_jax.data import placement
from galmet_jax.devices import sharding
from galmet_jax.models import network

_SPECIFICATION = pathlib.Path(__file__).with_name("h100.txtpb")
_NUM_IMAGES = 64 * jax_steps.STEPS_PER_EPOCH


@dataclasses.dataclass(frozen=True)
class Case:
  """A program to compile.

  Attributes:
    batch: images in a batch, over all devices.
    views: views of each.
    phase: phase of the recipe; "" for an evaluation step.
    devices: number of H100s.
    batch_norm: `model.batch_norm`.
  """

  batch: int
  views: int = 1
  phase: str = "all_sgdr"
  devices: int = 1
  batch_norm: str = "global"

  @property
  def views_per_device(self) -> int:
    """Number of views that a device processes in a step."""
    return self.batch * self.views // self.devices


CASES = {
  "train_64": Case(64),
  "train_512": Case(512),
  "train_64_five_views": Case(64, views=5),
  "train_512_five_views": Case(512, views=5),
  "frozen_64": Case(64, phase="head_only"),
  "frozen_512": Case(512, phase="head_only"),
  "evaluate_1024": Case(1024, phase=""),
  **{
    f"train_{n}_devices_{kind}": Case(64 * n, devices=n, batch_norm=kind)
    for n in (2, 4, 8)
    for kind in ("global", "per_device")
  },
}


def compile_case(case: Case) -> Any:
  """Compiles a step for imaginary H100s."""
  config = jax_steps.make_config(case.batch, "bfloat16")
  config.train.views_per_image = case.views
  config.model.batch_norm = case.batch_norm
  mesh = make_mesh(case.devices)
  frame = augment.make_frame(config.data)
  model = network.from_config(config.model, 1, case.devices)
  phases = optimizers.make_phases(config.optim, _NUM_IMAGES // case.batch)

  def create(phase: optimizers.Phase) -> train_state.TrainState:
    side, means = config.data.crop, jnp.full(1, 9.0)
    state = train_state.create(model, config, side, means)
    return train_state.start_phase(state, phase)

  if not case.phase:
    state = jax.eval_shape(lambda: create(phases[0]))
    step: Any = evaluate.make_eval_step(model, frame, mesh)
    side = config.data.crop
    views = jax.eval_shape(lambda: augment.plain_views(case.batch))
    return step.lower(
      sharding.abstract(state.variables, mesh),
      _batch((case.batch, side, side), "uint32", mesh),
      jax.tree.map(lambda x: _batch(x.shape, x.dtype, mesh), views),
    ).compile()
  (phase,) = (each for each in phases if each.name == case.phase)
  images: Any = _Images(case.batch, config.data.crop, mesh)
  return train_step.compile_train_step(
    sharding.abstract(jax.eval_shape(lambda: create(phase)), mesh),
    images,
    mesh,
    model=model,
    phase=phase,
    frame=frame,
    config=config,
  ).func


class _Images:
  """Stands in for `placement.OnDevice`, without arrays."""

  select: Callable = staticmethod(placement.OnDevice.select)

  def __init__(self, batch: int, side: int, mesh: jax.sharding.Mesh):
    everything = (
      jax.ShapeDtypeStruct((_NUM_IMAGES, side, side), jnp.uint32),
      jax.ShapeDtypeStruct((_NUM_IMAGES, 1), jnp.float32),
    )
    self._abstract = (
      *sharding.abstract(everything, mesh),
      _batch((batch,), "int32", mesh),
    )

  def abstract_batch(self) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Returns shapes, dtypes and shardings of a batch."""
    return self._abstract


def make_mesh(devices: int) -> jax.sharding.Mesh:
  """Returns a mesh of H100s that do not exist, on one host."""
  topology = topologies.get_topology_desc(
    topology_name="h100",
    platform="cuda",
    # Partitions, hosts of each, and devices of each host.
    topology=f"1x1x{devices}",
    target_config=_SPECIFICATION.read_text(encoding="ascii"),
  )
  return sharding.make_mesh(list(topology.devices))


def _batch(shape, dtype, mesh) -> jax.ShapeDtypeStruct:
  where = sharding.batch_sharding(mesh)
  return jax.ShapeDtypeStruct(shape, jnp.dtype(dtype), sharding=where)
