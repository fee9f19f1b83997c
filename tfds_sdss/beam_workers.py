"""Worker processes of Apache Beam on this machine, which end with this one.

Beam waits forever for a worker that has died, and leaves workers behind if this
process dies.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import functools
import os
import queue
import sys
import threading

import psutil

# Beam's name of the threads that wait for a worker process.
_WAITING = "run_worker"
_MODULE = "apache_beam.runners.worker.sdk_worker_main"


class WorkerDiedError(RuntimeError):
  """A worker process has ended before its tasks."""


def run(pipeline: Callable[[], object]) -> None:
  """Runs a pipeline; a signal interrupts it at once.

  Args:
    pipeline: runs the pipeline, and returns when it has ended.

  Raises:
    WorkerDiedError: if a worker process has died.
    Exception: what `pipeline` raises.
  """
  outcome: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

  def work() -> None:
    try:
      pipeline()
    # Also the exit of Beam's argument parser.
    except BaseException as error:
      outcome.put(error)
    else:
      outcome.put(None)

  with _modules_found(), _deaths_reported(outcome):
    # Not the main thread, which would wait for a dead worker as well. Beam's
    # threads inherit `daemon`, so that they do not keep this process alive.
    threading.Thread(target=work, name="beam", daemon=True).start()
    try:
      error = outcome.get()
    except BaseException:
      _kill()
      raise
    if error is not None:
      _kill()
      raise error


@functools.cache
def end_with(driver: int) -> None:
  """Ends this process soon after its ancestor `driver`, if it is one."""
  for process in psutil.Process().parents():
    if process.pid == driver:
      threading.Thread(
        target=_wait_and_exit, args=[process], daemon=True
      ).start()


def _wait_and_exit(process: psutil.Process) -> None:
  process.wait()
  os._exit(1)


def _kill() -> None:
  for child in psutil.Process().children(recursive=True):
    with contextlib.suppress(psutil.Error):
      if _MODULE in child.cmdline():
        child.kill()


@contextlib.contextmanager
def _modules_found() -> Iterator[None]:
  """Lets worker processes import what this process can import."""
  before = os.environ.get("PYTHONPATH")
  os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
  try:
    yield
  finally:
    if before is None:
      del os.environ["PYTHONPATH"]
    else:
      os.environ["PYTHONPATH"] = before


@contextlib.contextmanager
def _deaths_reported(
  outcome: queue.SimpleQueue[BaseException | None],
) -> Iterator[None]:
  report = threading.excepthook

  def put_or_report(args: threading.ExceptHookArgs) -> None:
    if args.thread is not None and args.thread.name == _WAITING:
      outcome.put(WorkerDiedError(str(args.exc_value)))
    else:
      report(args)

  threading.excepthook = put_or_report
  try:
    yield
  finally:
    threading.excepthook = report
