"""Damaged, unreadable and read-only checkpoints."""

import errno
import os
import shutil

import orbax.checkpoint as ocp
import pytest

from galmet_jax import checkpoints
from galmet_jax import errors
from tests.galmet_jax import saved

# A thread of Orbax may end after a failed restore, and then warns about its
# coroutine.
pytestmark = [
  pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning"),
  pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.mark.parametrize(
  "damage", [saved.flip_a_bit, saved.truncate, lambda path: path.unlink()]
)
def test_damaged_step_is_renamed(folder, damage, caplog):
  saved.damage_data(folder, 3, damage)
  store = checkpoints.Checkpoints(folder, keep=2)
  assert int(store.restore(saved.abstract).state.step) == 2
  (message,) = caplog.messages
  assert message.startswith(f"Checkpoint {folder / '3'} is damaged (")
  assert message.endswith("); renamed to 3.corrupt.")
  assert (folder / "3.corrupt").is_dir()
  # The same store saves that step again.
  store.save(saved.make_state(3))
  assert store.steps() == [2, 3]
  assert int(saved.restore(folder).step) == 3


@pytest.mark.parametrize(
  "damage",
  [
    saved.truncate,
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
  assert int(saved.restore(folder).step) == 2
  assert (folder / "3.corrupt").is_dir()


def test_only_differing_digests_are_damage_enough(folder, tmp_path):
  """Everything is readable, but one leaf has other values."""
  other = checkpoints.Checkpoints(tmp_path / "other", keep=1)
  changed = saved.make_state(3)
  changed.batch_stats["stem"]["mean"] += 1
  other.save(changed)
  shutil.rmtree(folder / "3" / "state")
  shutil.copytree(tmp_path / "other" / "3" / "state", folder / "3" / "state")
  assert int(saved.restore(folder).step) == 2


def test_state_of_another_step_is_damage(folder):
  shutil.rmtree(folder / "3")
  shutil.copytree(folder / "2", folder / "3")
  assert int(saved.restore(folder).step) == 2


def test_step_can_be_damaged_again(folder):
  for renamed in ("3.corrupt", "3.corrupt-2", "3.corrupt-3"):
    saved.damage_data(folder, 3)
    store = checkpoints.Checkpoints(folder, keep=2)
    assert int(store.restore(saved.abstract).state.step) == 2
    assert (folder / renamed).is_dir()
    store.save(saved.make_state(3))


def test_training_stops_if_all_steps_are_damaged(folder):
  for step in (2, 3):
    saved.damage_data(folder, step)
  # On the first start, and on every later one.
  for _ in range(2):
    with pytest.raises(errors.CheckpointError, match=r"2\.corrupt, 3\.corrupt"):
      saved.restore(folder)


def test_read_only_store_changes_nothing(folder, caplog):
  saved.damage_data(folder, 3)
  (folder / "4.orbax-checkpoint-tmp").mkdir()
  before = saved.listing(folder)
  assert int(saved.restore(folder, read_only=True).step) == 2
  message = caplog.messages[-1]
  assert message.startswith(f"Checkpoint {folder / '3'} is damaged (")
  assert message.endswith(").")
  saved.damage_data(folder, 2)
  with pytest.raises(errors.CheckpointError, match="found only 2, 3"):
    saved.restore(folder, read_only=True)
  assert saved.listing(folder).keys() == before.keys()


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
  before = saved.listing(folder)
  with pytest.raises(errors.CheckpointError, match=r"cannot be read.*Nothing"):
    saved.restore(folder)
  monkeypatch.undo()
  assert saved.listing(folder) == before
  assert int(saved.restore(folder).step) == 3


def test_system_error_inside_orbax_is_not_damage(folder, monkeypatch):
  def fail(*args, **kwargs):
    raise ValueError("Error opening: [OS error 24: EMFILE Too many open files]")

  monkeypatch.setattr(ocp.CheckpointManager, "restore", fail)
  with pytest.raises(errors.CheckpointError, match="Too many open files"):
    saved.restore(folder)
  monkeypatch.undo()
  assert int(saved.restore(folder).step) == 3


def test_damaged_steps_are_set_aside(folder):
  store = checkpoints.Checkpoints(folder, keep=2)
  assert not store.set_damaged_aside(saved.abstract)
  saved.damage_data(folder, 2)
  assert store.set_damaged_aside(saved.abstract)
  assert store.steps() == [3]


def test_empty_step_directory_is_damaged(folder):
  (folder / "4").mkdir()
  assert int(saved.restore(folder).step) == 3
