"""Paths from flags, JSON with a digest, and locks of folders."""

import errno
import fcntl
import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest

from tfds_sdss import files


@pytest.mark.parametrize(
  "url", ["gs://bucket/run", "s3://bucket", "file:///run", "gs:/bucket/run"]
)
def test_url_is_not_a_path(url):
  with pytest.raises(files.PathError, match=r"--out=.*local path"):
    files.local_path(url, "--out")


@pytest.mark.parametrize("text", ["a\0b", "~nobody-has-this-name/run"])
def test_impossible_path(text):
  with pytest.raises(files.PathError, match="--out"):
    files.local_path(text, "--out")


@pytest.mark.parametrize(
  "text", ["runs/a", "/runs/a:b", "C:name", pathlib.Path("x")]
)
def test_local_path_is_kept(text):
  assert files.local_path(text, "--out") == pathlib.Path(text)


def test_home_is_expanded(monkeypatch):
  monkeypatch.setenv("HOME", "/some/home")
  assert files.local_path("~/x", "--out") == pathlib.Path("/some/home/x")


def test_failed_write_leaves_the_old_file_only(tmp_path, monkeypatch):
  path = tmp_path / "a.json"
  files.write_atomically(path, b"old")

  def fail(self, target):
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(pathlib.Path, "replace", fail)
  with pytest.raises(OSError, match="No space"):
    files.write_atomically(path, b"new")
  assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
  assert path.read_bytes() == b"old"


CONTENT = {"a": 1.5, "b": [None, True, "²"], "c": {"d": -3}}


def test_json_round_trip(tmp_path):
  files.write_json(tmp_path / "a.json", CONTENT)
  assert files.read_json(tmp_path / "a.json", "") == CONTENT


def test_json_without_digest_is_read(tmp_path):
  (tmp_path / "a.json").write_text(json.dumps(CONTENT))
  assert files.read_json(tmp_path / "a.json", "") == CONTENT


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_json_is_valid_or_not_written(tmp_path, bad):
  with pytest.raises(ValueError, match="JSON"):
    files.write_json(tmp_path / "a.json", {"a": bad})
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  "damage",
  [
    lambda data: b"",
    lambda data: data[:-20],
    lambda data: data.replace(b"1.5", b"1.6"),
    lambda data: data.replace(b'"d"', b'"e"'),
    lambda data: b"[1]",
    lambda data: b"\xff" + data,
    lambda data: b"[" * 100_000,
  ],
)
def test_damaged_json_is_named_with_the_remedy(tmp_path, damage):
  path = tmp_path / "a.json"
  files.write_json(path, CONTENT)
  path.write_bytes(damage(path.read_bytes()))
  with pytest.raises(files.DamagedFileError, match=r"a\.json.*Delete it\."):
    files.read_json(path, "Delete it.")


# Holds the lock until its input closes; then exits, or kills itself.
HOLD = """
import os, pathlib, signal, sys
from tfds_sdss import files
{before}
with files.lock(pathlib.Path(sys.argv[1])):
  print("locked", flush=True)
  if sys.stdin.read() == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
"""
NO_FLOCK = """
import fcntl
def flock(*args):
  raise OSError({number}, "no locks")
fcntl.flock = flock
"""


def hold(folder, before=""):
  process = subprocess.Popen(
    [sys.executable, "-c", HOLD.format(before=before), str(folder)],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    text=True,
  )
  assert process.stdout.readline() == "locked\n"
  return process


@pytest.fixture(params=["flock", "no flock"])
def before(request, monkeypatch):
  """Code for `hold`: with and without flock, here and in the other process."""
  if request.param == "flock":
    return ""

  def flock(*args):
    raise OSError(errno.ENOSYS, "no locks")

  monkeypatch.setattr(fcntl, "flock", flock)
  return NO_FLOCK.format(number=errno.ENOSYS)


def test_lock_names_its_owner(tmp_path, before):
  process = hold(tmp_path, before)
  owner = f"process {process.pid} of .* on {socket.gethostname()}, 20"
  with pytest.raises(files.FolderInUseError, match=owner), files.lock(tmp_path):
    pass
  process.communicate("")
  with files.lock(tmp_path):
    pass


def test_lock_of_a_killed_process_is_free(tmp_path, before):
  process = hold(tmp_path, before)
  process.communicate("kill")
  with files.lock(tmp_path):
    pass


def test_owner_on_another_host_keeps_a_lock_without_flock(
  tmp_path, monkeypatch
):
  def flock(*args):
    raise OSError(errno.ENOTSUP, "no locks")

  monkeypatch.setattr(fcntl, "flock", flock)
  path = tmp_path / ".lock-owner"
  path.write_text("process 1 of me on another-host, 2026-01-01 00:00:00\n")
  with (
    pytest.raises(files.FolderInUseError, match=f"rm {path}"),
    files.lock(tmp_path),
  ):
    pass


def test_new_folder_that_stays_empty_is_removed(tmp_path):
  with files.lock(tmp_path / "a" / "b"):
    assert (tmp_path / "a" / "b").is_dir()
  assert list(tmp_path.rglob("*")) == [tmp_path / "a"]


def test_other_errors_of_a_lock_are_raised(tmp_path, monkeypatch):
  def flock(*args):
    raise OSError(errno.EIO, "broken disk")

  monkeypatch.setattr(fcntl, "flock", flock)
  with pytest.raises(OSError, match="broken disk"), files.lock(tmp_path):
    pass


def test_lock_survives_an_unknown_user(tmp_path, monkeypatch):
  monkeypatch.setattr(os, "getuid", lambda: 987654)
  for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
    monkeypatch.delenv(name, raising=False)
  with files.lock(tmp_path):
    assert "of 987654 on" in (tmp_path / ".lock").read_text()
