"""Where a second start finds what the first has decoded and compiled."""

from collections.abc import Callable
import hashlib
import os
import pathlib
import platform
import shlex
import stat
from typing import Any

import jax

from galmet_jax import errors
from galmet_jax.devices.cpu import xla

# Of the compiled programs, of all devices and versions of JAX together.
MAX_COMPILED_BYTES = 2 << 30


def directory(cache_dir: str | None) -> pathlib.Path | None:
  """Makes the cache directory.

  Args:
    cache_dir: `config.cache_dir`: a directory; nothing ("") for no cache; None
      for `$XDG_CACHE_HOME/galmet_jax`, by default `~/.cache/galmet_jax`.

  Returns:
    The directory, in which only its owner can write; None for no cache, also
    where the one by default cannot be made, which is told in a line.

  Raises:
    ConfigError: if others can write there or own it, for whoever can write a
      compiled program can have any code run; or if the directory that was
      asked for cannot be made.
  """
  if cache_dir == "":
    return None
  try:
    if cache_dir is None:
      path = _default()
    else:
      path = pathlib.Path(cache_dir).expanduser().absolute()
    _make(path)
  # Path.home() raises the latter for a user without a home.
  except (OSError, RuntimeError) as error:
    if cache_dir is not None:
      raise errors.ConfigError(
        f"--config.cache_dir={cache_dir}: expected a directory that can be "
        f"made and written, found {error}. Give another one, or none: "
        "--config.cache_dir="
      ) from error
    print(
      f"Nothing is kept for the next start: {error}. To have it kept: "
      "--config.cache_dir=DIRECTORY",
      flush=True,
    )
    return None
  return path


def keep_compiled(directory: pathlib.Path | None) -> None:
  """Keeps compiled programs, and a GPU's autotuning, for the next start.

  To be called before anything is compiled. A directory that is set already,
  as by `JAX_COMPILATION_CACHE_DIR`, stays, with all that is set about it.

  Args:
    directory: see `directory`; None leaves JAX as it is.

  Raises:
    ConfigError: if others can write in the directory of the programs.
  """
  if directory is None or jax.config.values["jax_compilation_cache_dir"]:
    return
  # XLA's check of a program's CPU lets some pass that then crash, and logs
  # pages about those that it refuses.
  path = directory / "compiled" / _cpu()
  try:
    for folder in (path.parent, path):
      _make(folder)
    _trim(path.parent, MAX_COMPILED_BYTES)
  except OSError as error:
    print(f"Compiled programs cannot be kept: {error}.", flush=True)
    return
  jax.config.update("jax_compilation_cache_dir", str(path))
  # Small programs are many, and together a large part of the wait.
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
  jax.config.update(
    "jax_persistent_cache_enable_xla_caches",
    "xla_gpu_per_fusion_autotune_cache_dir",
  )


def jit(function: Callable, mesh: jax.sharding.Mesh, **kwargs: Any) -> Any:
  """Calls `jax.jit`, with the CPU compiler options if the mesh is of CPUs."""
  options = xla.compiler_options(mesh)
  return jax.jit(function, compiler_options=options, **kwargs)


def _default() -> pathlib.Path:
  base = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
  # Its specification: a relative path is to be ignored.
  if not base.is_absolute():
    base = pathlib.Path.home() / ".cache"
  return base / "galmet_jax"


def _make(path: pathlib.Path) -> None:
  """Makes a private directory, or checks the one that is there.

  Raises:
    ConfigError: if others can write there, or own it.
    OSError: if it cannot be made or written.
  """
  path.mkdir(mode=0o700, parents=True, exist_ok=True)
  status = path.stat()
  if status.st_uid != os.getuid():
    raise errors.ConfigError(
      f"{path}: expected a directory of yours (user {os.getuid()}), found one "
      f"of user {status.st_uid}, who could have any code run here. Give "
      "another one, or none: --config.cache_dir="
    )
  if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
    raise errors.ConfigError(
      f"{path}: expected a directory in which you alone can write, found mode "
      f"{stat.S_IMODE(status.st_mode):o}; others could have any code run here. "
      f"If you trust what is in it: chmod go-w {shlex.quote(str(path))}"
    )
  if not os.access(path, os.W_OK | os.X_OK):
    raise PermissionError(f"{path} is read-only")


def _cpu() -> str:
  """Returns a name for this kind of CPU."""
  facts = [platform.machine()]
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
  except OSError:  # not Linux
    lines = []
  facts += sorted(
    {
      line
      for line in lines
      # On x86 and on ARM; the rest of it changes with the hour.
      if line.startswith(("model name", "flags", "CPU part", "Features"))
    }
  )
  return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def _trim(folder: pathlib.Path, limit: int) -> None:
  """Deletes the oldest files until half of the limit is left, if it is passed.

  JAX's own limit is not for us: a process killed between the two files that it
  then writes for a program makes every later write fail.
  """
  files = []
  for path in folder.rglob("*"):
    try:
      status = path.lstat()
    except FileNotFoundError:  # another process is trimming
      continue
    if stat.S_ISREG(status.st_mode):
      files.append((status.st_mtime, status.st_size, path))
  total = sum(size for _, size, _ in files)
  if total <= limit:
    return
  for _, size, path in sorted(files):
    path.unlink(missing_ok=True)
    total -= size
    if total <= limit // 2:
      return
