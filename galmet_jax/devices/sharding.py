"""One mesh axis, `data`, over which batches are laid; all else is replicated.

Under `jax.jit` the mean over a batch that is sharded this way is the mean
over the whole batch, so the loss is global without more ado.
"""

from typing import Any

import jax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec

from galmet_jax import errors


def make_mesh(devices: list | None = None) -> jax.sharding.Mesh:
  """Makes the 1-D mesh over `devices` (default: all)."""
  devices = jax.devices() if devices is None else devices
  # Auto axes: linen.Dropout does not know explicit ones.
  return jax.make_mesh(
    (len(devices),),
    ("data",),
    axis_types=(jax.sharding.AxisType.Auto,),
    devices=devices,
  )


def replicated(mesh: jax.sharding.Mesh) -> NamedSharding:
  """The same on each device."""
  return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: jax.sharding.Mesh) -> NamedSharding:
  """The leading axis dealt out over the devices."""
  return NamedSharding(mesh, PartitionSpec("data"))


def replicate(tree: Any, mesh: jax.sharding.Mesh) -> Any:
  """Puts numpy arrays, the same in each process, on each device."""
  return device_put(tree, replicated(mesh))


def shard_batch(tree: Any, mesh: jax.sharding.Mesh) -> Any:
  """Deals numpy arrays, the same in each process, over the devices."""
  return device_put(tree, batch_sharding(mesh))


def device_put(tree: Any, where: NamedSharding) -> Any:
  """Puts numpy arrays, the same in each process, where they belong."""
  if where.is_fully_addressable:
    return jax.device_put(tree, where)
  # device_put would send the arrays round to compare them.
  return jax.tree.map(
    lambda x: jax.make_array_from_callback(x.shape, where, x.__getitem__), tree
  )


def local_rows(size: int, mesh: jax.sharding.Mesh) -> slice:
  """Returns which rows of a dealt array of `size` rows are this process's."""
  parts = batch_sharding(mesh).addressable_devices_indices_map((size,))
  bounds = [part[0].indices(size) for part in parts.values() if part]
  return slice(min(b[0] for b in bounds), max(b[1] for b in bounds))


def shard_local_batch(tree: Any, size: int, mesh: jax.sharding.Mesh) -> Any:
  """Deals arrays of `size` rows, of which each process has its `local_rows`."""
  return jax.tree.map(
    lambda x: jax.make_array_from_process_local_data(
      batch_sharding(mesh), x, (size, *x.shape[1:])
    ),
    tree,
  )


def check_batch_size(name: str, size: int, mesh: jax.sharding.Mesh) -> None:
  """Raises ConfigError unless the devices share a batch evenly."""
  if size % mesh.size:
    raise errors.ConfigError(
      f"{name}={size} does not divide over {mesh.size} devices; expected a "
      f"multiple, such as --config.{name}="
      f"{max(1, round(size / mesh.size)) * mesh.size}."
    )
