"""Whether the members of an ensemble train faster together than in turn.

  python -m benchmarks.ensemble --quick  # 2 to 4 minutes on two busy cores

One JSON line per way on standard output. `in_turn` is the training step as
`main.py` compiles it, over all devices; `vmap` one step of all members on one
device; `member_axis` deals the members out over the devices, vmapped on each.
(XLA_FLAGS=--xla_force_host_platform_device_count=2 makes two of a CPU.) The
ways take turns; figures are medians of rounds. Five ResNet-18 of width 16,
batches of 16 images of 64×64 random pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import functools
import json
import statistics
import time

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec
import numpy as np

from configs import quickstart
from galmet_jax import optimizers
from galmet_jax import train_state
from galmet_jax import train_step
from galmet_jax.data import augment
from galmet_jax.data import galaxies
from galmet_jax.data import placement
from galmet_jax.devices import sharding
from galmet_jax.devices.cpu import xla
from galmet_jax.models import network

_MEMBERS = 5
_BATCH = 16


def main() -> None:
  """Runs the benchmark."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--quick", action="store_true", help="fewer steps")
  rounds, steps = (3, 3) if parser.parse_args().quick else (9, 12)
  start = make_start()
  devices = jax.devices()
  ways = {
    "in_turn": in_turn(*start),
    "vmap": together(*start, devices[:1]),
  }
  if len(devices) > 1:
    ways["member_axis"] = together(*start, devices)
  for advance, _ in ways.values():
    jax.block_until_ready(advance())
  seconds: dict[str, list[float]] = {name: [] for name in ways}
  for _ in range(rounds):
    for name, (advance, _) in ways.items():
      begun = time.perf_counter()
      for _ in range(steps):
        states = advance()
      jax.block_until_ready(states)
      passed = time.perf_counter() - begun
      seconds[name].append(passed / steps / _MEMBERS)
  for name, (_, compile_s) in ways.items():
    # Within a round: what else the machine did then slowed both.
    pairs = zip(seconds["in_turn"], seconds[name], strict=True)
    ratios = [other / first for first, other in pairs]
    facts = {
      "name": name,
      "member_step_s": round(statistics.median(seconds[name]), 5),
      "ratio_to_in_turn": round(statistics.median(ratios), 3),
      "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
      "compile_s": round(compile_s, 1),
      "steps": rounds * steps,
      "dtype": start[-1]["config"].model.dtype,
      "device": devices[0].device_kind,
      "devices": len(devices),
    }
    print(json.dumps(facts), flush=True)


def make_start() -> tuple[train_state.TrainState, galaxies.Split, dict]:
  """Returns one member's (state, split), and `static`."""
  config = quickstart.get_config()
  config.data.crop, config.train.batch_size = 64, _BATCH
  config.model.stage_sizes, config.model.width = (2, 2, 2, 2), 16
  config.optim.optimizer = "sgd"
  rng = np.random.default_rng(0)
  split = galaxies.Split(
    objid=np.arange(256),
    images=rng.integers(0, 256, (256, 64, 64, 3), np.uint8),
    targets=rng.normal(9, 0.2, (256, 1)).astype(np.float32),
    columns={},
  )
  phase = optimizers.make_phases(config.optim, 1000)[0]
  model = network.from_config(config.model, 1)
  state = train_state.create(model, config, phase, jnp.full(1, 9.0))
  tx = optimizers.make_optimizer(config.optim, phase)
  static = {"model": model, "tx": tx, "phase": phase, "config": config}
  return state, split, static


def in_turn(state, split, static: dict) -> tuple[Callable, float]:
  """Returns what takes each member a step further, and seconds to compile."""
  mesh = sharding.make_mesh()
  state = sharding.replicate(state, mesh)
  data = placement.OnDevice(split, mesh, seed=0, batch_size=_BATCH)
  batch = data.batch(0)
  begun = time.perf_counter()
  step = train_step.compile_train_step(state, data, mesh, **static)
  compile_s = time.perf_counter() - begun
  # The step donates its state: each member needs arrays of its own.
  states = [jax.tree.map(jnp.copy, state) for _ in range(_MEMBERS)]

  def advance():
    for i in range(_MEMBERS):
      states[i], _ = step(states[i], *batch)
    return states

  return advance, compile_s


def together(state, split, static: dict, devices: list):
  """Returns the same for one step of all members, dealt over `devices`."""
  # Each device has as many: those beyond the ensemble are run and not counted.
  members = -(-_MEMBERS // len(devices)) * len(devices)
  mesh = jax.sharding.Mesh(np.array(devices), ("member",))
  member, alike = PartitionSpec("member"), PartitionSpec()
  specs = (member, alike, alike, member)
  select = placement.OnDevice.select
  one = functools.partial(train_step.train_step, select=select, **static)
  vmapped = jax.vmap(one, in_axes=(0, None, None, 0))
  dealt = jax.shard_map(vmapped, mesh=mesh, in_specs=specs, out_specs=member)

  def put(tree, spec):
    if spec == member:
      tree = jax.tree.map(lambda x: jnp.stack([x] * members), tree)
    return jax.device_put(tree, NamedSharding(mesh, spec))

  arrays = (
    state,
    augment.pack(split.images),
    split.targets,
    np.arange(_BATCH, dtype=np.int32),
  )
  states, *rest = map(put, arrays, specs)
  options = xla.compiler_options(mesh)
  begun = time.perf_counter()
  step = (
    jax.jit(dealt, donate_argnums=0, compiler_options=options)
    .lower(states, *rest)
    .compile()
  )
  compile_s = time.perf_counter() - begun

  def advance():
    nonlocal states
    states, _ = step(states, *rest)
    return states

  return advance, compile_s


if __name__ == "__main__":
  main()
