"""Checkpoints: round trips, failed saves, manifests."""

import dataclasses
import errno
import json
import resource

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from galmet_jax import checkpoints
from galmet_jax import errors
from galmet_jax import manifest
from galmet_jax import train_state
from galmet_jax.devices import processes
from galmet_jax.run import Run
from tests import shrunk
from tests.galmet_jax import saved

# A thread of Orbax may end after a failed restore, and then warns about its
# coroutine.
pytestmark = [
  pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning"),
  pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_round_trip_is_exact(folder):
  restored = saved.restore(folder)
  jax.tree.map(np.testing.assert_array_equal, restored, saved.make_state(3))
  dtypes = jax.tree.map(lambda x: x.dtype, (restored, saved.make_state(3)))
  assert dtypes[0] == dtypes[1]


def test_progress_is_restored(tmp_path):
  store = checkpoints.Checkpoints(tmp_path / "new" / "latest", keep=2)
  store.save(saved.make_state(1), {"best_rmse": 0.1 + 0.2})
  assert store.restore(saved.abstract).progress == {"best_rmse": 0.1 + 0.2}


def test_empty_directory_restores_nothing(tmp_path):
  assert saved.restore(tmp_path) is None
  assert saved.restore(tmp_path / "absent", read_only=True) is None
  assert not list(tmp_path.iterdir())


def test_kill_during_the_first_save_leaves_nothing_to_restore(tmp_path):
  store = checkpoints.Checkpoints(tmp_path, keep=2)
  store.save(saved.make_state(2))
  (tmp_path / "2").rename(tmp_path / "2.orbax-checkpoint-tmp")
  for read_only in (True, False):
    assert saved.restore(tmp_path, read_only=read_only) is None
  checkpoints.Checkpoints(tmp_path, keep=2).save(saved.make_state(2))
  assert int(saved.restore(tmp_path).step) == 2


def test_delete_after_deletes_later_steps(folder):
  store = checkpoints.Checkpoints(folder, keep=2)
  store.delete_after(2)
  assert store.steps() == [2]
  store.delete_after(1)
  assert store.steps() == []
  # A deleted step can be saved again.
  store.save(
    dataclasses.replace(
      saved.make_state(2),
      batch_stats=saved.make_state(7).batch_stats,
    )
  )
  restored = saved.restore(folder)
  assert int(restored.step) == 2
  np.testing.assert_array_equal(restored.batch_stats["stem"]["mean"], 7)


def test_other_processes_see_no_steps(folder, monkeypatch):
  monkeypatch.setattr(processes, "is_first", lambda: False)
  assert checkpoints.Checkpoints(folder, keep=2).steps() == []


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
  before = saved.listing(folder)
  with pytest.raises(errors.ConfigError, match=message):
    checkpoints.Checkpoints(folder, keep=2).restore(
      lambda step: change(saved.make_state(step))
    )
  assert saved.listing(folder) == before


def test_checkpoint_of_version_0_1_is_restored(folder):
  path = folder / "3" / "digests" / "metadata"
  path.write_text(json.dumps(manifest.digests(saved.make_state(3))))
  restored = checkpoints.Checkpoints(folder, keep=2).restore(saved.abstract)
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
    checkpoints.Checkpoints(folder, keep=2).save(saved.make_state(4))
  assert sorted(path.name for path in folder.iterdir()) == ["2", "3"]


def test_limit_of_file_sizes_is_an_error_in_one_line(folder, caplog, capfd):
  state = saved.make_state(4)
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
    checkpoints.Checkpoints(folder, keep=2).save(saved.make_state(1))


def test_checkpoint_that_cannot_be_read_back_is_an_error(tmp_path, monkeypatch):
  def fail(*args, **kwargs):
    raise ValueError("no such key")

  monkeypatch.setattr(ocp.CheckpointManager, "restore", fail)
  with pytest.raises(errors.CheckpointError, match="not saved: no such key"):
    checkpoints.Checkpoints(tmp_path, keep=2).save(saved.make_state(1))


def test_changed_leaf_changes_only_its_digest():
  before = manifest.digests(saved.make_state(1))
  state = saved.make_state(1)
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
