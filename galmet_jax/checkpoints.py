"""Checkpoints that are verified when they are restored.

Orbax writes a step atomically but restores a flipped bit silently. Therefore
each checkpoint has a manifest: dtype, shape and SHA-256 of every leaf. Only a
checkpoint that differs from its manifest is damaged: training renames it and
restores the step before it. If a file cannot be read, or the checkpoint is of
another network, the run stops and nothing is changed.

The state is the same in all processes, and only the first one writes and reads
checkpoints. It sends the restored state to the others: they need not see its
disk, and all agree on which step is damaged.
"""

from collections.abc import Callable
import pathlib
import shutil
from typing import Any
from typing import NamedTuple

from absl import logging
import jax
import numpy as np
import orbax.checkpoint as ocp

from galmet_jax import disk_errors
from galmet_jax import errors
from galmet_jax import manifest
from galmet_jax.devices import processes
from galmet_jax.devices import sharding
from galmet_jax.disk_errors import DamagedError
from galmet_jax.disk_errors import SystemCallError
from galmet_jax.train_state import TrainState
from tfds_sdss import files


class Restored(NamedTuple):
  """A restored checkpoint.

  Attributes:
    state: state of training.
    progress: JSON object that was saved with it; empty except in the first
      process.
  """

  state: TrainState
  progress: dict[str, Any]


