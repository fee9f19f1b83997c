"""Several processes, as of several hosts, that train one network together.

All run the same program with the same flags, and every step needs all of them.
What a run reads and writes in its workdir the first one alone (process 0) reads
and writes, and tells the others what follows from it.

A process that ends with an error ends at once. The others, which may be waiting
for it, are ended by JAX: as soon as they notice that the connection is closed,
and after 100 seconds without a sign of life at the latest. Started again, the
run goes on from its last checkpoint.
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

import jax
from jax.experimental import multihost_utils
import numpy as np

from galmet_jax import errors

T = TypeVar("T")


def join(
  distributed: bool,
  coordinator: str | None,
  num_processes: int | None,
  process_id: int | None,
) -> None:
  """Joins this process with the others of its run, if there are any.

  To be called before anything is computed.

  Args:
    distributed: whether the cluster (SLURM, Open MPI, Kubernetes, Cloud TPU)
      knows the other processes.
    coordinator: HOST:PORT, at which the first process is to be reached.
    num_processes: how many there are.
    process_id: which one this is, from 0.

  Raises:
    ConfigError: for arguments that do not go together, or without a cluster.
  """
  by_hand = _check(distributed, coordinator, num_processes, process_id)
  if not (distributed or by_hand):
    return
  try:
    jax.distributed.initialize(**by_hand)
  except ValueError as error:
    raise errors.ConfigError(
      "--distributed: expected to be started by SLURM, Open MPI, Kubernetes or "
      f"on a Cloud TPU, found none of them ({error}) Leave it out, or give "
      "--coordinator, --num_processes and --process_id instead."
    ) from error


@contextlib.contextmanager
def exit_together() -> Iterator[None]:
  """Ends with the other processes, or at once if there is an error.

  Within, the first process alone prints to stdout.
  """
  if not jax.distributed.is_initialized():
    yield
    return
  try:
    with contextlib.ExitStack() as stack:
      if not is_first():
        nowhere = stack.enter_context(open(os.devnull, "w"))
        stack.enter_context(contextlib.redirect_stdout(nowhere))
      yield
  except BaseException as error:
    _end(error)
  # Waits for all, or the last ones would be told of a lost connection.
  jax.distributed.shutdown()


def _check(
  distributed: bool,
  coordinator: str | None,
  num_processes: int | None,
  process_id: int | None,
) -> dict[str, Any]:
  """Returns the arguments for JAX; none for one process, or for a cluster."""
  given = {
    "--coordinator": coordinator,
    "--num_processes": num_processes,
    "--process_id": process_id,
  }
  missing = [name for name, value in given.items() if value is None]
  if len(missing) == len(given):
    return {}
  if distributed:
    found = ", ".join(name for name in given if name not in missing)
    raise errors.ConfigError(
      f"--distributed asks the cluster for what {found} would tell; expected "
      "one or the other."
    )
  if coordinator is None or num_processes is None or process_id is None:
    raise errors.ConfigError(
      f"expected --coordinator, --num_processes and --process_id together, "
      f"found no {', '.join(missing)}."
    )
  host, _, port = coordinator.rpartition(":")
  if not (host and port.isdecimal() and 0 < int(port) < 65536):
    raise errors.ConfigError(
      f"--coordinator={coordinator}: expected HOST:PORT, as 10.0.0.1:1234."
    )
  if not 0 <= process_id < num_processes:
    raise errors.ConfigError(
      f"--process_id={process_id}: expected 0 to {num_processes - 1} with "
      f"--num_processes={num_processes}."
    )
  return {
    "coordinator_address": coordinator,
    "num_processes": num_processes,
    "process_id": process_id,
    "cluster_detection_method": "deactivate",
  }


def _end(error: BaseException) -> None:
  """Ends the process without waiting for the others."""
  if isinstance(error, SystemExit):
    print(error.code, file=sys.stderr, flush=True)
  else:
    traceback.print_exception(error)
  sys.stdout.flush()
  sys.stderr.flush()
  if is_first():
    # It takes the others with it: they may have something to say as well.
    time.sleep(1)
  os._exit(1)


def is_first() -> bool:
  """Tells whether this process is the one that reads and writes the files."""
  return jax.process_index() == 0


def broadcast_int(value: int) -> int:
  """Returns the first process's value, in all of them; waits for all."""
  if jax.process_count() == 1:
    return value
  return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def on_first(action: Callable[[], T]) -> T | None:
  """Does something in the first process, while the others wait for it.

  Args:
    action: must not compute on devices of other processes.

  Returns:
    What the action returns; None in the other processes.

  Raises:
    Exception: what the action raises.
    ConfigError: in the other processes, if it raises.
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
      f"process {jax.process_index()} ends, for process 0 has failed; see its "
      "output."
    )
  return result


def first_then_others(action: Callable[[], T]) -> T:
  """Does something in each process, the first one before all others.

  What it leaves on the disk (a download, a cache) the others find there, if
  they see the same disk.
  """
  result = on_first(action)
  return result if is_first() else action()  # type: ignore[return-value]


def assert_equal_across_processes(name: str, content: bytes) -> None:
  """Compares something over all processes.

  Args:
    name: what it is, for the message.
    content: the same in each process, if all is well.

  Raises:
    ConfigError: if it differs.
  """
  if jax.process_count() == 1:
    return
  digest = np.frombuffer(hashlib.sha256(content).digest(), np.uint8)
  digests = multihost_utils.process_allgather(digest)
  odd = np.flatnonzero((digests != digests[0]).any(axis=1))
  if odd.size:
    raise errors.ConfigError(
      f"{name}: expected the same in all {len(digests)} processes, found "
      f"another in {', '.join(map(str, odd))} than in process 0. Start all "
      "with the same flags, code and data (--config.data.data_dir on a disk "
      "that all share, or copies)."
    )


def broadcast_arrays(tree: Any, like: Any) -> Any:
  """Sends arrays from the first process to all.

  Args:
    tree: numpy arrays in the first process; anything in the others.
    like: their shapes and dtypes, in all.

  Returns:
    The first process's arrays, bit by bit.
  """
  if jax.process_count() == 1:
    return tree
  leaves, structure = jax.tree.flatten(like)
  sizes = [leaf.size * leaf.dtype.itemsize for leaf in leaves]
  # As bytes: they are added to zeros, and -0.0 + 0.0 is another zero.
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
