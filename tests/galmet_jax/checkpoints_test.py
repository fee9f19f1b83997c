"""Checkpoints: round trips, damage and digests."""

import dataclasses
import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from galmet_jax import checkpoints
from galmet_jax import train_state
from galmet_jax.devices import sharding
from galmet_jax.run import Run
from tests import shrunk


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


# A failed restore leaves Orbax's coroutines and its event loop to the garbage
# collector, which warns about them.
pytestmark = [
  pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning"),
  pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def folder(tmp_path):
  store = checkpoints.Checkpoints(tmp_path, keep=2)
  for step in (1, 2, 3):
    store.save(make_state(step))
  assert store.steps() == [2, 3]
  return tmp_path


def restore(folder):
  return checkpoints.Checkpoints(folder, keep=2).restore(abstract)


def test_round_trip_is_exact(folder):
  restored = restore(folder)
  jax.tree.map(np.testing.assert_array_equal, restored, make_state(3))
  dtypes = jax.tree.map(lambda x: x.dtype, (restored, make_state(3)))
  assert dtypes[0] == dtypes[1]


def test_empty_directory_restores_nothing(tmp_path):
  assert restore(tmp_path) is None


def data_files(folder, step):
  paths = (folder / str(step) / "state").glob("**/d/*")
  return [path for path in paths if path.stat().st_size > 100]


def test_delete_after_deletes_later_steps(folder):
  store = checkpoints.Checkpoints(folder, keep=2)
  store.delete_after(1)
  assert store.steps() == []
  # A deleted step can be saved again.
  store.save(
    dataclasses.replace(make_state(2), batch_stats=make_state(7).batch_stats)
  )
  restored = checkpoints.Checkpoints(folder, keep=2).restore(abstract)
  assert int(restored.step) == 2
  np.testing.assert_array_equal(restored.batch_stats["stem"]["mean"], 7)


def flip_a_bit(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


def truncate(path):
  path.write_bytes(path.read_bytes()[:50])


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, lambda p: p.unlink()])
def test_damaged_step_is_renamed(folder, damage, caplog):
  files = data_files(folder, 3)
  assert files
  for path in files:
    damage(path)
  assert int(restore(folder).step) == 2
  assert "is damaged" in caplog.text
  assert (folder / "3.corrupt").is_dir()
  # The next start saves that step again.
  store = checkpoints.Checkpoints(folder, keep=2)
  store.save(make_state(3))
  assert int(restore(folder).step) == 3
  # Emit the warnings here, where they are ignored, and not in a later test.
  gc.collect()


def test_empty_step_directory_is_ignored(folder):
  (folder / "4").mkdir()
  assert int(restore(folder).step) == 3
  gc.collect()


def test_changed_leaf_changes_only_its_digest():
  before = checkpoints.digests(make_state(1))
  state = make_state(1)
  state.params["head"]["kernel"] = state.params["head"]["kernel"].at[7].set(0)
  after = checkpoints.digests(state)
  assert [name for name in before if before[name] != after[name]] == [
    ".params['head']['kernel']"
  ]


def test_ranger_with_one_cycle_is_restored(mock_data_dir, tmp_path):
  config = shrunk.config(
    mock_data_dir,
    model__network="xresnet",
    optim__optimizer="ranger",
    optim__phases=("cycle",),
    data__resolution=16,
  )
  run = Run.prepare(config, tmp_path)
  state = run.initial_state()
  # A fresh state would hold zeros.
  state = train_state.start_phase(state, run.phases[0])
  filled = jax.tree.map(lambda x: x + jnp.ones_like(x), state.opt_state)
  state = dataclasses.replace(state, opt_state=filled)
  manager = checkpoints.Checkpoints(tmp_path / "latest", keep=1)
  manager.save(state)
  restored = manager.restore(run.abstract_state)
  assert jax.tree.structure(restored) == jax.tree.structure(state)
  jax.tree.map(np.testing.assert_array_equal, restored, state)
