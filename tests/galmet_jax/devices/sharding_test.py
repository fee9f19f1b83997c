import jax
import numpy as np
import pytest

from galmet_jax.devices import sharding


def test_mesh_of_all_devices_or_some():
  assert sharding.make_mesh().size == len(jax.devices()) == 4
  mesh = sharding.make_mesh(jax.devices()[:2])
  assert list(mesh.devices.flat) == jax.devices()[:2]
  assert mesh.axis_names == ("data",)


def test_batches_are_sharded_and_the_rest_is_replicated():
  mesh = sharding.make_mesh()
  values = np.arange(8.0).reshape(8, 1)
  sharded = jax.device_put(values, sharding.batch_sharding(mesh))
  replicated = jax.device_put(values, sharding.replicated(mesh))
  for i, shard in enumerate(sharded.addressable_shards):
    np.testing.assert_array_equal(shard.data, values[2 * i : 2 * i + 2])
  assert len(replicated.addressable_shards) == 4
  for shard in replicated.addressable_shards:
    np.testing.assert_array_equal(shard.data, values)


@pytest.mark.parametrize("size", [4, 64])
def test_batch_divides(size):
  sharding.check_batch_size("train.batch_size", size, sharding.make_mesh())


@pytest.mark.parametrize(("size", "advice"), [(1, 4), (18, 16), (63, 64)])
def test_batch_does_not_divide(size, advice):
  with pytest.raises(ValueError) as error:
    sharding.check_batch_size("eval.batch_size", size, sharding.make_mesh())
  assert str(error.value) == (
    f"eval.batch_size={size} does not divide over 4 devices; expected a "
    f"multiple, such as --config.eval.batch_size={advice}."
  )
