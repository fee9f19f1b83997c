"""Placement of a split's images: in the devices' memory or in the host's.

A step gets the same numbers either way. A split that fits is copied to the
devices once, and a batch is only the indices to gather. Otherwise other threads
pack the batches on the host, ahead of the steps.
"""

from collections.abc import Iterator
import functools
import os

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from galmet_jax.data import augment
from galmet_jax.data import batches
from galmet_jax.data import galaxies
from galmet_jax.devices import processes
from galmet_jax.devices import sharding

# Share of a device's memory that the images may take; steps need the rest.
_SHARE = 0.5
_PREFETCHED_BATCHES = 8


KINDS = ("device", "host", "auto")


class _Placed:
  """A split, and what the order of its batches depends on."""

  def __init__(
    self,
    split: galaxies.Split,
    mesh: jax.sharding.Mesh,
    seed: int,
    batch_size: int,
  ):
    """Transfers nothing: images are transferred on first use."""
    self.split = split
    self.mesh = mesh
    self._seed = seed
    self._batch_size = batch_size

  def _indices(self, step: int) -> np.ndarray:
    return batches.batch_indices(
      self._seed, step, len(self.split), self._batch_size
    )


class OnDevice(_Placed):
  """A split in the memory of every device, with packed images."""

  @functools.cached_property
  def arrays(self) -> tuple[jax.Array, jax.Array]:
    """Images, uint32 `[N, S, S]`, and targets, float32 `[N, T]`."""
    packed = augment.pack(self.split.images)
    return sharding.replicate((packed, self.split.targets), self.mesh)

  def batch(self, step: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns all images, all targets and the indices of a training batch."""
    indices = sharding.shard_batch(self._indices(step), self.mesh)
    return (*self.arrays, indices)

  def abstract_batch(self) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Returns the shapes, dtypes and shardings of `batch`."""
    return _abstract(self.batch(0))

  @staticmethod
  def select(
    batch: tuple[jax.Array, jax.Array, jax.Array],
  ) -> tuple[jax.Array, jax.Array]:
    """Gathers a batch within the step: `[B, S, S]` and `[B, T]`."""
    images, targets, indices = batch
    return images[indices], targets[indices]

  def images(self, indices: np.ndarray) -> jax.Array:
    """Returns the images at `indices`, `[B, S, S]`, sharded over devices."""
    return self._gather(
      self.arrays[0], sharding.shard_batch(indices, self.mesh)
    )

  @functools.cached_property
  def _gather(self):
    return jax.jit(
      lambda images, indices: images[indices],
      out_shardings=sharding.batch_sharding(self.mesh),
    )


class OnHost(_Placed):
  """A split in the host's memory, whose batches are transferred ahead."""

  # The step that `_stream` continues.
  _next_step: int | None = None
  _stream: Iterator[tuple[np.ndarray, np.ndarray]] = iter(())

  def batch(self, step: int) -> tuple[jax.Array, jax.Array]:
    """Returns the images and targets of a training batch."""
    if step != self._next_step:
      self._stream = self._read_from(step)
    self._next_step = step + 1
    return sharding.shard_local_batch(
      next(self._stream), self._batch_size, self.mesh
    )

  def abstract_batch(self) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Returns the shapes, dtypes and shardings of `batch`."""
    side, num_targets = self.split.images.shape[1], self.split.targets.shape[1]
    shape = (self._batch_size, side, side)
    where = sharding.batch_sharding(self.mesh)
    return (
      jax.ShapeDtypeStruct(shape, jnp.uint32, sharding=where),
      jax.ShapeDtypeStruct(
        (self._batch_size, num_targets), jnp.float32, sharding=where
      ),
    )

  @staticmethod
  def select(
    batch: tuple[jax.Array, jax.Array],
  ) -> tuple[jax.Array, jax.Array]:
    """Returns the batch unchanged: `[B, S, S]` and `[B, T]`."""
    return batch

  def images(self, indices: np.ndarray) -> jax.Array:
    """Returns the images at `indices`, `[B, S, S]`, sharded over devices."""
    rows = sharding.local_rows(len(indices), self.mesh)
    packed = augment.pack(self.split.images[indices[rows]])
    return sharding.shard_local_batch(packed, len(indices), self.mesh)

  def _read_from(self, step: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Reads this process's share of the batches, from a step on."""
    # Slow to import, and not needed when the set fits on the devices.
    import grain

    rows = sharding.local_rows(self._batch_size, self.mesh)

    def read(step: int) -> tuple[np.ndarray, np.ndarray]:
      indices = self._indices(step)[rows]
      images = augment.pack(self.split.images[indices])
      return images, self.split.targets[indices]

    steps = grain.MapDataset.range(step, np.iinfo(np.int32).max)
    options = grain.ReadOptions(
      num_threads=min(os.cpu_count() or 1, _PREFETCHED_BATCHES),
      prefetch_buffer_size=_PREFETCHED_BATCHES,
    )
    return iter(steps.map(read).to_iter_dataset(options))


Placement = OnDevice | OnHost


def make(
  splits: dict[str, galaxies.Split],
  config: ml_collections.ConfigDict,
  mesh: jax.sharding.Mesh,
) -> dict[str, Placement]:
  """Places all splits in the same way.

  Args:
    splits: the decoded splits, by name.
    config: the whole config; `data.placement` is 'device', 'host' or 'auto',
      which chooses the devices if all splits fit in half of one's memory.
    mesh: the devices.
  """
  chosen = config.data.placement
  if chosen == "auto":
    pixels = sum(split.images[..., 0].size for split in splits.values())
    fits = 4 * pixels <= _SHARE * _memory(mesh.local_devices[0])
    # Devices of several hosts may differ a little: the first one decides.
    chosen = "device" if processes.broadcast_int(fits) else "host"
  kind: type[Placement] = OnDevice if chosen == "device" else OnHost
  return {
    name: kind(split, mesh, config.seed, config.train.batch_size)
    for name, split in splits.items()
  }


def _abstract(tree):
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree
  )


def _memory(device: jax.Device) -> int:
  """Returns the memory of a device in bytes; a CPU has the host's."""
  statistics = device.memory_stats()
  if statistics and "bytes_limit" in statistics:
    return statistics["bytes_limit"]
  return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
