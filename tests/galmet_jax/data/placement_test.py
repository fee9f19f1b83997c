"""Both placements give the same numbers."""

import jax
import ml_collections
import numpy as np
import pytest

from galmet_jax.data import augment
from galmet_jax.data import batches
from galmet_jax.data import placement
from galmet_jax.devices import sharding
from tests.galmet_jax.models import small_networks

N, SIZE, BATCH, SEED = 21, 6, 8, 3


@pytest.fixture(scope="module")
def split():
  return small_networks.split(np.random.default_rng(0), N, SIZE, num_targets=2)


def place(kind, split, num_devices):
  mesh = sharding.make_mesh(jax.devices()[:num_devices])
  return kind(split, mesh, SEED, BATCH)


def selected(data, step):
  return jax.jit(data.select)(data.batch(step))


@pytest.mark.parametrize("num_devices", [1, 4])
@pytest.mark.parametrize("kind", [placement.OnDevice, placement.OnHost])
def test_batches_follow_the_order(split, kind, num_devices):
  data = place(kind, split, num_devices)
  # Two batches per epoch. The steps go back as after a restart, then ahead.
  for step in (0, 1, 2, 3, 1, 2, 40):
    images, targets = selected(data, step)
    indices = batches.batch_indices(SEED, step, N, BATCH)
    np.testing.assert_array_equal(images, augment.pack(split.images[indices]))
    np.testing.assert_array_equal(targets, split.targets[indices])
    assert len(images.devices()) == num_devices


@pytest.mark.parametrize("kind", [placement.OnDevice, placement.OnHost])
def test_abstract_batch_describes_the_batch(split, kind):
  data = place(kind, split, 4)
  for expected, found in zip(data.abstract_batch(), data.batch(0), strict=True):
    assert (expected.shape, expected.dtype) == (found.shape, found.dtype)
    assert expected.sharding == found.sharding


@pytest.mark.parametrize("kind", [placement.OnDevice, placement.OnHost])
def test_images_for_evaluation_follow_the_indices(split, kind):
  data = place(kind, split, 4)
  indices = np.array([20, 0, 3, 3], np.int32)
  found = data.images(indices)
  np.testing.assert_array_equal(found, augment.pack(split.images[indices]))
  assert found.sharding.shard_shape(found.shape) == (1, SIZE, SIZE)


def test_pack_combines_the_bands_in_one_integer():
  images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3), np.uint8)
  r, g, b = np.moveaxis(images.astype(np.uint32), -1, 0)
  packed = augment.pack(images)
  assert packed.dtype == np.uint32
  np.testing.assert_array_equal(packed, r + 256 * g + 65536 * b)


def test_cpu_device_shares_the_packed_images(split):
  packed = augment.pack(split.images)
  mesh = sharding.make_mesh(jax.devices()[:1])
  placed = sharding.device_put(packed, sharding.replicated(mesh))
  start = placed.addressable_shards[0].data.unsafe_buffer_pointer()
  assert start == packed.ctypes.data


def test_split_is_transferred_once(split):
  data = place(placement.OnDevice, split, 1)
  assert "arrays" not in vars(data)
  images, targets, _ = data.batch(0)
  assert images.dtype == np.uint32
  assert images.shape == (N, SIZE, SIZE)
  again = data.batch(1)
  assert again[0] is images
  assert again[1] is targets


@pytest.mark.parametrize(
  ("chosen", "memory", "expected"),
  [
    ("device", 1, placement.OnDevice),
    ("host", 10**9, placement.OnHost),
    # Two splits of four bytes per pixel may take half of the memory.
    ("auto", 4 * 4 * N * SIZE**2, placement.OnDevice),
    ("auto", 4 * 4 * N * SIZE**2 - 1, placement.OnHost),
  ],
)
def test_auto_placement_depends_on_the_memory(
  split, monkeypatch, chosen, memory, expected
):
  monkeypatch.setattr(placement, "_memory", lambda device: memory)
  config = ml_collections.ConfigDict(
    {"seed": 0, "data": {"placement": chosen}, "train": {"batch_size": 4}}
  )
  splits = {"train": split, "test": split}
  found = placement.make(splits, config, sharding.make_mesh())
  assert {name: type(data) for name, data in found.items()} == {
    "train": expected,
    "test": expected,
  }


def test_memory_of_a_cpu_device():
  assert placement._memory(jax.devices()[0]) > 2**28
