"""Small checkpoints, and damage to them."""

import jax
import jax.numpy as jnp

from galmet_jax import checkpoints
from galmet_jax import train_state
from galmet_jax.devices import sharding


def make_state(step):
  return train_state.TrainState(
    step=jnp.asarray(step, jnp.int32),
    params={"head": {"kernel": jnp.arange(5000.0) * step}},
    batch_stats={"stem": {"mean": jnp.full(3, step, jnp.float32)}},
    opt_state=({"trace": jnp.full(7, -step, jnp.float32)},),
  )


def abstract(step):
  everywhere = sharding.replicated(sharding.make_mesh())
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere),
    make_state(step),
  )


def restore(folder, **kwargs):
  restored = checkpoints.Checkpoints(folder, keep=2, **kwargs).restore(abstract)
  return restored and restored.state


def listing(folder):
  """Returns names, sizes and times of all files and directories."""
  return {
    path.relative_to(folder): (path.stat().st_size, path.stat().st_mtime_ns)
    for path in folder.rglob("*")
  }


def data_files(folder, step):
  paths = (folder / str(step) / "state").glob("**/d/*")
  return [path for path in paths if path.stat().st_size > 100]


def flip_a_bit(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


def truncate(path):
  path.write_bytes(path.read_bytes()[:50])


def damage_data(folder, step, damage=flip_a_bit):
  files = data_files(folder, step)
  assert files
  for path in files:
    damage(path)
