"""Paths from flags, files written whole, and locks of folders."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import errno
import fcntl
import getpass
import hashlib
import json
import logging
import os
import pathlib
import re
import socket
import time
from typing import Any

from tfds_sdss.errors import DataError

# File in a locked folder.
LOCK = ".lock"
_SYNC_SECONDS = 1.0  # between two fsyncs of a file of lines
# Errors of file systems without flock, such as some Lustre and FUSE mounts.
_NO_FLOCK = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}

_log = logging.getLogger(__name__)


# What to do about errors of the file system.
_REMEDIES = {
  (errno.ENOSPC,): "Free disk space, or give another folder,",
  (errno.EDQUOT,): "Free some of your quota, or give another folder,",
  (errno.EACCES, errno.EPERM): (
    "Change its permissions, or give another folder,"
  ),
  (errno.EROFS,): "Give a folder on a disk that can be written",
  (errno.EEXIST, errno.ENOTDIR): "It is a file: give a folder",
  (errno.EISDIR,): "It is a folder: give a file",
  (errno.ENOENT,): "Check the path",
  (errno.EFBIG,): "Raise the limit of file sizes (ulimit -f)",
  (errno.EMFILE, errno.ENFILE): "Raise the limit of open files (ulimit -n)",
  (errno.ENAMETOOLONG, errno.ELOOP): "Give a shorter path without links",
}


class PathError(DataError):
  """A flag or a config field does not name a local path."""


class FolderInUseError(DataError):
  """Another process holds the lock of a folder."""


class DamagedFileError(DataError):
  """A file of this project is not as it was written."""


def local_path(text: str | os.PathLike, flag: str) -> pathlib.Path:
  """Returns the path that a flag or a config field names, with ~ expanded.

  Args:
    text: value of the flag.
    flag: name of the flag, for the error message.

  Raises:
    PathError: for a URL such as gs://bucket/run, which pathlib would turn into
      a folder of the working directory; for an unknown home directory; for an
      empty text, which would be the working directory.
  """
  text = os.fspath(text)
  if not text:
    raise PathError(f"{flag}: expected a path, found none. Give a folder.")
  if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text):
    raise PathError(
      f"{flag}={text}: expected a local path, found a URL. Mount the storage "
      "and give its folder."
    )
  if "\0" in text:
    raise PathError(f"{flag}: expected a path, found a null character in it.")
  try:
    return pathlib.Path(text).expanduser()
  except RuntimeError as error:
    raise PathError(
      f"{flag}={text}: {error} Give the path without ~."
    ) from error


def describe(error: OSError, path: str | os.PathLike = "") -> str:
  """Returns the path, the reason and a remedy of an error, as sentences.

  Args:
    error: an error of the operating system, or a subclass with its own text.
    path: what was read or written, if the error does not name it.
  """
  if error.errno is None:
    return str(error)
  remedy = next(
    (text for codes, text in _REMEDIES.items() if error.errno in codes),
    "Check the disk or the network",
  )
  reason = error.strerror or os.strerror(error.errno)
  name = os.fspath(error.filename or path)
  place = f"{name}: " if name else ""
  return f"{place}{reason}. {remedy} and repeat the command."


def write_atomically(path: pathlib.Path, data: bytes) -> None:
  """Writes `path`.part and renames it: an interruption leaves the old file.

  Raises:
    OSError: with the path, also if the operating system does not give it.
  """
  part = path.with_name(f"{path.name}.part")
  try:
    part.write_bytes(data)
    part.replace(path)
  except BaseException as error:
    with contextlib.suppress(OSError):
      part.unlink()
    # A failed write, unlike a failed open, does not name its file.
    if isinstance(error, OSError) and error.filename is None:
      error.filename = str(path)
    raise


def write_json(path: pathlib.Path, content: dict[str, Any]) -> None:
  """Writes a dictionary as JSON, with the SHA-256 of its content as `sha256`.

  Raises:
    ValueError: for a number that JSON does not have, such as NaN.
  """
  whole = {**content, "sha256": digest(content)}
  text = json.dumps(whole, indent=2, allow_nan=False) + "\n"
  write_atomically(path, text.encode())


def read_json(
  path: pathlib.Path, remedy: str, *, needs_digest: bool = False
) -> dict[str, Any]:
  """Reads a file of `write_json`.

  Args:
    path: the file.
    remedy: what the user can do about a damaged file; a sentence.
    needs_digest: whether a file without `sha256`, as once written, is damaged.

  Raises:
    FileNotFoundError: if the file is absent.
    DamagedFileError: if it is not JSON, or not as it was written.
  """
  try:
    content = json.loads(path.read_bytes())
    if not isinstance(content, dict):
      raise ValueError("expected a JSON object")
    expected = content.pop("sha256", None)
    is_compared = needs_digest or expected is not None
    if is_compared and expected != digest(content):
      raise ValueError("its content does not have the SHA-256 in it")
  # RecursionError: thousands of nested brackets.
  except (ValueError, RecursionError) as error:
    raise DamagedFileError(f"{path} is damaged: {error}. {remedy}") from error
  return content


def digest(content: dict[str, Any]) -> str:
  """Returns the SHA-256 of a dictionary's JSON."""
  return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def read_lines(path: pathlib.Path) -> list[bytes]:
  """Returns the complete lines of a file, with their ends; [] without a file.

  An incomplete last line, left by a killed run, is ignored.
  """
  try:
    lines = path.read_bytes().splitlines(keepends=True)
  except FileNotFoundError:
    return []
  if lines and not lines[-1].endswith(b"\n"):
    lines.pop()
  return lines


