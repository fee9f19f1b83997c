"""Distinguishes damaged files from errors of the operating system."""

from collections.abc import Callable
import errno
import gc
import logging
import os
import pathlib
import sys
import textwrap
import threading
from typing import Any
import warnings

# Texts of errors that have nothing to do with the content of a file.
_SYSTEM_ERRORS = tuple(
  os.strerror(number)
  for number in (
    *(errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOMEM),
    *(errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.EROFS),
    *(errno.EFBIG, errno.ENOTCONN, errno.ETIMEDOUT),
  )
)


class DamagedError(Exception):
  """A checkpoint differs from its manifest."""


class SystemCallError(Exception):
  """The operating system refuses to read or write."""


def call(function: Callable[[], Any]) -> Any:
  """Calls Orbax, which raises almost anything, and prints it as well.

  Raises:
    SystemCallError: if the cause is the operating system.
    DamagedError: for any other error.
  """
  hooks: tuple[Any, Any] = threading.excepthook, sys.unraisablehook
  # A failure leaves threads and coroutines that print tracebacks of their own.
  nothing: Any = lambda _: None  # noqa: E731
  threading.excepthook = sys.unraisablehook = nothing
  logging.disable()
  try:
    try:
      return function()
    except Exception as error:
      text = str(error)
      causes = [cause for cause in _SYSTEM_ERRORS if cause in text]
      if isinstance(error, MemoryError):
        causes = ["Out of memory"]
      reason = shorten(error)
    with warnings.catch_warnings():
      warnings.simplefilter("ignore", RuntimeWarning)
      gc.collect()
  finally:
    threading.excepthook, sys.unraisablehook = hooks
    logging.disable(logging.NOTSET)
  raise SystemCallError(causes[0]) if causes else DamagedError(reason)


def check_readable(folder: pathlib.Path) -> None:
  """Reads all files of a folder.

  Raises:
    SystemCallError: if the operating system cannot read one of them.
    DamagedError: if a file disappears.
  """

  def fail(error: OSError) -> None:
    raise error

  try:
    for parent, _, names in os.walk(folder, onerror=fail):
      for name in names:
        with open(os.path.join(parent, name), "rb") as file:
          while file.read(1 << 24):
            pass
  except FileNotFoundError as error:
    raise DamagedError(shorten(error)) from error
  except (OSError, MemoryError) as error:
    raise SystemCallError(shorten(error)) from error


def shorten(error: Exception) -> str:
  """Returns the text of an error on one line, without its last full stop."""
  return textwrap.shorten(str(error) or type(error).__name__, 300).rstrip(".")
