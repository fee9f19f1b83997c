"""Checkpoints that are verified when they are restored.

Orbax writes a step atomically but restores a flipped bit silently, so that each
checkpoint stores a SHA-256 of every leaf. If a step fails to restore, it is
renamed and the step before it is restored.

The state is the same in all processes, and only the first one writes and reads
checkpoints. It sends the restored state to the others: they need not see its
disk, and all agree on which step is damaged.
"""

from collections.abc import Callable
import hashlib
import pathlib
import textwrap

from absl import logging
import jax
import numpy as np
import orbax.checkpoint as ocp

from galmet_jax.devices import processes
from galmet_jax.devices import sharding
from galmet_jax.train_state import TrainState


class Checkpoints:
  """The checkpoints in one directory, by step; the newest `keep` stay."""

  def __init__(self, directory: pathlib.Path, keep: int):
    """Opens the directory; creates it if absent."""
    self._directory = directory.absolute()
    self._manager: ocp.CheckpointManager | None = None
    if not processes.is_first():
      return
    self._directory.mkdir(parents=True, exist_ok=True)
    options = ocp.CheckpointManagerOptions(
      max_to_keep=keep,
      enable_async_checkpointing=False,
      # Otherwise Orbax waits for the other processes.
      create=False,
      multiprocessing_options=ocp.options.MultiprocessingOptions(
        active_processes={0}
      ),
    )
    self._manager = ocp.CheckpointManager(self._directory, options=options)

  def steps(self) -> list[int]:
    """Returns the stored steps, oldest first; none in other processes."""
    if self._manager is None:
      return []
    self._manager.reload()
    return sorted(self._manager.all_steps())

  def delete_after(self, step: int) -> None:
    """Deletes the steps after `step`.

    A run killed between the saves of its best epoch and of its latest step
    leaves a best step that is newer. Orbax would silently skip every save up
    to it, and without a latest step the next run may even have another config.
    """
    for later in self.steps():
      if later > step:
        assert self._manager is not None
        self._manager.delete(later)

  def save(self, state: TrainState) -> None:
    """Saves the state under its step."""
    if self._manager is None:
      return
    state = jax.device_get(state)
    self._manager.save(
      int(state.step),
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(state),
        digests=ocp.args.JsonSave(digests(state)),
      ),
    )

  def restore(self, template: Callable[[int], TrainState]) -> TrainState | None:
    """Restores the newest undamaged step; None if there is none.

    Args:
      template: the abstract state, with shardings, of a step.
    """
    restored = processes.on_first(lambda: self._read_newest(template))
    step = processes.broadcast_int(
      -1 if restored is None else int(restored.step)
    )
    if step < 0:
      return None
    abstract = template(step)
    where = jax.tree.leaves(abstract)[0].sharding
    return sharding.device_put(
      processes.broadcast_arrays(restored, abstract), where
    )

  def _read_newest(
    self, template: Callable[[int], TrainState]
  ) -> TrainState | None:
    """Reads the newest undamaged step, as numpy arrays."""
    for step in reversed(self.steps()):
      assert self._manager is not None
      expected = jax.tree.map(
        lambda x: np.empty(x.shape, x.dtype), template(step)
      )
      try:
        restored = self._manager.restore(
          step,
          args=ocp.args.Composite(
            state=ocp.args.StandardRestore(expected),
            digests=ocp.args.JsonRestore(),
          ),
        )
        _verify(restored["state"], restored["digests"])
        return restored["state"]
      # Damage makes Orbax and TensorStore raise almost anything.
      except Exception as error:
        damaged = self._directory / str(step)
        renamed = damaged.with_name(f"{step}.corrupt")
        logging.error(
          "Checkpoint %s is damaged (%s); renamed to %s, trying the step "
          "before it.",
          damaged,
          textwrap.shorten(str(error), 300),
          renamed.name,
        )
        damaged.rename(renamed)
    return None


def digests(state: TrainState) -> dict[str, str]:
  """Returns the SHA-256 of every leaf, by its path."""
  leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(state))
  return {
    jax.tree_util.keystr(path): hashlib.sha256(
      np.ascontiguousarray(leaf).tobytes()
    ).hexdigest()
    for path, leaf in leaves
  }


def _verify(state: TrainState, expected: dict[str, str]) -> None:
  found = digests(state)
  differing = [path for path in expected if found.get(path) != expected[path]]
  if differing or set(found) != set(expected):
    raise ValueError(f"the digests of {differing or sorted(found)} differ")
