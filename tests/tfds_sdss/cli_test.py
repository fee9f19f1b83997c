import errno
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from tfds_sdss import __main__ as cli
from tfds_sdss import signals
from tfds_sdss.sdss_metallicity import demo500

REPOSITORY = pathlib.Path(__file__).parents[2]


def test_build_and_verify(tmp_path, layout, capsys):
  sample = ["sdss_metallicity/demo500", f"--data_dir={tmp_path / 'data'}"]
  assert cli.main(["build", *sample, f"--manual_dir={layout}"]) == 0
  assert "4 test" in capsys.readouterr().err
  assert cli.main(["verify", *sample]) == 0
  out = capsys.readouterr().out
  assert "sdss_metallicity/demo500/2.0.0" in out
  assert "validation" in out
  assert "No problems found" in out


@pytest.mark.parametrize(
  ("argv", "message"),
  [
    (["build", "sdss_metallicity/mok"], "Did you mean sdss_metallicity/mock?"),
    (["build", "sdss_metallicity/zenodo"], "fetch --source=zenodo"),
    (["build", "demo500", "--manual_dir=nowhere"], "no such folder"),
    (["build", "dr17", "--staging=nowhere"], "nowhere: expected a staging"),
    (["build", "demo500", "--manual_dir=."], "no catalogs/ in it"),
    (["build", "mock", "--manual_dir=."], "mock is built without a folder"),
    (["build", "mock", "--max_loss=2"], "--max_loss: expected a fraction"),
    (["build", "mock", "--max_loss=nan"], "a fraction, 0 to 1, found nan"),
    (["build", "mock", "--max_loss=-0.1"], "a fraction, 0 to 1, found -0.1"),
    (["build", "dr17", "--staging=gs://b/s"], "--staging=gs://b/s: expected a"),
    (["build", "dr17", "--staging=~nobody_/s"], "--staging=~nobody_/s"),
    (["build", "dr17", "--staging="], "--staging: expected a path, found none"),
    (["fetch", "--source=dr17", "--out="], "--out: expected a path"),
    (["build", "demo500", "--staging=/dev/null"], "no such folder"),
    (["build", "dr17", "--staging=/dev/null"], "It is a file: give a folder"),
    (["verify", "mock"], "build sdss_metallicity/mock --data_dir=data"),
    (["verify", "dr17"], "build sdss_metallicity/dr17 --data_dir=data --sta"),
  ],
)
def test_user_errors_exit_with_status_2(
  tmp_path, monkeypatch, capsys, argv, message
):
  monkeypatch.chdir(tmp_path)
  if argv[0] != "fetch":
    argv = [*argv, "--data_dir=data"]
  assert cli.main(argv) == 2
  err = capsys.readouterr().err
  assert err.startswith("error: ")
  assert message in err
  assert not list(tmp_path.glob("data/*/*/*"))


@pytest.mark.parametrize("command", ["build", "verify"])
@pytest.mark.parametrize("place", ["flag", "variable"])
@pytest.mark.parametrize("path", ["s3://bucket/data", "~nobody_/data"])
def test_data_dir_must_be_local(
  tmp_path, monkeypatch, capsys, command, place, path
):
  monkeypatch.chdir(tmp_path)
  argv = [command, "mock"]
  if place == "flag":
    argv.append(f"--data_dir={path}")
  else:
    monkeypatch.setenv("TFDS_DATA_DIR", path)
  assert cli.main(argv) == 2
  assert f"={path}" in capsys.readouterr().err
  assert not list(tmp_path.iterdir())


def test_home_directory_is_expanded(tmp_path, monkeypatch, layout, capsys):
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.chdir(layout)
  argv = ["demo500", "--data_dir=~/data"]
  assert cli.main(["build", *argv, f"--staging=~/{layout.name}"]) == 0
  assert cli.main(["verify", *argv]) == 0
  assert (tmp_path / "data" / "sdss_metallicity").is_dir()
  assert not (layout / "~").exists()


@pytest.mark.parametrize(
  ("number", "advice"),
  [
    (errno.ENOSPC, "Free disk space"),
    (errno.EACCES, "Change its permissions"),
    (errno.EROFS, "Give a folder on a disk that can be written"),
    (errno.EIO, "Check the disk"),
  ],
)
def test_system_errors_name_the_path(
  tmp_path, layout, monkeypatch, capsys, number, advice
):
  def fail(path, *_):
    raise OSError(number, os.strerror(number))

  monkeypatch.setattr(pathlib.Path, "write_bytes", fail)
  argv = ["build", "demo500", f"--staging={layout}"]
  assert cli.main([*argv, f"--data_dir={tmp_path / 'data'}"]) == 2
  last = capsys.readouterr().err.splitlines()[-1]
  assert last.startswith(f"error: {tmp_path / 'data'}")
  assert f": {os.strerror(number)}. {advice}" in last
  assert not list(tmp_path.glob("data/sdss_metallicity/demo500/*"))


def test_fetch_into_a_url_is_refused(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  assert cli.main(["fetch", "--source=dr17", "--out=gs://bucket/out"]) == 2
  assert "expected a local path, found a URL" in capsys.readouterr().err
  assert not list(tmp_path.iterdir())


def test_bad_data_is_a_user_error(tmp_path, capsys):
  (tmp_path / "catalogs").mkdir()
  (tmp_path / "catalogs" / "train.csv").write_text(
    "objID,oh_p50\n1.23765E+18,8.9\n"
  )
  argv = ["build", "demo500", f"--manual_dir={tmp_path}"]
  assert cli.main([*argv, f"--data_dir={tmp_path / 'data'}"]) == 2
  last = capsys.readouterr().err.splitlines()[-1]
  assert last.startswith("error: ")
  assert "train.csv, row 2" in last


def test_user_error_prints_no_traceback(tmp_path):
  command = [sys.executable, "-m", "tfds_sdss"]
  run = subprocess.run(
    [*command, "verify", "mock", f"--data_dir={tmp_path}"],
    cwd=REPOSITORY,
    capture_output=True,
    text=True,
    check=False,
  )
  assert run.returncode == 2
  assert run.stderr.startswith("error: expected sdss_metallicity/mock")
  assert "Traceback" not in run.stderr


@pytest.mark.usefixtures("signals_arrive")
@pytest.mark.parametrize("number", signals.SIGNALS)
def test_signal_prints_one_line(tmp_path, monkeypatch, capsys, number):
  def stop(*args, **kwargs):
    signal.raise_signal(number)

  monkeypatch.setattr(demo500, "read", stop)
  (tmp_path / "catalogs").mkdir()
  argv = ["build", "demo500", f"--manual_dir={tmp_path}"]
  status = cli.main([*argv, f"--data_dir={tmp_path / 'data'}"])
  assert status == 128 + number
  last = capsys.readouterr().err.splitlines()[-1]
  assert last.startswith(f"stopped by {number.name}. Run the same command")
  assert not list(tmp_path.glob("data/sdss_metallicity/demo500/*"))
