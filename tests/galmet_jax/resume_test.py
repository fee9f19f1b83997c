"""A run that was killed or stopped resumes and gives the same bits."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from galmet_jax import metric_writer
from galmet_jax import train
from galmet_jax.data import placement
from tests import shrunk
from tfds_sdss import signals

pytestmark = pytest.mark.faults("a signal")

ROOT = pathlib.Path(__file__).parents[2]


def start(data_dir, workdir, *more):
  flags = [*shrunk.flags(data_dir, workdir), "--config.eval.figures=False"]
  return subprocess.Popen(
    [sys.executable, "main.py", *flags, *more],
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


def stop_at_step(process, workdir, step, number):
  """Sends a signal once metrics.jsonl has the step; returns the output."""
  deadline = time.monotonic() + 300
  while not any(row["step"] >= step for row in metric_writer.read(workdir)):
    assert process.poll() is None, process.communicate()[0]
    assert time.monotonic() < deadline
    time.sleep(0.005)
  process.send_signal(number)
  return process.communicate(timeout=300)[0]


def digests(workdir, which):
  """Returns the last stored step and its digests."""
  paths = (workdir / "checkpoints" / which).glob("*/digests/metadata")
  step, path = max((int(path.parts[-3]), path) for path in paths)
  return step, json.loads(path.read_text())


@pytest.fixture(scope="module")
def uninterrupted(trained_run):
  return trained_run[1]


@pytest.mark.usefixtures("signals_arrive")
def test_run_killed_and_stopped_ends_with_the_same_bits(
  mock_data_dir, uninterrupted, tmp_path
):
  killed = start(mock_data_dir, tmp_path)
  stop_at_step(killed, tmp_path, 4, signal.SIGKILL)
  assert killed.returncode == -signal.SIGKILL
  # Slow steps, so that the signal arrives before the last one.
  each = [f"--config.train.{x}_every_steps=1" for x in ("log", "checkpoint")]
  # The killed run may have come further than the step that was waited for.
  reached = metric_writer.read(tmp_path)[-1]["step"]
  stopped = start(mock_data_dir, tmp_path, *each)
  output = stop_at_step(stopped, tmp_path, reached + 1, signal.SIGUSR1)
  assert stopped.returncode == 128 + signal.SIGUSR1, output
  last = output.splitlines()[-1]
  step = re.fullmatch(
    r"stopped by SIGUSR1 after step (\d+) of 12\. A checkpoint is saved; the "
    r"same command resumes\.",
    last,
  )[1]
  output = finish(start(mock_data_dir, tmp_path))
  assert f"Resuming at step {step} of 12." in output
  check_same(tmp_path, uninterrupted)


@pytest.mark.usefixtures("signals_arrive", "without_figures")
@pytest.mark.parametrize(
  ("number", "step"),
  # Before the first checkpoint, at the end of an epoch and of training.
  [(signal.SIGTERM, 2), (signal.SIGHUP, 4), (signal.SIGINT, 12)],
)
def test_stopped_run_ends_with_the_same_bits(
  mock_data_dir, uninterrupted, tmp_path, monkeypatch, number, step
):
  config = shrunk.config(mock_data_dir)
  batch = placement.OnDevice.batch

  def batch_and_signal(data, index):
    if index == step - 1:
      signal.raise_signal(number)
    return batch(data, index)

  with monkeypatch.context() as patch, signals.handled():
    patch.setattr(placement.OnDevice, "batch", batch_and_signal)
    with pytest.raises(signals.Stopped, match=f"after step {step} of 12"):
      train.train_and_evaluate(config, tmp_path)
  stored = {path.name for path in (tmp_path / "checkpoints/latest").iterdir()}
  assert str(step) in stored
  train.train_and_evaluate(config, tmp_path)
  check_same(tmp_path, uninterrupted)


def check_same(tmp_path, uninterrupted):
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