class Checkpoints:
  """The checkpoints in one directory, by step; the newest `keep` stay."""

  def __init__(
    self, directory: pathlib.Path, keep: int, *, read_only: bool = False
  ):
    """Opens the directory.

    Args:
      directory: created by the first save.
      keep: number of steps to keep.
      read_only: change nothing in the directory; a damaged step is skipped.
    """
    self._directory = directory.absolute()
    self._keep = keep
    self._read_only = read_only
    self._manager: ocp.CheckpointManager | None = None
    self._first_save = True

  def steps(self) -> list[int]:
    """Returns the stored steps, oldest first; none in other processes."""
    if not processes.is_first() or not self._directory.is_dir():
      return []
    manager = self._open()
    manager.reload()
    return sorted(manager.all_steps())

  def delete_after(self, step: int) -> None:
    """Deletes the steps after `step`.

    A run killed between the saves of its best epoch and of its latest step
    leaves a best step that is newer. Without a latest step the next run may
    even have another config.
    """
    for later in self.steps():
      if later > step:
        self._open().delete(later)

  def save(
    self, state: TrainState, progress: dict[str, Any] | None = None
  ) -> None:
    """Saves the state under its step, and `progress` with it.

    The first checkpoint of a process is read back.

    Raises:
      CheckpointError: if it was not saved; earlier checkpoints stay.
    """
    if not processes.is_first():
      return
    state = jax.device_get(state)
    step = int(state.step)
    path = self._directory / str(step)
    try:
      self._directory.mkdir(parents=True, exist_ok=True)
      args = ocp.args.Composite(
        state=ocp.args.StandardSave(state),
        digests=ocp.args.JsonSave(manifest.make(state, progress or {})),
      )
      if not disk_errors.call(lambda: self._open().save(step, args=args)):
        raise SystemCallError(f"Orbax skipped it; stored are {self.steps()}")
      if self._first_save:
        self._read(step, state)
        self._first_save = False
    except (DamagedError, SystemCallError, OSError) as error:
      for part in self._directory.glob(f"{step}.orbax-checkpoint-tmp*"):
        shutil.rmtree(part, ignore_errors=True)
      raise errors.CheckpointError(
        f"{path}: the checkpoint was not saved: {disk_errors.shorten(error)}. "
        "Earlier checkpoints stay. Free or change the disk, then repeat the "
        "command to resume."
      ) from None

  def restore(self, template: Callable[[int], TrainState]) -> Restored | None:
    """Restores the newest undamaged step; None if none was ever saved.

    Args:
      template: the abstract state, with shardings, of a step.

    Raises:
      CheckpointError: if all steps are damaged, or one cannot be read.
      ConfigError: if a checkpoint is of another network.
    """
    restored = processes.on_first(lambda: self._read_newest(template))
    step = processes.broadcast_int(
      -1 if restored is None else int(restored.state.step)
    )
    if step < 0:
      return None
    abstract = template(step)
    mesh = jax.tree.leaves(abstract)[0].sharding.mesh
    state = sharding.replicate(
      processes.broadcast_arrays(restored and restored.state, abstract), mesh
    )
    return Restored(state, restored.progress if restored else {})

  def set_damaged_aside(self, template: Callable[[int], TrainState]) -> bool:
    """Renames damaged steps; returns whether there were any.

    Raises and takes the same as `restore`.
    """

    def verify() -> bool:
      good = [self._read_or_set_aside(step, template) for step in self.steps()]
      return None in good

    return bool(processes.broadcast_int(bool(processes.on_first(verify))))

  def read_variables(self, step: int) -> dict[str, Any]:
    """Reads the variables of any network, in the first process.

    Returns:
      `params` and `batch_stats`, nested dicts of NumPy arrays.

    Raises:
      DamagedError: if they differ from their manifest.
      CheckpointError: if a file cannot be read.
    """
    folder = self._directory / str(step)
    args = ocp.args.Composite(state=ocp.args.StandardRestore())
    try:
      disk_errors.check_readable(folder)
      restored = disk_errors.call(lambda: self._open().restore(step, args=args))
    except SystemCallError as error:
      raise _unreadable(folder, error) from None
    found = {name: restored["state"].get(name) for name in manifest.VARIABLES}
    if manifest.of_variables(found) != self.digests_of_variables(step):
      raise DamagedError("the digests of its weights differ")
    return found

  def digests_of_variables(self, step: int) -> dict[str, str]:
    """Returns the SHA-256 of the network's variables, as stored with them.

    Raises:
      DamagedError: if there are none.
    """
    path = self._directory / str(step) / "digests" / "metadata"
    try:
      return manifest.read_variables(path)
    except (FileNotFoundError, files.DamagedFileError) as error:
      raise DamagedError(disk_errors.shorten(error)) from error

  def _open(self) -> ocp.CheckpointManager:
    if self._manager is None:
      options = ocp.CheckpointManagerOptions(
        max_to_keep=None if self._read_only else self._keep,
        enable_async_checkpointing=False,
        read_only=self._read_only,
        # Otherwise Orbax warns that it sets this.
        save_interval_steps=0 if self._read_only else 1,
        # Otherwise Orbax waits for the other processes.
        create=False,
        multiprocessing_options=ocp.options.MultiprocessingOptions(
          active_processes={0}
        ),
      )
      verbosity = logging.get_verbosity()
      if self._read_only:
        # Otherwise Orbax warns that it will not write.
        logging.set_verbosity(logging.ERROR)
      try:
        self._manager = ocp.CheckpointManager(self._directory, options=options)
      finally:
        logging.set_verbosity(verbosity)
    return self._manager

  def _read_newest(
    self, template: Callable[[int], TrainState]
  ) -> Restored | None:
    """Reads the newest undamaged step, as numpy arrays."""
    for step in reversed(self.steps()):
      restored = self._read_or_set_aside(step, template)
      if restored is not None:
        return restored
    # A kill during the first save leaves only Orbax's temporary folder.
    found = sorted(
      path.name
      for path in self._directory.glob("[0-9]*")
      if ".orbax-checkpoint-tmp" not in path.name
    )
    if found:
      raise errors.CheckpointError(
        f"{self._directory}: expected an undamaged checkpoint, found only "
        f"{', '.join(found)}. "
        "Restore the folder from a copy, or train again in a new --workdir. "
        "--config.eval.checkpoint selects latest or best for an evaluation."
      )
    return None

  def _read_or_set_aside(
    self, step: int, template: Callable[[int], TrainState]
  ) -> Restored | None:
    try:
      return self._read(step, template(step))
    except DamagedError as error:
      damaged = self._directory / str(step)
      if self._read_only:
        logging.error("Checkpoint %s is damaged (%s).", damaged, error)
        return None
      number, renamed = 1, damaged.with_name(f"{step}.corrupt")
      while renamed.exists():
        number += 1
        renamed = damaged.with_name(f"{step}.corrupt-{number}")
      logging.error(
        "Checkpoint %s is damaged (%s); renamed to %s.",
        *(damaged, error, renamed.name),
      )
      damaged.rename(renamed)
      self._open().reload()
      return None

  def _read(self, step: int, expected: TrainState) -> Restored:
    """Reads a step as numpy arrays.

    Raises:
      DamagedError: if it differs from its manifest.
      CheckpointError: if a file cannot be read.
      ConfigError: if it fits its manifest, but not `expected`.
    """
    folder = self._directory / str(step)
    try:
      return self._read_folder(folder, step, expected)
    except SystemCallError as error:
      raise _unreadable(folder, error) from None

  def _read_folder(
    self, folder: pathlib.Path, step: int, expected: TrainState
  ) -> Restored:
    disk_errors.check_readable(folder)
    try:
      leaves, progress = manifest.read(folder / "digests" / "metadata")
    except (FileNotFoundError, files.DamagedFileError) as error:
      raise DamagedError(disk_errors.shorten(error)) from error
    manifest.check_fit(folder, leaves, expected)
    arrays = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), expected)
    args = ocp.args.Composite(state=ocp.args.StandardRestore(arrays))
    restored = disk_errors.call(lambda: self._open().restore(step, args=args))
    state = restored["state"]
    differing = manifest.differing(state, leaves)
    if differing:
      raise DamagedError(f"the digests of {', '.join(differing)} differ")
    if int(state.step) != step:
      raise DamagedError(f"it holds step {int(state.step)}")
    return Restored(state, progress)


def _unreadable(folder: pathlib.Path, error: Exception) -> Exception:
  return errors.CheckpointError(
    f"{folder} cannot be read: {error}. Nothing was changed. Check the disk "
    "and its permissions, then repeat the command."
  )
