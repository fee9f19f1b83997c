"""Signals that ask a command to stop: finish what is in progress, then exit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Coroutine
from collections.abc import Iterator
import concurrent.futures
import contextlib
import os
import signal
import sys
import threading
import time
from typing import Any
from typing import TypeVar

# SIGUSR1 is the usual early warning of SLURM: sbatch --signal=USR1@120.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
# Some launchers, such as timeout(1), send every signal twice. A repetition
# within this time does not count as a second signal, seconds.
_REPETITION = 0.1

_T = TypeVar("_T")
_received = 0
_postponed: Callable[[], object] | None = None


class Stopped(KeyboardInterrupt):
  """A signal asked the process to stop."""

  def __init__(
    self,
    number: int,
    where: str = ". Run the same command to resume or to start again.",
  ):
    """Stores the signal; `where` completes the message."""
    super().__init__(f"stopped by {signal.Signals(number).name}{where}")
    self.exit_status = 128 + number


@contextlib.contextmanager
def handled() -> Iterator[None]:
  """Raises Stopped in the main thread at a signal; exits at a second one.

  A signal that is ignored at the start, as by nohup, stays ignored. The context
  must be entered in the main thread. In code whose exceptions Python discards,
  such as `__del__`, the first signal ends the process.
  """
  global _received
  _received = 0
  before = {
    number: signal.signal(number, _handle)
    for number in SIGNALS
    if signal.getsignal(number) != signal.SIG_IGN
  }
  reader, writer = os.pipe()
  os.set_blocking(writer, False)
  former = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
  threading.Thread(target=_watch, args=(reader,), daemon=True).start()
  report = sys.unraisablehook
  sys.unraisablehook = lambda discarded: _exit_or_report(discarded, report)
  try:
    yield
  except Exception as error:
    # Code that was interrupted may replace the exception by its own.
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, Stopped):
      cause = cause.__cause__ or cause.__context__
    if cause is not None:
      raise cause from error
    raise
  finally:
    sys.unraisablehook = report
    signal.set_wakeup_fd(former)
    os.close(writer)
    for number, handler in before.items():
      signal.signal(number, handler)
    _received = 0


def received() -> int:
  """Returns the number of the signal that was received; 0 if none was."""
  return _received


def check() -> None:
  """Raises Stopped again if a library has swallowed it; not while postponed."""
  if _received and _postponed is None:
    raise Stopped(_received)


@contextlib.contextmanager
def postponed(action: Callable[[], object] = lambda: None) -> Iterator[None]:
  """Calls `action` at a signal, and raises Stopped at the end of the context.

  The code in the context looks at `received` and returns early. If it raises an
  exception, this exception is raised instead.
  """
  global _postponed
  _postponed = action
  try:
    yield
  finally:
    _postponed = None
  if _received:
    raise Stopped(_received)


def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
  """Calls `asyncio.run`; a signal cancels the coroutine and raises Stopped.

  Where a loop is running already, as in Jupyter, another thread runs it.
  """
  cancels: list[Callable[[], object]] = []

  async def cancellable() -> _T:
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    cancels.append(lambda: loop.call_soon_threadsafe(task.cancel))
    with postponed(cancels[0]):
      return await coroutine

  try:
    if not _has_loop():
      return asyncio.run(cancellable())
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
      future = pool.submit(asyncio.run, cancellable())
      try:
        return future.result()
      except KeyboardInterrupt:
        # Jupyter interrupts this thread only. The context waits for the other.
        for cancel in cancels if not future.done() else ():
          cancel()
        raise
  except asyncio.CancelledError:
    if _received:
      raise Stopped(_received) from None
    raise


def _has_loop() -> bool:
  try:
    asyncio.get_running_loop()
  except RuntimeError:
    return False
  return True


def _handle(number: int, _: object) -> None:
  global _received
  if _received:
    return  # _watch ends the process.
  _received = number
  if _postponed is None:
    raise Stopped(number)
  _postponed()


def _exit_or_report(
  discarded: sys.UnraisableHookArgs,
  report: Callable[[sys.UnraisableHookArgs], object],
) -> None:
  """Ends the process if Python discards Stopped; reports other exceptions."""
  stopped = discarded.exc_value
  if not isinstance(stopped, Stopped):
    report(discarded)
    return
  try:
    print(stopped, file=sys.stderr, flush=True)
    sys.stdout.flush()
  finally:
    os._exit(stopped.exit_status)


def _watch(reader: int) -> None:
  """Ends the process at the second signal.

  A thread, because the main one runs no handler while it compiles a program or
  waits for a device.
  """
  first = None
  with open(reader, "rb", buffering=0) as numbers:
    while number := numbers.read(1):
      if number[0] not in SIGNALS:
        continue
      if first is None:
        first = time.monotonic()
      elif time.monotonic() - first > _REPETITION:
        os._exit(128 + number[0])
