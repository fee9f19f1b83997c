"""Starts two connected processes; run as a program, checks one of them."""

import os
import pathlib
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[3]
TIMEOUT = 240


def free_port():
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    return free.getsockname()[1]


def start(*command):
  """Starts a Python program in two connected processes of two devices each."""
  port = free_port()
  return [
    subprocess.Popen(
      [
        *(sys.executable, *command),
        f"--coordinator=127.0.0.1:{port}",
        "--num_processes=2",
        f"--process_id={process}",
      ],
      cwd=ROOT,
      env={
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        # Optimizing programs that run a few steps would take half of the time.
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "PYTHONPATH": str(ROOT),
      },
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for process in range(2)
  ]


def finish(children):
  """Waits for both; returns the exit status, stdout and stderr of each."""
  try:
    outputs = [child.communicate(timeout=TIMEOUT) for child in children]
  finally:
    kill(children)
  return [
    (child.returncode, *output)
    for child, output in zip(children, outputs, strict=True)
  ]


def kill(children):
  for child in children:
    child.kill()
  for child in children:
    child.communicate()


def check_sharding(mesh):
  values = np.arange(24, dtype=np.float32).reshape(8, 3)
  first = 4 * jax.process_index()
  assert sharding.local_rows(8, mesh) == slice(first, first + 4)
  for batch in (
    sharding.shard_batch(values, mesh),
    sharding.shard_local_batch(values[first : first + 4], 8, mesh),
  ):
    assert batch.shape == (8, 3)
    assert len(batch.addressable_shards) == 2
    for i, shard in enumerate(batch.addressable_shards):
      rows = slice(first + 2 * i, first + 2 * i + 2)
      np.testing.assert_array_equal(shard.data, values[rows])
  replicated = sharding.replicate({"x": values, "n": np.int32(3)}, mesh)
  np.testing.assert_array_equal(jax.device_get(replicated["x"]), values)
  assert int(replicated["n"]) == 3


def check_placements(mesh):
  split = small_networks.split(np.random.default_rng(0), 21, 6, num_targets=2)
  for kind in (placement.OnDevice, placement.OnHost):
    data = kind(split, mesh, seed=3, batch_size=8)
    for step in (0, 1, 5):
      images, targets = jax.jit(data.select)(data.batch(step))
      indices = batches.batch_indices(3, step, 21, 8)
      pixels = augment.pack(split.images[indices])
      for found, expected in (
        (images, pixels),
        (targets, split.targets[indices]),
        (data.images(indices), pixels),
      ):
        assert found.shape == expected.shape
        for shard in found.addressable_shards:
          np.testing.assert_array_equal(shard.data, expected[shard.index])


def check_processes():
  index = jax.process_index()
  assert processes.broadcast_int(index + 7) == 7
  assert processes.max_int(index + 7) == 8
  order = []
  processes.on_first(lambda: order.append("first"))
  assert order == ["first"][index:]
  assert processes.first_then_others(lambda: index) == index
  with pytest.raises(ZeroDivisionError if index == 0 else errors.ConfigError):
    processes.on_first(lambda: 1 // 0)
  processes.assert_equal_across_processes("this", b"the same")
  with pytest.raises(
    errors.ConfigError,
    match=r"that: expected the same in all 2.* between process 0 and 1\.",
  ):
    processes.assert_equal_across_processes("that", bytes([index]))
  tree = {"a": np.array([-0.0, np.nan, 1e-45], np.float32), "b": np.int32(-5)}
  like = jax.tree.map(np.zeros_like, tree)
  found = processes.broadcast_arrays(tree if index == 0 else None, like)
  for name, leaf in tree.items():
    assert found[name].dtype == leaf.dtype
    assert found[name].tobytes() == leaf.tobytes()


def check_checkpoints(folder, mesh):
  """Process 1 restores what process 0 reads from a disk of its own."""
  folder = folder / str(jax.process_index())

  def state(step):
    return sharding.replicate(
      train_state.TrainState(
        step=np.int32(step),
        params=np.arange(5000, dtype=np.float32) * step,
        batch_stats=np.full(3, -0.0, np.float32),
        opt_state=(),
      ),
      mesh,
    )

  def abstract(step):
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
      state(step),
    )

  def restored():
    found = checkpoints.Checkpoints(folder, keep=3).restore(abstract)
    return found and found.state

  assert restored() is None
  store = checkpoints.Checkpoints(folder, keep=3)
  for step in (1, 2, 3):
    store.save(state(step))
  store.delete_after(2)
  for path in (folder / "2" / "state").glob("**/d/*"):
    path.write_bytes(path.read_bytes()[:50])
  found = restored()
  assert manifest.digests(found) == manifest.digests(state(1))
  assert found.params.sharding == sharding.replicated(mesh)
  names = {path.name for path in folder.glob("*")}
  assert names == ({"1", "2.corrupt"} if processes.is_first() else set())


if __name__ == "__main__":
  from absl import flags
  import jax
  import numpy as np
  import pytest

  from galmet_jax import checkpoints
  from galmet_jax import errors
  from galmet_jax import manifest
  from galmet_jax import train_state
  from galmet_jax.data import augment
  from galmet_jax.data import batches
  from galmet_jax.data import placement
  from galmet_jax.devices import cluster
  from galmet_jax.devices import processes
  from galmet_jax.devices import sharding
  from tests.galmet_jax.models import small_networks

  flags.DEFINE_string("coordinator", None, "")
  flags.DEFINE_integer("num_processes", None, "")
  flags.DEFINE_integer("process_id", None, "")
  given = flags.FLAGS
  folder = pathlib.Path(given(sys.argv)[1])
  cluster.join(False, given.coordinator, given.num_processes, given.process_id)
  with processes.exit_together():
    check_processes()
    check_sharding(sharding.make_mesh())
    check_placements(sharding.make_mesh())
    check_checkpoints(folder, sharding.make_mesh())
    print("checked")
