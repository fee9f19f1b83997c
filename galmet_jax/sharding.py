"""One mesh axis, `data`, over which batches are laid; all else is replicated.

Under `jax.jit` the mean over a batch that is sharded this way is the mean
over the whole batch, so BatchNorm and the loss are global without more ado.
"""

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


def along_data(mesh: jax.sharding.Mesh) -> NamedSharding:
  """The leading axis dealt out over the devices."""
  return NamedSharding(mesh, PartitionSpec("data"))


def check_batch_size(name: str, size: int, mesh: jax.sharding.Mesh) -> None:
  """Raises ConfigError unless the devices share a batch evenly."""
  if size % mesh.size:
    raise errors.ConfigError(
      f"{name}={size} does not divide over {mesh.size} devices; expected a "
      f"multiple, such as --config.{name}="
      f"{max(1, round(size / mesh.size)) * mesh.size}."
    )
