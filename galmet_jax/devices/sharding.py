"""Data parallelism: batches sharded over one mesh axis, the rest replicated.

Under `jax.jit` the mean over a sharded batch is the mean over the whole batch,
so the loss is already global.
"""

from typing import Any

import jax
from jax.experimental.layout import Format
from jax.experimental.layout import Layout
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec

from galmet_jax import errors

# Order of the axes in memory of arrays with four axes, which are the kernels of
# convolutions, `[kh, kw, in, out]`, by platform. cuDNN reads [out, kh, kw, in];
# in the default order each step would copy every kernel and its momentum.
_KERNEL_LAYOUTS = {"gpu": Layout((3, 0, 1, 2))}


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


def replicated_formats(tree: Any, mesh: jax.sharding.Mesh) -> Any:
  """Returns the sharding, and the layout if it matters, of each array."""
  layout = _KERNEL_LAYOUTS.get(mesh.devices.flat[0].platform)
  everywhere = replicated(mesh)
  return jax.tree.map(
    lambda x: (
      Format(layout, everywhere) if layout and x.ndim == 4 else everywhere
    ),
    tree,
  )


def abstract(tree: Any, mesh: jax.sharding.Mesh) -> Any:
  """Returns shapes and dtypes of arrays that are on each device."""
  return jax.tree.map(
    lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where),
    tree,
    replicated_formats(tree, mesh),
  )


def replicate(tree: Any, mesh: jax.sharding.Mesh) -> Any:
  """Copies numpy arrays to each device."""
  return device_put(tree, replicated_formats(tree, mesh))


def shard_batch(tree: Any, mesh: jax.sharding.Mesh) -> Any:
  """Distributes the leading axis of numpy arrays over the devices."""
  where = batch_sharding(mesh)
  return device_put(tree, jax.tree.map(lambda _: where, tree))


def device_put(tree: Any, where: Any) -> Any:
  """`jax.device_put` of numpy arrays that are the same in each process.

  Args:
    tree: the arrays.
    where: the sharding or format of each.
  """
  if jax.process_count() == 1:
    return jax.device_put(tree, where)
  # Across processes jax.device_put sends the arrays around to compare them.
  return jax.tree.map(
    lambda x, where: jax.make_array_from_callback(
      x.shape, where, x.__getitem__
    ),
    tree,
    where,
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
