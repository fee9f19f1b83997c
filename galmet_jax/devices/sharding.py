"""Data parallelism: batches sharded over one mesh axis, the rest replicated.

Under `jax.jit` the mean over a sharded batch is the mean over the whole batch,
so the loss is already global.
"""

from typing import Any

import jax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec

from galmet_jax import errors


def make_mesh(devices: list | None = None) -> jax.sharding.Mesh:
  """Returns the 1-D mesh over `devices` (default: all)."""
  devices = jax.devices() if devices is None else devices
  # linen.Dropout does not support explicit axes.
  return jax.make_mesh(
    (len(devices),),
    ("data",),
    axis_types=(jax.sharding.AxisType.Auto,),
    devices=devices,
  )


def replicated(mesh: jax.sharding.Mesh) -> NamedSharding:
  """Returns the sharding of arrays that are the same on each device."""
  return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: jax.sharding.Mesh) -> NamedSharding:
  """Returns the sharding of batches: the leading axis over the devices."""
  return NamedSharding(mesh, PartitionSpec("data"))


def replicate(tree: Any, mesh: jax.sharding.Mesh) -> Any:
  """Copies numpy arrays to each device."""
  return device_put(tree, replicated(mesh))


def shard_batch(tree: Any, mesh: jax.sharding.Mesh) -> Any:
  """Distributes the leading axis of numpy arrays over the devices."""
  return device_put(tree, batch_sharding(mesh))


def device_put(tree: Any, sharding: NamedSharding) -> Any:
  """`jax.device_put` of numpy arrays that are the same in each process."""
  if sharding.is_fully_addressable:
    return jax.device_put(tree, sharding)
  # Across processes jax.device_put sends the arrays around to compare them.
  return jax.tree.map(
    lambda x: jax.make_array_from_callback(x.shape, sharding, x.__getitem__),
    tree,
  )


def local_rows(size: int, mesh: jax.sharding.Mesh) -> slice:
  """Returns the rows of a sharded array of `size` rows in this process."""
  parts = batch_sharding(mesh).addressable_devices_indices_map((size,))
  bounds = [part[0].indices(size) for part in parts.values() if part]
  return slice(min(b[0] for b in bounds), max(b[1] for b in bounds))


def shard_local_batch(tree: Any, size: int, mesh: jax.sharding.Mesh) -> Any:
  """Assembles sharded arrays of `size` rows from each process's own rows."""
  return jax.tree.map(
    lambda x: jax.make_array_from_process_local_data(
      batch_sharding(mesh), x, (size, *x.shape[1:])
    ),
    tree,
  )


def check_batch_size(name: str, size: int, mesh: jax.sharding.Mesh) -> None:
  """Raises ConfigError unless `size` is a multiple of the number of devices."""
  if size % mesh.size:
    raise errors.ConfigError(
      f"{name}={size} does not divide over {mesh.size} devices; expected a "
      f"multiple, such as --config.{name}="
      f"{max(1, round(size / mesh.size)) * mesh.size}."
    )
