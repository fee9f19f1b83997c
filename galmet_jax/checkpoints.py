"""Checkpoints that are verified when they are read.

Orbax writes a step atomically but restores a flipped bit without a word, so
each checkpoint carries a SHA-256 of every leaf. A step that fails to restore
is set aside and the one before it is taken.

Of several processes, the first alone writes and reads them: the state is the
same in all. What it has restored it sends to the others, which need not see
its disk, and cannot find a step whole that it finds damaged.
"""

from collections.abc import Callable
import hashlib
import pathlib
import textwrap

from absl import logging
import jax
import numpy as np
import orbax.checkpoint as ocp

from galmet_jax import train_state
from galmet_jax.devices import processes
from galmet_jax.devices import sharding


class Checkpoints:
  """The checkpoints under one directory, by step, newest kept."""

  def __init__(self, directory: pathlib.Path, keep: int):
    """Opens or makes the directory; `keep` steps are retained."""
    self._directory = directory.absolute()
    self._manager: ocp.CheckpointManager | None = None
    if not processes.is_first():
      return
    self._directory.mkdir(parents=True, exist_ok=True)
    options = ocp.CheckpointManagerOptions(
      max_to_keep=keep,
      enable_async_checkpointing=False,
      # Orbax would wait for the other processes.
      create=False,
      multiprocessing_options=ocp.options.MultiprocessingOptions(
        active_processes={0}
      ),
    )
    self._manager = ocp.CheckpointManager(self._directory, options=options)

  def steps(self) -> list[int]:
    """Returns the steps at hand, oldest first; [] but in the first process."""
    if self._manager is None:
      return []
    self._manager.reload()
    return sorted(self._manager.all_steps())

  def forget_after(self, step: int) -> None:
    """Deletes the steps after `step`.

    A run that died may have saved its best epoch and not yet the latest one.
    Orbax would silently save nothing before such a step, and the step itself
    may be of another config, if there was no latest one at all.
    """
    for later in self.steps():
      if later > step:
        assert self._manager is not None
        self._manager.delete(later)

  def save(self, state: train_state.TrainState) -> None:
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

  def restore(
    self, template: Callable[[int], train_state.TrainState]
  ) -> train_state.TrainState | None:
    """Restores the newest step that is whole.

    Args:
      template: the abstract state, with shardings, expected at a step.

    Returns:
      The state, or None if there is no checkpoint.
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
    self, template: Callable[[int], train_state.TrainState]
  ) -> train_state.TrainState | None:
    """Reads the newest step that is whole, as numpy arrays."""
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
      # Orbax and TensorStore raise whatever the damage leads them to.
      except Exception as error:
        spoilt = self._directory / str(step)
        aside = spoilt.with_name(f"{step}.corrupt")
        logging.error(
          "Checkpoint %s is damaged (%s); set aside as %s, trying the one "
          "before it.",
          spoilt,
          textwrap.shorten(str(error), 300),
          aside.name,
        )
        spoilt.rename(aside)
    return None


def digests(state: train_state.TrainState) -> dict[str, str]:
  """Returns the SHA-256 of every leaf, by its path."""
  leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(state))
  return {
    jax.tree_util.keystr(path): hashlib.sha256(
      np.ascontiguousarray(leaf).tobytes()
    ).hexdigest()
    for path, leaf in leaves
  }


def _verify(state: train_state.TrainState, expected: dict[str, str]) -> None:
  found = digests(state)
  spoilt = [path for path in expected if found.get(path) != expected[path]]
  if spoilt or set(found) != set(expected):
    raise ValueError(f"the digests of {spoilt or sorted(found)} differ")
