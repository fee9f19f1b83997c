"""Checkpoints: round trips, damage and digests."""

import dataclasses
import errno
import json
import os
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from galmet_jax import checkpoints
from galmet_jax import errors
from galmet_jax import manifest
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


# A thread of Orbax may end after a failed restore, and then warns about its
# coroutine.
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


def restore(folder, **kwargs):
  restored = checkpoints.Checkpoints(folder, keep=2, **kwargs).restore(abstract)
  return restored and restored.state


def listing(folder):
  """Returns names, sizes and times of all files and directories."""
  return {
    path.relative_to(folder): (path.stat().st_size, path.stat().st_mtime_ns)
    for path in folder.rglob("*")
  }


def test_round_trip_is_exact(folder):
  restored = restore(folder)
  jax.tree.map(np.testing.assert_array_equal, restored, make_state(3))
  dtypes = jax.tree.map(lambda x: x.dtype, (restored, make_state(3)))
  assert dtypes[0] == dtypes[1]


def test_progress_is_restored(tmp_path):
  store = checkpoints.Checkpoints(tmp_path, keep=2)
  store.save(make_state(1), {"best_rmse": 0.1 + 0.2})
  assert store.restore(abstract).progress == {"best_rmse": 0.1 + 0.2}


def test_empty_directory_restores_nothing(tmp_path):
  assert restore(tmp_path) is None
  assert restore(tmp_path / "absent", read_only=True) is None
  assert not list(tmp_path.iterdir())


def test_kill_during_the_first_save_leaves_nothing_to_restore(tmp_path):
  store = checkpoints.Checkpoints(tmp_path, keep=2)
  store.save(make_state(2))
  (tmp_path / "2").rename(tmp_path / "2.orbax-checkpoint-tmp")
  for read_only in (True, False):
    assert restore(tmp_path, read_only=read_only) is None
  checkpoints.Checkpoints(tmp_path, keep=2).save(make_state(2))
  assert int(restore(tmp_path).step) == 2


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
  restored = restore(folder)
  assert int(restored.step) == 2
  np.testing.assert_array_equal(restored.batch_stats["stem"]["mean"], 7)


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


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, lambda p: p.unlink()])
def test_damaged_step_is_renamed(folder, damage, caplog):
  damage_data(folder, 3, damage)
  store = checkpoints.Checkpoints(folder, keep=2)
  assert int(store.restore(abstract).state.step) == 2
  assert "is damaged" in caplog.text
  assert (folder / "3.corrupt").is_dir()
  # The same store saves that step again.
  store.save(make_state(3))
  assert store.steps() == [2, 3]
  assert int(restore(folder).step) == 3


@pytest.mark.parametrize(
  "damage",
  [
    truncate,
    lambda path: path.unlink(),
    lambda path: path.write_text("{}"),
    lambda path: path.write_text("[" * 100_000),
    lambda path: path.write_bytes(path.read_bytes().replace(b"0", b"1", 1)),
    lambda path: path.write_bytes(
      path.read_bytes().replace(b"float", b"bloat")
    ),
  ],
)
def test_damaged_manifest_is_damage(folder, damage):
  damage(folder / "3" / "digests" / "metadata")
  assert int(restore(folder).step) == 2
  assert (folder / "3.corrupt").is_dir()


def test_only_differing_digests_are_damage_enough(folder, tmp_path):
  """Everything is readable, but one leaf has other values."""
  other = checkpoints.Checkpoints(tmp_path / "other", keep=1)
  changed = make_state(3)
  changed.batch_stats["stem"]["mean"] += 1
  other.save(changed)
  shutil.rmtree(folder / "3" / "state")
  shutil.copytree(tmp_path / "other" / "3" / "state", folder / "3" / "state")
  assert int(restore(folder).step) == 2


def test_state_of_another_step_is_damage(folder):
  shutil.rmtree(folder / "3")
  shutil.copytree(folder / "2", folder / "3")
  assert int(restore(folder).step) == 2


def test_step_can_be_damaged_again(folder):
  for renamed in ("3.corrupt", "3.corrupt-2", "3.corrupt-3"):
    damage_data(folder, 3)
    store = checkpoints.Checkpoints(folder, keep=2)
    assert int(store.restore(abstract).state.step) == 2
    assert (folder / renamed).is_dir()
    store.save(make_state(3))


def test_training_stops_if_all_steps_are_damaged(folder):
  for step in (2, 3):
    damage_data(folder, step)
  # On the first start, and on every later one.
  for _ in range(2):
    with pytest.raises(errors.CheckpointError, match=r"2\.corrupt, 3\.corrupt"):
      restore(folder)


def test_read_only_store_changes_nothing(folder):
  damage_data(folder, 3)
  (folder / "4.orbax-checkpoint-tmp").mkdir()
  before = listing(folder)
  assert int(restore(folder, read_only=True).step) == 2
  damage_data(folder, 2)
  with pytest.raises(errors.CheckpointError, match="found only 2, 3"):
    restore(folder, read_only=True)
  assert listing(folder).keys() == before.keys()


