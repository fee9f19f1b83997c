"""Signals stop a program after what is in progress; a second one at once."""

import asyncio
import contextlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from tfds_sdss import signals

pytestmark = [
  pytest.mark.faults("a signal"),
  pytest.mark.usefixtures("signals_arrive"),
]

# Waits forever in a call of C, which signals do not interrupt.
BUSY = """
import ctypes
from tfds_sdss import signals
with signals.handled():
  libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
  print("ready", flush=True)
  libc.pthread_mutex_lock(mutex)
  libc.pthread_mutex_lock(mutex)
"""

# Python discards exceptions of weak references and of __del__.
DISCARDED = """
import signal, sys, weakref
from tfds_sdss import signals
class Object:
  pass
with signals.handled():
  kept = Object()
  reference = weakref.ref(
    kept, lambda _: signal.raise_signal(int(sys.argv[1]))
  )
  print("before")
  del kept
  print("after")
"""


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_signal_is_raised_with_its_exit_status(number):
  with (
    pytest.raises(signals.Stopped, match=f"stopped by {number.name}. Run") as e,
    signals.handled(),
  ):
    signal.raise_signal(number)
  assert e.value.exit_status == 128 + number


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_ignored_signal_stays_ignored(number):
  signal.signal(number, signal.SIG_IGN)
  with signals.handled():
    signal.raise_signal(number)
    assert signals.received() == 0
  assert signal.getsignal(number) is signal.SIG_IGN


def test_postponed_signal_is_raised_at_the_end():
  done = []

  def work():
    with signals.handled():
      with signals.postponed():
        signal.raise_signal(signal.SIGTERM)
        done.append(signals.received())
      done.append("too far")

  with pytest.raises(signals.Stopped):
    work()
  assert done == [signal.SIGTERM]
  assert signals.received() == 0


def test_error_is_raised_rather_than_a_postponed_signal():
  def work():
    with signals.handled(), signals.postponed():
      signal.raise_signal(signal.SIGTERM)
      return 1 // 0

  with pytest.raises(ZeroDivisionError):
    work()


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_signal_in_code_that_ignores_exceptions_is_not_lost(number):
  command = [sys.executable, "-c", DISCARDED, str(int(number))]
  found = subprocess.run(command, capture_output=True, text=True, timeout=60)
  assert found.returncode == 128 + number
  assert found.stdout == "before\n"
  assert found.stderr == (
    f"stopped by {number.name}. Run the same command to resume or to start "
    "again.\n"
  )


def test_other_exceptions_that_are_ignored_end_nothing(monkeypatch):
  reported = []
  monkeypatch.setattr(sys, "unraisablehook", reported.append)

  class Deleted:
    def __del__(self):
      raise ValueError("harmless")

  with signals.handled():
    Deleted()
  assert [str(found.exc_value) for found in reported] == ["harmless"]
  assert sys.unraisablehook == reported.append


def test_swallowed_signal_is_raised_again_unless_postponed():
  done = []

  def work():
    with signals.handled():
      signals.check()
      with contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
      with contextlib.suppress(KeyboardInterrupt), signals.postponed():
        signals.check()
        done.append("postponed")
      signals.check()
      done.append("too far")

  with pytest.raises(signals.Stopped):
    work()
  assert done == ["postponed"]


def test_error_that_replaces_the_exception_is_no_error():
  def work():
    with signals.handled():
      try:
        signal.raise_signal(signal.SIGTERM)
      except KeyboardInterrupt:
        raise RuntimeError("import failed") from None

  with pytest.raises(signals.Stopped):
    work()


@pytest.mark.parametrize("stubborn", [False, True])
def test_coroutine_is_cancelled_and_the_signal_never_lost(stubborn):
  cleaned = []

  async def work():
    asyncio.get_running_loop().call_later(
      0.01, signal.raise_signal, signal.SIGTERM
    )
    try:
      await asyncio.sleep(60)
    except asyncio.CancelledError:
      cleaned.append(True)
      if not stubborn:
        raise

  with pytest.raises(signals.Stopped), signals.handled():
    signals.run(work())
  assert cleaned == [True]


def test_coroutine_returns_its_result():
  async def work():
    return 5

  assert signals.run(work()) == 5


def test_second_signal_ends_a_process_that_is_busy_in_c():
  with subprocess.Popen(
    [sys.executable, "-c", BUSY], stdout=subprocess.PIPE, text=True
  ) as process:
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)  # until it waits for the mutex
    process.send_signal(signal.SIGTERM)
    # Longer than what counts as a repetition of the first.
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=30) == 128 + signal.SIGHUP


def test_coroutine_runs_where_a_loop_is_running():
  async def work():
    await asyncio.sleep(0)
    return 7

  async def cell_of_a_notebook():
    return signals.run(work())

  assert asyncio.run(cell_of_a_notebook()) == 7


def test_interrupt_cancels_a_coroutine_beside_a_running_loop():
  ended = []

  async def work():
    try:
      threading.Timer(
        0.1, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)
      ).start()
      await asyncio.sleep(100)
    finally:
      ended.append(True)

  async def cell_of_a_notebook():
    # asyncio.run has a handler of its own, Jupyter has Python's.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signals.run(work())

  with pytest.raises(KeyboardInterrupt):
    asyncio.run(cell_of_a_notebook())
  assert ended
