"""Who may write where compiled programs are kept, and that they are."""

import os
import pathlib
import stat
import subprocess
import sys

import jax
import pytest

from configs import resnet34
from galmet_jax import errors
from galmet_jax.devices import compilation

ROOT = pathlib.Path(__file__).parents[3]


def mode(path):
  return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_umask():
  before = os.umask(0)
  yield
  os.umask(before)


def test_directories_by_name_and_by_default(tmp_path, monkeypatch):
  assert resnet34.get_config().cache_dir is None
  assert compilation.directory("") is None
  assert compilation.directory(str(tmp_path / "a")) == tmp_path / "a"
  monkeypatch.chdir(tmp_path)
  assert compilation.directory("b") == tmp_path / "b"
  monkeypatch.setenv("HOME", str(tmp_path))
  assert compilation.directory("~/c") == tmp_path / "c"
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
  assert compilation.directory(None) == tmp_path / "xdg" / "galmet_jax"
  for ignored in ("", "xdg"):
    monkeypatch.setenv("XDG_CACHE_HOME", ignored)
    assert compilation.directory(None) == tmp_path / ".cache" / "galmet_jax"
  for name in ("a", "b", "c", "xdg/galmet_jax", ".cache/galmet_jax"):
    assert (tmp_path / name).is_dir()


def test_tests_leave_the_users_cache_alone():
  path = compilation.directory(None)
  assert path is not None
  assert pathlib.Path.home() not in path.parents


def test_directory_is_private(tmp_path, open_umask):
  path = compilation.directory(str(tmp_path / "new" / "cache"))
  assert mode(path) == 0o700
  assert compilation.directory(str(path)) == path


@pytest.mark.parametrize("open_to", [0o720, 0o702, 0o777])
def test_directory_that_others_can_write(tmp_path, open_to):
  path = tmp_path / "a b"
  path.mkdir()
  path.chmod(open_to)
  with pytest.raises(
    errors.ConfigError, match=rf"found mode {open_to:o}.*chmod go-w '{path}'"
  ):
    compilation.directory(str(path))
  path.chmod(open_to & ~0o022)
  assert compilation.directory(str(path)) == path


def test_directory_of_another_user(tmp_path, monkeypatch):
  monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
  with pytest.raises(
    errors.ConfigError,
    match=rf"yours \(user {tmp_path.stat().st_uid + 1}\), found one of user",
  ):
    compilation.directory(str(tmp_path))


def test_directory_that_cannot_be_made(tmp_path, monkeypatch, capsys):
  (tmp_path / "file").touch()
  with pytest.raises(
    errors.ConfigError, match=r"file/x: .*Not a directory.*--config.cache_dir=$"
  ):
    compilation.directory(str(tmp_path / "file" / "x"))
  assert not capsys.readouterr().out
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
  assert compilation.directory(None) is None
  (line,) = capsys.readouterr().out.splitlines()
  assert "Not a directory" in line
  assert "--config.cache_dir=DIRECTORY" in line


def test_directory_that_is_read_only(tmp_path, monkeypatch, capsys):
  # A file system mounted so: its modes do not tell, and root is refused too.
  monkeypatch.setattr(os, "access", lambda path, how: how & os.W_OK == 0)
  with pytest.raises(errors.ConfigError, match="is read-only"):
    compilation.directory(str(tmp_path))
  assert compilation.directory(None) is None
  assert "is read-only" in capsys.readouterr().out


_PROGRAM = """
import pathlib, sys
import jax
from galmet_jax.devices import compilation
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name))
compilation.keep_compiled(pathlib.Path(sys.argv[1]))
assert jax.jit(lambda x: x + 1)(1) == 2
print(jax.config.values["jax_compilation_cache_dir"])
print(hits.count("/jax/compilation_cache/cache_hits"))
print(hits.count("/jax/compilation_cache/cache_misses"))
"""


def start(directory, **environment):
  """Compiles in a process of its own; returns (directory, hits, misses)."""
  kept = {k: v for k, v in os.environ.items() if "_CACHE_" not in k}
  result = subprocess.run(
    [sys.executable, "-W", "error", "-c", _PROGRAM, str(directory)],
    cwd=ROOT,
    env={**kept, **environment},
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert result.returncode == 0, result.stderr
  where, hits, misses = result.stdout.split()
  return where, int(hits), int(misses)


def test_second_start_compiles_nothing(tmp_path):
  where, hits, misses = start(tmp_path)
  assert (hits, misses > 0) == (0, True)
  assert pathlib.Path(where).parent == tmp_path / "compiled"
  assert mode(pathlib.Path(where)) == 0o700
  assert start(tmp_path) == (where, misses, 0)


def test_directory_of_the_environment_stays(tmp_path):
  theirs = tmp_path / "theirs"
  where, *_ = start(tmp_path / "ours", JAX_COMPILATION_CACHE_DIR=str(theirs))
  assert where == str(theirs)
  assert not (tmp_path / "ours").exists()


@pytest.fixture
def unset():
  """JAX without a directory; what it had comes back."""
  names = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
    "jax_persistent_cache_enable_xla_caches",
  )
  before = {name: jax.config.values[name] for name in names}
  jax.config.update("jax_compilation_cache_dir", None)
  yield
  for name, value in before.items():
    jax.config.update(name, value)


def test_without_a_cache_jax_stays_as_it_is(unset):
  before = dict(jax.config.values)
  compilation.keep_compiled(None)
  assert dict(jax.config.values) == before


def test_open_directory_of_programs_is_refused(tmp_path, unset):
  (tmp_path / "compiled").mkdir()
  (tmp_path / "compiled").chmod(0o770)
  with pytest.raises(errors.ConfigError, match="chmod go-w"):
    compilation.keep_compiled(tmp_path)
  assert jax.config.values["jax_compilation_cache_dir"] is None


def test_programs_that_cannot_be_kept(tmp_path, unset, capsys):
  (tmp_path / "compiled").touch()
  compilation.keep_compiled(tmp_path)
  assert "cannot be kept" in capsys.readouterr().out
  assert jax.config.values["jax_compilation_cache_dir"] is None


def test_oldest_programs_go_first(tmp_path, unset, monkeypatch):
  monkeypatch.setattr(compilation, "MAX_COMPILED_BYTES", 100)
  folder = tmp_path / "compiled" / "a"
  folder.mkdir(parents=True, mode=0o700)
  for age in range(10):
    path = folder / f"{age}"
    path.write_bytes(bytes(10))
    os.utime(path, (1e9 - age, 1e9 - age))
  compilation.keep_compiled(tmp_path)
  assert len(list(folder.iterdir())) == 10
  (folder / "new").write_bytes(bytes(1))
  compilation.keep_compiled(tmp_path)  # set already: nothing happens
  assert len(list(folder.iterdir())) == 11
  jax.config.update("jax_compilation_cache_dir", None)
  compilation.keep_compiled(tmp_path)
  assert sorted(path.name for path in folder.iterdir()) == sorted(
    ["new", "0", "1", "2", "3"]
  )