@pytest.mark.parametrize(
  "number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENOMEM]
)
@pytest.mark.parametrize("name", ["manifest.ocdbt", "metadata"])
def test_unreadable_file_is_not_damage(folder, number, name, monkeypatch):
  real = open

  def fail(path, *args, **kwargs):
    if os.fspath(path).endswith(name):
      raise OSError(number, os.strerror(number), path)
    return real(path, *args, **kwargs)

  monkeypatch.setattr("builtins.open", fail)
  before = listing(folder)
  with pytest.raises(errors.CheckpointError, match=r"cannot be read.*Nothing"):
    restore(folder)
  monkeypatch.undo()
  assert listing(folder) == before
  assert int(restore(folder).step) == 3


def test_system_error_inside_orbax_is_not_damage(folder, monkeypatch):
  def fail(*args, **kwargs):
    raise ValueError("Error opening: [OS error 24: EMFILE Too many open files]")

  monkeypatch.setattr(ocp.CheckpointManager, "restore", fail)
  with pytest.raises(errors.CheckpointError, match="Too many open files"):
    restore(folder)
  monkeypatch.undo()
  assert int(restore(folder).step) == 3


def with_another_dtype(state):
  return dataclasses.replace(
    state, batch_stats={"stem": {"mean": np.zeros(3, np.float64)}}
  )


def with_another_shape(state):
  return dataclasses.replace(
    state, batch_stats={"stem": {"mean": np.zeros(4, np.float32)}}
  )


def with_another_leaf(state):
  return dataclasses.replace(state, opt_state=None)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (with_another_dtype, r"expected float64 \[3\], found float32 \[3\]"),
    (with_another_shape, r"expected float32 \[4\], found float32 \[3\]"),
    (with_another_leaf, r"opt_state.*expected None, found float32 \[7\]"),
  ],
)
def test_another_network_is_not_damage(folder, change, message):
  before = listing(folder)
  with pytest.raises(errors.ConfigError, match=message):
    checkpoints.Checkpoints(folder, keep=2).restore(
      lambda step: change(make_state(step))
    )
  assert listing(folder) == before


def test_checkpoint_of_version_0_1_is_restored(folder):
  path = folder / "3" / "digests" / "metadata"
  path.write_text(json.dumps(manifest.digests(make_state(3))))
  restored = checkpoints.Checkpoints(folder, keep=2).restore(abstract)
  assert int(restored.state.step) == 3
  assert restored.progress == {}


@pytest.mark.parametrize(
  "error",
  [
    OSError(errno.ENOSPC, "No space left on device"),
    ValueError("Error writing: [OS error 28: ENOSPC No space left on device]"),
  ],
)
def test_failed_save_is_an_error(folder, error, monkeypatch):
  def fail(self, step, *args, **kwargs):
    (folder / f"{step}.orbax-checkpoint-tmp-1").mkdir()
    raise error

  monkeypatch.setattr(ocp.CheckpointManager, "save", fail)
  with pytest.raises(
    errors.CheckpointError, match=r"4: .*not saved: No space left"
  ):
    checkpoints.Checkpoints(folder, keep=2).save(make_state(4))
  assert sorted(path.name for path in folder.iterdir()) == ["2", "3"]


def test_limit_of_file_sizes_is_an_error_in_one_line(folder, caplog, capfd):
  state = make_state(4)
  noise = np.random.default_rng(0).normal(size=10_000).astype(np.float32)
  state = dataclasses.replace(state, params={"head": {"kernel": noise}})
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
  try:
    with pytest.raises(errors.CheckpointError, match=r"4: .*File too large"):
      checkpoints.Checkpoints(folder, keep=2).save(state)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  assert sorted(path.name for path in folder.iterdir()) == ["2", "3"]
  assert not caplog.text
  assert capfd.readouterr().err == ""


def test_skipped_save_is_an_error(folder):
  # Orbax skips steps before the latest one.
  with pytest.raises(errors.CheckpointError, match=r"1.*stored are \[2, 3\]"):
    checkpoints.Checkpoints(folder, keep=2).save(make_state(1))


def test_checkpoint_that_cannot_be_read_back_is_an_error(tmp_path, monkeypatch):
  def fail(*args, **kwargs):
    raise ValueError("no such key")

  monkeypatch.setattr(ocp.CheckpointManager, "restore", fail)
  with pytest.raises(errors.CheckpointError, match="not saved: no such key"):
    checkpoints.Checkpoints(tmp_path, keep=2).save(make_state(1))


def test_damaged_steps_are_set_aside(folder):
  store = checkpoints.Checkpoints(folder, keep=2)
  assert not store.set_damaged_aside(abstract)
  damage_data(folder, 2)
  assert store.set_damaged_aside(abstract)
  assert store.steps() == [3]


def test_empty_step_directory_is_damaged(folder):
  (folder / "4").mkdir()
  assert int(restore(folder).step) == 3


def test_changed_leaf_changes_only_its_digest():
  before = manifest.digests(make_state(1))
  state = make_state(1)
  state.params["head"]["kernel"] = state.params["head"]["kernel"].at[7].set(0)
  after = manifest.digests(state)
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
  restored = manager.restore(run.abstract_state).state
  assert jax.tree.structure(restored) == jax.tree.structure(state)
  jax.tree.map(np.testing.assert_array_equal, restored, state)
