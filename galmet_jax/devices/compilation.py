"""Compilation: `jax.jit` for a mesh, and the on-disk cache of programs."""

from collections.abc import Callable
import contextlib
import hashlib
import os
import pathlib
import platform
import re
import shlex
import stat
import time
from typing import Any
import zlib

import jax

from galmet_jax import errors
from galmet_jax.devices.cpu import xla

# Programs of other JAX versions, CPUs and networks would accumulate.
_MAX_AGE_DAYS = 90
# JAX compresses programs with zlib, which has a checksum; with Zstandard, which
# has none here, if that is installed.
_ZSTD = b"\x28\xb5\x2f\xfd"


def jit(function: Callable, mesh: jax.sharding.Mesh, **kwargs: Any) -> Any:
  """Calls `jax.jit`, with the CPU workarounds if the mesh is of CPUs."""

  def traced(*args):
    with xla.tracing_for(mesh):
      return function(*args)

  # Profiles show the name; a partial has none.
  traced.__name__ = getattr(function, "func", function).__name__
  options = xla.compiler_options(mesh)
  return jax.jit(traced, compiler_options=options, **kwargs)


def use_cache(cache_dir: str | None) -> None:
  """Stores compiled programs on disk, and reads those of earlier runs.

  Must be called before anything is compiled. A cache that is already
  configured, for example by `JAX_COMPILATION_CACHE_DIR`, is left as it is.

  Args:
    cache_dir: `config.cache_dir`: a directory; "" for no cache; None for
      `$XDG_CACHE_HOME/galmet_jax`, by default `~/.cache/galmet_jax`. If the
      default directory cannot be used, a warning is printed and nothing cached.
      The same if another user owns the directory or can write to it, because
      the programs in it are executed.

  Raises:
    ConfigError: if a directory named explicitly cannot be created or written.
  """
  if cache_dir == "" or jax.config.values["jax_compilation_cache_dir"]:
    return
  try:
    folder = _default() if cache_dir is None else pathlib.Path(cache_dir)
    programs = folder.expanduser().absolute() / "compiled"
    path = programs / _cpu()
    for private in (programs.parent, programs, path):
      _make_private(private)
    _delete_old(programs)
    _delete_damaged(path)
  except _NotPrivateError as error:
    print(f"Compiled programs are not cached: {error}", flush=True)
    return
  # Path.home() and expanduser() raise RuntimeError for a user without a home.
  except (OSError, RuntimeError) as error:
    if cache_dir is None:
      print(
        f"Compiled programs are not cached: {error}. Choose a directory with "
        "--config.cache_dir=DIRECTORY",
        flush=True,
      )
      return
    raise errors.ConfigError(
      f"--config.cache_dir={cache_dir}: expected a writable directory, found "
      f"{error}. Choose another one, or disable the cache: --config.cache_dir="
    ) from error
  for name, value in {
    "jax_compilation_cache_dir": str(path),
    # By default JAX skips small programs, whose sum dominates the wait.
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
    "jax_persistent_cache_enable_xla_caches": (
      "xla_gpu_per_fusion_autotune_cache_dir"
    ),
  }.items():
    jax.config.update(name, value)


class _NotPrivateError(Exception):
  """Other users could put programs into the directory."""


def _default() -> pathlib.Path:
  base = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
  # The XDG specification says to ignore a relative path.
  return (
    base if base.is_absolute() else pathlib.Path("~/.cache")
  ) / "galmet_jax"


def _make_private(path: pathlib.Path) -> None:
  """Creates a directory that only its owner can write, or checks it."""
  path.mkdir(mode=0o700, parents=True, exist_ok=True)
  status = path.stat()
  if status.st_uid != os.getuid():
    raise _NotPrivateError(
      f"{path}: expected a directory of user {os.getuid()}, found one of user "
      f"{status.st_uid}, who could run code in this process. Choose another "
      "one with --config.cache_dir=DIRECTORY"
    )
  if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
    raise _NotPrivateError(
      f"{path}: expected a directory that only its owner can write, found mode "
      f"{stat.S_IMODE(status.st_mode):o}: others could run code in this "
      f"process. If you trust its files: chmod go-w {shlex.quote(str(path))}"
    )
  if not os.access(path, os.W_OK | os.X_OK):
    raise PermissionError(f"{path} is read-only")


def _cpu() -> str:
  """Returns a digest of the CPU's model and instruction set.

  XLA's own check lets some programs of another CPU pass, which then crash.
  """
  cpuinfo = pathlib.Path("/proc/cpuinfo")
  text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
  # On x86 and on ARM. Other lines, such as the clock rate, vary.
  facts = re.findall(r"^(?:model name|flags|CPU part|Features)\b.*", text, re.M)
  content = "\n".join([platform.machine(), *sorted(set(facts))])
  return hashlib.sha256(content.encode()).hexdigest()[:16]


def _delete_old(programs: pathlib.Path) -> None:
  """Deletes programs that were compiled long ago.

  JAX's own eviction (`jax_compilation_cache_max_size`) is not used: a process
  killed between the two files that it writes per program makes every later
  write fail.
  """
  oldest = time.time() - _MAX_AGE_DAYS * 24 * 3600
  for path in programs.rglob("*-cache"):
    # Another process may delete the same file.
    with contextlib.suppress(FileNotFoundError):
      if path.stat().st_mtime < oldest:
        path.unlink()


def _delete_damaged(folder: pathlib.Path) -> None:
  """Deletes programs that do not decompress, such as after a kill.

  JAX never replaces a program: it would compile again, with a warning, in every
  later run.
  """
  for path in folder.glob("*-cache"):
    with contextlib.suppress(OSError):
      data = path.read_bytes()
      if data.startswith(_ZSTD):
        continue
      try:
        zlib.decompress(data)
      except zlib.error:
        path.unlink()
