"""Multi-process training: broadcasting, checking agreement, exiting.

All processes run the same program with the same flags and take part in every
step. Only process 0 reads and writes the workdir; it sends the others what
they need. These functions are collective: every process must call them, in the
same order. Who waits (dots) for whom:

  on_first(f)           process 0  |--- f ---|-->  the result of f
                        others     |.........|-->  None

  first_then_others(f)  process 0  |--- f ---|-->  the result of f
                        others     |.........|--- f ---|-->  the result of f

  broadcast_*(x)        process 0  |...|-->  its x
                        others     |...|-->  the x of process 0

A process that fails exits at once. JAX then terminates the others, which may be
waiting for it: immediately if the connection closes, after 100 seconds without
a heartbeat otherwise. The next start resumes from the last checkpoint.
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import hashlib
import os
import sys
import time
import traceback
from typing import Any
from typing import TypeVar
from typing import cast

import jax
from jax.experimental import multihost_utils
import numpy as np

from galmet_jax import errors

T = TypeVar("T")


@contextlib.contextmanager
def exit_together() -> Iterator[None]:
  """Waits for the other processes at the end, or exits at once on an error.

  Inside the context only process 0 prints to stdout.
  """
  if not jax.distributed.is_initialized():
    yield
    return
  try:
    with contextlib.ExitStack() as stack:
      if not is_first():
        devnull = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        stack.enter_context(contextlib.redirect_stdout(devnull))
      yield
  except BaseException as error:
    _exit_now(error)
  leave()


def _exit_now(error: BaseException) -> None:
  """Prints the error and exits without waiting for the others."""
  status = 1
  if isinstance(error, SystemExit) and isinstance(error.code, int):
    status = error.code
  elif isinstance(error, SystemExit):
    print(error.code, file=sys.stderr, flush=True)
  else:
    traceback.print_exception(error)
  sys.stdout.flush()
  sys.stderr.flush()
  if is_first():
    # The exit of process 0 kills the others; let them print their own errors.
    time.sleep(1)
  # sys.exit would run JAX's exit handler, which waits for the others.
  os._exit(status)


def is_first() -> bool:
  """Returns whether this is process 0, which reads and writes the files."""
  return jax.process_index() == 0


def on_first(action: Callable[[], T]) -> T | None:
  """Calls `action` in process 0 while the others wait.

  Args:
    action: a function that computes on devices of process 0 only.

  Returns:
    The result of `action`; None in the other processes.

  Raises:
    Exception: whatever `action` raises, in process 0.
    ConfigError: in the other processes if `action` raises.
  """
  if jax.process_count() == 1:
    return action()
  result, error = None, None
  if is_first():
    try:
      result = action()
    except Exception as raised:
      error = raised
  failed = broadcast_int(error is not None)
  if error is not None:
    raise error
  if failed:
    raise errors.ConfigError(
      f"process {jax.process_index()} exits because process 0 failed; see its "
      "output."
    )
  return result


def first_then_others(action: Callable[[], T]) -> T:
  """Calls `action` in process 0, then in the others.

  On a shared disk the others find what process 0 downloaded or built there.
  """
  result = on_first(action)
  return cast(T, result) if is_first() else action()


def broadcast_int(value: int) -> int:
  """Returns the value of process 0, in all processes."""
  if jax.process_count() == 1:
    return value
  return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def max_int(value: int) -> int:
  """Returns the largest of the processes' values, in all of them."""
  if jax.process_count() == 1:
    return value
  return int(multihost_utils.process_allgather(np.int32(value)).max())


def leave() -> None:
  """Waits for all processes. One that exits earlier looks like a failure."""
  if jax.distributed.is_initialized():
    jax.distributed.shutdown()


def broadcast_arrays(tree: Any, like: Any) -> Any:
  """Returns the arrays of process 0, in all processes.

  Args:
    tree: numpy arrays in process 0; ignored in the others.
    like: shapes and dtypes of the arrays, in all processes.
  """
  if jax.process_count() == 1:
    return tree
  leaves, structure = jax.tree.flatten(like)
  sizes = [leaf.size * leaf.dtype.itemsize for leaf in leaves]
  # As bytes: the collective adds zeros, which would turn -0.0 into 0.0.
  content = np.zeros(sum(sizes), np.uint8)
  if is_first():
    parts = [np.ascontiguousarray(x).tobytes() for x in jax.tree.leaves(tree)]
    content = np.frombuffer(b"".join(parts), np.uint8)
  content = multihost_utils.broadcast_one_to_all(content)
  pieces = np.split(content, np.cumsum(sizes)[:-1])
  return jax.tree.unflatten(
    structure,
    [
      piece.view(leaf.dtype).reshape(leaf.shape)
      for piece, leaf in zip(pieces, leaves, strict=True)
    ],
  )


def assert_equal_across_processes(name: str, content: bytes) -> None:
  """Raises ConfigError in every process if `content` differs in any of them."""
  if jax.process_count() == 1:
    return
  digest = np.frombuffer(hashlib.sha256(content).digest(), np.uint8)
  # multihost_utils.assert_equal would not report which process differs.
  digests = multihost_utils.process_allgather(digest)
  odd = np.flatnonzero((digests != digests[0]).any(axis=1))
  if odd.size:
    raise errors.ConfigError(
      f"{name}: expected the same in all {len(digests)} processes, found a "
      f"difference between process 0 and {', '.join(map(str, odd))}. Start all "
      "processes with the same flags, code and data (--config.data.data_dir on "
      "a shared disk, or copies)."
    )
