"""A killed and resumed run gives the same bits."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from galmet_jax import metric_writer
from tests import shrunk

ROOT = pathlib.Path(__file__).parents[2]


def start(data_dir, workdir):
  return subprocess.Popen(
    [sys.executable, "main.py", *shrunk.flags(data_dir, workdir)],
    cwd=ROOT,
    env={**os.environ, "PYTHONUNBUFFERED": "1"},
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def finish(process):
  output, _ = process.communicate(timeout=300)
  assert process.returncode == 0, output
  return output


def kill_at_step(process, workdir, step):
  """Kills the process once metrics.jsonl has the step."""
  deadline = time.monotonic() + 300
  while not any(row["step"] >= step for row in metric_writer.read(workdir)):
    assert process.poll() is None, process.communicate()[0]
    assert time.monotonic() < deadline
    time.sleep(0.005)
  process.send_signal(signal.SIGKILL)
  process.communicate()
  assert process.returncode == -signal.SIGKILL


def digests(workdir, which):
  """Returns the digests of the stored steps."""
  paths = list((workdir / "checkpoints" / which).glob("*/digests/metadata"))
  assert paths
  return {path.parts[-3]: json.loads(path.read_text()) for path in paths}


@pytest.fixture(scope="module")
def uninterrupted(mock_data_dir, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("uninterrupted")
  finish(start(mock_data_dir, workdir))
  return workdir


def test_run_killed_twice_ends_with_the_same_bits(
  mock_data_dir, uninterrupted, tmp_path
):
  # In the middle of the first epoch and of the third.
  for step in (4, 12):
    kill_at_step(start(mock_data_dir, tmp_path), tmp_path, step)
  output = finish(start(mock_data_dir, tmp_path))
  assert "Resuming at step" in output
  for which in ("latest", "best"):
    assert digests(tmp_path, which) == digests(uninterrupted, which)
  assert metric_writer.read(tmp_path) == metric_writer.read(uninterrupted)
  for name in ("predictions_validation.csv", "predictions_test.csv"):
    ours = (tmp_path / name).read_bytes()
    assert ours == (uninterrupted / name).read_bytes()
  ours, theirs = (
    json.loads((workdir / "summary.json").read_text())
    for workdir in (tmp_path, uninterrupted)
  )
  assert ours["test"] == theirs["test"]
