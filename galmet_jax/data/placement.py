"""Where a split's images lie while it is used: on the devices, or on the host.

Either way a step gets the same numbers. A split that fits is put on the devices
once, and a step is told only which examples it is to gather; one that does not
is packed batch by batch in other threads, ahead of the steps.
"""

from collections.abc import Iterator
import functools
import os

import jax
import ml_collections
import numpy as np

from galmet_jax import errors
from galmet_jax.data import augment
from galmet_jax.data import batches
from galmet_jax.data import galaxies
from galmet_jax.devices import processes
from galmet_jax.devices import sharding

# Of the devices' memory; the rest is for the step.
_SHARE = 0.5
_PREFETCHED_BATCHES = 8


class _Placed:
  """A split, and what its order depends on."""

  def __init__(
    self,
    split: galaxies.Split,
    mesh: jax.sharding.Mesh,
    seed: int,
    batch_size: int,
  ):
    """Sends nothing yet: what is asked for is sent then."""
    self.split = split
    self.mesh = mesh
    self._seed = seed
    self._batch_size = batch_size

  def _indices(self, step: int) -> np.ndarray:
    return batches.batch_indices(
      self._seed, step, len(self.split), self._batch_size
    )


class OnDevice(_Placed):
  """A split in the memory of each device, its images packed."""

  @functools.cached_property
  def arrays(self) -> tuple[jax.Array, jax.Array]:
    """Images, uint32 `[N, S, S]`, and targets, float32 `[N, T]`."""
    packed = augment.pack(self.split.images)
    return sharding.replicate((packed, self.split.targets), self.mesh)

  def batch(self, step: int) -> tuple[jax.Array, ...]:
    """Returns what a training step takes after the state: see `select`."""
    return (*self.arrays, sharding.shard_batch(self._indices(step), self.mesh))

  @staticmethod
  def select(
    images: jax.Array, targets: jax.Array, indices: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Gathers the batch, within the step: `[B, S, S]` and `[B, T]`."""
    return images[indices], targets[indices]

  def images(self, indices: np.ndarray) -> jax.Array:
    """Returns the images at `indices`, `[B, S, S]`, dealt over the devices."""
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
  """A split in the host's memory, of which batches are sent ahead."""

  # The step whose batch was read last, that batch, and those that follow. None
  # follows the one of the start.
  _last: tuple[int, tuple[jax.Array, ...]] = (-2, ())
  _stream: Iterator[tuple[np.ndarray, np.ndarray]] = iter(())

  def batch(self, step: int) -> tuple[jax.Array, ...]:
    """Returns what a training step takes after the state: see `select`."""
    last, batch = self._last
    if step == last:  # it was compiled for
      return batch
    if step != last + 1:
      self._stream = self._read_from(step)
    batch = sharding.shard_local_batch(
      next(self._stream), self._batch_size, self.mesh
    )
    self._last = step, batch
    return batch

  @staticmethod
  def select(
    images: jax.Array, targets: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Returns the batch as it came: `[B, S, S]` and `[B, T]`."""
    return images, targets

  def images(self, indices: np.ndarray) -> jax.Array:
    """Returns the images at `indices`, `[B, S, S]`, dealt over the devices."""
    rows = sharding.local_rows(len(indices), self.mesh)
    packed = augment.pack(self.split.images[indices[rows]])
    return sharding.shard_local_batch(packed, len(indices), self.mesh)

  def _read_from(self, step: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Reads this process's part of the batches from a step on."""
    # Not needed where the set fits, and slow to import.
    import grain

    rows = sharding.local_rows(self._batch_size, self.mesh)

    def read(step: int) -> tuple[np.ndarray, np.ndarray]:
      indices = self._indices(step)[rows]
      images = augment.pack(self.split.images[indices])
      return images, self.split.targets[indices]

    batches = grain.MapDataset.range(step, np.iinfo(np.int32).max).map(read)
    options = grain.ReadOptions(
      num_threads=min(os.cpu_count() or 1, _PREFETCHED_BATCHES),
      prefetch_buffer_size=_PREFETCHED_BATCHES,
    )
    return iter(batches.to_iter_dataset(options))


Placement = OnDevice | OnHost


def make(
  splits: dict[str, galaxies.Split],
  config: ml_collections.ConfigDict,
  mesh: jax.sharding.Mesh,
) -> dict[str, Placement]:
  """Chooses a place for the splits.

  Args:
    splits: the decoded splits, by name.
    config: the whole config; `data.placement` is 'device', 'host' or 'auto':
      the devices if all splits take no more than half of the memory of one.
    mesh: the devices.

  Returns:
    The splits' placements, by name.

  Raises:
    ConfigError: for another placement.
  """
  kinds: dict[str, type[Placement]] = {"device": OnDevice, "host": OnHost}
  chosen = config.data.placement
  if chosen == "auto":
    pixels = sum(split.images[..., 0].size for split in splits.values())
    fits = 4 * pixels <= _SHARE * _memory(mesh.local_devices[0])
    # Devices of several hosts may differ a little.
    chosen = "device" if processes.broadcast_int(fits) else "host"
  if chosen not in kinds:
    raise errors.ConfigError(
      f"data.placement is {chosen!r}; expected device, host or auto."
    )
  return {
    name: kinds[chosen](split, mesh, config.seed, config.train.batch_size)
    for name, split in splits.items()
  }


def _memory(device: jax.Device) -> int:
  """Returns how much memory there is for a device, bytes."""
  statistics = device.memory_stats()
  if statistics and "bytes_limit" in statistics:
    return statistics["bytes_limit"]
  # A CPU device shares the host's.
  return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
