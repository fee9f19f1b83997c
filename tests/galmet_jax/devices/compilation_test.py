"""The cache of compiled programs is private, and a second run uses it."""

import os
import pathlib
import stat
import subprocess
import sys
import time
import zlib

import jax
import pytest

from galmet_jax import errors
from galmet_jax.devices import compilation

ROOT = pathlib.Path(__file__).parents[3]
OPTIONS = (
  "jax_compilation_cache_dir",
  "jax_persistent_cache_min_compile_time_secs",
  "jax_persistent_cache_min_entry_size_bytes",
  "jax_persistent_cache_enable_xla_caches",
)


def options():
  return {name: jax.config.values[name] for name in OPTIONS}


@pytest.fixture(autouse=True)
def unconfigured():
  """JAX without a cache; its options are restored afterwards."""
  before = options()
  jax.config.update("jax_compilation_cache_dir", None)
  yield
  for name, value in before.items():
    jax.config.update(name, value)


def used(cache_dir):
  """Returns the directory that is used instead of `cache_dir`, if any."""
  jax.config.update("jax_compilation_cache_dir", None)
  compilation.use_cache(cache_dir)
  path = jax.config.values["jax_compilation_cache_dir"]
  return path and pathlib.Path(path).parents[1]


def test_directories_by_name_and_by_default(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("HOME", str(tmp_path))
  assert used("") is None
  assert used(str(tmp_path / "a")) == tmp_path / "a"
  assert used("b") == tmp_path / "b"
  assert used("~/c") == tmp_path / "c"
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
  assert used(None) == tmp_path / "xdg" / "galmet_jax"
  for ignored in ("", "relative"):
    monkeypatch.setenv("XDG_CACHE_HOME", ignored)
    assert used(None) == tmp_path / ".cache" / "galmet_jax"


def test_no_cache_changes_nothing():
  before = options()
  compilation.use_cache("")
  assert options() == before


def test_tests_do_not_touch_the_users_cache():
  path = used(None)
  assert path is not None
  assert pathlib.Path.home() not in path.parents


def test_directories_are_private(tmp_path):
  umask = os.umask(0)
  try:
    compilation.use_cache(str(tmp_path / "cache"))
  finally:
    os.umask(umask)
  made = [tmp_path / "cache", *(tmp_path / "cache").rglob("*")]
  assert [stat.S_IMODE(path.stat().st_mode) for path in made] == [0o700] * 3


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
@pytest.mark.parametrize("folder", ["a b", "a b/compiled"])
def test_directory_writable_by_others_is_not_used(
  tmp_path, mode, folder, capsys
):
  path = tmp_path / folder
  path.mkdir(parents=True)
  path.chmod(mode)
  assert used(str(tmp_path / "a b")) is None
  out = capsys.readouterr().out
  assert out.startswith(f"Compiled programs are not cached: {path}: expected")
  assert f"found mode {mode:o}" in out
  assert out.endswith(f"chmod go-w '{path}'\n")
  assert out.count("\n") == 1
  path.chmod(mode & ~0o022)
  assert used(str(tmp_path / "a b")) == tmp_path / "a b"


@pytest.mark.parametrize("is_default", [False, True])
def test_directory_of_another_user_is_not_used(
  tmp_path, monkeypatch, capsys, is_default
):
  owner = tmp_path.stat().st_uid
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  monkeypatch.setattr(os, "getuid", lambda: owner + 1)
  assert used(None if is_default else str(tmp_path)) is None
  out = capsys.readouterr().out
  assert f"of user {owner + 1}, found one of user {owner}" in out
  assert out.count("\n") == 1


def test_directory_that_cannot_be_created(tmp_path, monkeypatch, capsys):
  (tmp_path / "file").touch()
  with pytest.raises(
    errors.ConfigError, match=r"file/x: .*Not a directory.*--config.cache_dir=$"
  ):
    used(str(tmp_path / "file" / "x"))
  assert not capsys.readouterr().out
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
  assert used(None) is None
  (line,) = capsys.readouterr().out.splitlines()
  assert "Not a directory" in line
  assert "--config.cache_dir=DIRECTORY" in line


def test_read_only_directory(tmp_path, monkeypatch, capsys):
  # As on a read-only file system, which refuses root as well.
  monkeypatch.setattr(os, "access", lambda path, mode: mode & os.W_OK == 0)
  with pytest.raises(errors.ConfigError, match="is read-only"):
    used(str(tmp_path))
  assert used(None) is None
  assert "is read-only" in capsys.readouterr().out


def test_old_programs_are_deleted(tmp_path):
  compilation.use_cache(str(tmp_path))
  folder = pathlib.Path(jax.config.values["jax_compilation_cache_dir"])
  day = 24 * 3600
  for days in (1, 89, 91, 1000):
    (folder / f"{days}-cache").write_bytes(zlib.compress(b"program"))
    os.utime(folder / f"{days}-cache", times=(time.time() - days * day,) * 2)
  used(str(tmp_path))
  assert {path.name for path in folder.iterdir()} == {"1-cache", "89-cache"}


_PROGRAM = """
import sys
import jax
from galmet_jax.devices import compilation
events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name))
compilation.use_cache(sys.argv[1])
assert jax.jit(lambda x: x + 1)(1) == 2
print(jax.config.values["jax_compilation_cache_dir"])
print(events.count("/jax/compilation_cache/cache_hits"))
print(events.count("/jax/compilation_cache/cache_misses"))
"""


def run(cache_dir, **environment):
  """Compiles in a new process; returns the directory, hits and misses."""
  inherited = {k: v for k, v in os.environ.items() if "_CACHE_" not in k}
  result = subprocess.run(
    [sys.executable, "-W", "error", "-c", _PROGRAM, str(cache_dir)],
    cwd=ROOT,
    env={**inherited, **environment},
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert result.returncode == 0, result.stderr
  path, hits, misses = result.stdout.split()
  return pathlib.Path(path), int(hits), int(misses)


def test_second_run_compiles_nothing(tmp_path):
  path, hits, misses = run(tmp_path)
  assert (hits, misses > 0) == (0, True)
  assert path.parents[1] == tmp_path
  # The pattern by which old programs are found.
  assert list(path.glob("*-cache"))
  assert run(tmp_path) == (path, misses, 0)


@pytest.mark.parametrize(
  "damage",
  [
    lambda data: b"",
    lambda data: data[: len(data) // 2],
    lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    lambda data: b"?" + data[1:],
  ],
)
def test_damaged_programs_are_replaced(tmp_path, damage):
  path, _, misses = run(tmp_path)
  programs = {file: file.read_bytes() for file in path.glob("*-cache")}
  for file, data in programs.items():
    file.write_bytes(damage(data))
  assert run(tmp_path) == (path, 0, misses)
  assert set(path.glob("*-cache")) == set(programs)
  assert run(tmp_path) == (path, misses, 0)


def test_cache_of_the_environment_is_kept(tmp_path):
  theirs = tmp_path / "theirs"
  path, *_ = run(tmp_path / "ours", JAX_COMPILATION_CACHE_DIR=str(theirs))
  assert path == theirs
  assert not (tmp_path / "ours").exists()