@contextlib.contextmanager
def open_lines(path: pathlib.Path) -> Iterator[Callable[[bytes], None]]:
  """Opens a file of lines; yields a function that appends one.

  An incomplete last line, left by a killed run, is removed.
  """
  with path.open("ab+") as file:
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)
    synced = time.monotonic()

    def append(line: bytes) -> None:
      nonlocal synced
      file.write(line + b"\n")
      file.flush()
      if time.monotonic() - synced > _SYNC_SECONDS:
        os.fsync(file.fileno())
        synced = time.monotonic()

    try:
      yield append
    finally:
      os.fsync(file.fileno())


@contextlib.contextmanager
def lock(folder: pathlib.Path) -> Iterator[None]:
  """Locks a folder, which is created if absent, against other processes.

  A folder that is created and stays empty is removed at the end. The kernel
  releases the lock when the process ends, even if it is killed. Without flock,
  a file stands for the lock. If its owner was killed on this host, it is
  replaced.

  Raises:
    FolderInUseError: if another process holds the lock; names the owner.
  """
  is_new = not folder.exists()
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / LOCK
  with path.open("a+", encoding="utf-8") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
      if error.errno in _NO_FLOCK:
        with _lock_without_flock(folder):
          yield
        return
      if not isinstance(error, BlockingIOError):
        raise
      file.seek(0)
      raise FolderInUseError(
        f"{folder} is in use by {file.read().strip() or 'another process'}. "
        "Wait for it, stop it, or give another folder."
      ) from None
    file.truncate(0)
    file.write(f"{_owner()}\n")
    file.flush()
    try:
      yield
    finally:
      if is_new and list(folder.iterdir()) == [path]:
        path.unlink()
        folder.rmdir()


@contextlib.contextmanager
def _lock_without_flock(folder: pathlib.Path) -> Iterator[None]:
  path = folder / ".lock-owner"
  _log.warning("%s does not support locks; %s is used.", folder, path.name)
  with contextlib.suppress(FileNotFoundError):
    owner = path.read_text(encoding="utf-8", errors="replace").strip()
    if _is_running(owner):
      raise FolderInUseError(
        f"{folder} is in use by {owner}. Wait for it or stop it. If it has "
        f"ended: rm {path}"
      )
    path.unlink()
  try:
    file = path.open("x", encoding="utf-8")
  except FileExistsError:
    raise FolderInUseError(
      f"{folder} is in use by a process that has just started. Wait for it, "
      "stop it, or give another folder."
    ) from None
  with file:
    file.write(f"{_owner()}\n")
  try:
    yield
  finally:
    path.unlink(missing_ok=True)


def _owner() -> str:
  try:
    user = getpass.getuser()
  except (KeyError, OSError):  # no entry in the password file
    user = str(os.getuid())
  since = time.strftime("%Y-%m-%d %H:%M:%S")
  return f"process {os.getpid()} of {user} on {socket.gethostname()}, {since}"


def _is_running(owner: str) -> bool:
  """Whether the process of an `_owner` may be running; True if unknown."""
  match = re.match(r"process (\d+) of \S* on (\S+),", owner)
  if not match or match[2] != socket.gethostname():
    return True
  try:
    os.kill(int(match[1]), 0)
  except ProcessLookupError:
    return False
  except PermissionError:  # a process of another user
    pass
  return True
