"""Tasks that Beam's workers import."""

import errno
import os
import signal
from typing import NamedTuple


class Task(NamedTuple):
  """What a worker does instead of writing the file."""

  path: str
  action: str


def act(task):
  """Does what may happen to a worker."""
  if task.action == "die":
    os.kill(os.getpid(), signal.SIGKILL)
  if task.action == "full disk":
    raise OSError(errno.ENOSPC, "No space left on device", task.path)
