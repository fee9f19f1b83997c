"""Two processes compute what one does, and end together."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from galmet_jax import errors
from galmet_jax import logging
from galmet_jax import processes
from tests import shrunk
from tests import two_processes

# In this order, over all processes, of a float32: measured 3e-7.
TOLERANCE = 2e-6


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ((False, "a:1", 2, None), "found no --process_id"),
    ((False, None, 2, 0), "found no --coordinator"),
    ((True, None, 2, None), "for what --num_processes would tell"),
    ((False, "a", 2, 0), "--coordinator=a: expected HOST:PORT"),
    ((False, ":80", 2, 0), "expected HOST:PORT"),
    ((False, "a:0", 2, 0), "expected HOST:PORT"),
    ((False, "a:65536", 2, 0), "expected HOST:PORT"),
    ((False, "a:1", 2, 2), "--process_id=2: expected 0 to 1"),
    ((False, "a:1", 2, -1), "--process_id=-1: expected 0 to 1"),
  ],
)
def test_arguments_that_do_not_go_together(arguments, message):
  with pytest.raises(errors.ConfigError, match=message):
    processes.join(*arguments)


def test_one_process_needs_nobody():
  processes.join(False, None, None, None)
  with processes.together():
    assert processes.is_first()
    assert processes.agreed(5) == 5
    assert processes.on_first(lambda: "done") == "done"
    assert processes.first_then_others(lambda: "done") == "done"
    with pytest.raises(ZeroDivisionError):
      processes.on_first(lambda: 1 // 0)


def test_no_cluster_is_one_line(tmp_path):
  known = ("SLURM_", "OMPI_", "KUBERNETES_", "JAX_COORDINATOR_")
  result = subprocess.run(
    [
      *(sys.executable, "main.py", "--config=configs/quickstart.py"),
      *(f"--workdir={tmp_path / 'w'}", "--distributed"),
    ],
    cwd=two_processes.ROOT,
    env={k: v for k, v in os.environ.items() if not k.startswith(known)},
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert result.returncode == 1
  assert result.stderr.startswith(
    "error: --distributed: expected to be started"
  )
  assert result.stderr.count("\n") == 1


def test_two_processes_agree(tmp_path):
  results = two_processes.finish(
    two_processes.start("tests/two_processes.py", str(tmp_path))
  )
  assert [status for status, _, _ in results] == [0, 0], results
  assert ["checked" in output for _, output, _ in results] == [True, False]


def train(data_dir, workdir, *more):
  return two_processes.start(
    "main.py", *shrunk.flags(data_dir, workdir), "--config.eval.tta=none", *more
  )


def kill_at_step(children, workdir, step):
  """Kills both as soon as the record holds the step."""
  try:
    deadline = time.monotonic() + two_processes.TIMEOUT
    while not any(row["step"] >= step for row in logging.read(workdir)):
      for child in children:
        assert child.poll() is None, child.communicate()
      assert time.monotonic() < deadline
      time.sleep(0.005)
  finally:
    two_processes.kill(children)
  assert [child.returncode for child in children] == [-signal.SIGKILL] * 2


def test_killed_and_resumed_run_is_that_of_one_process(mock_data_dir, tmp_path):
  alone, together = tmp_path / "alone", tmp_path / "together"
  kill_at_step(
    train(mock_data_dir, together, "--config.data.placement=host"), together, 8
  )
  resumed = train(mock_data_dir, together, "--config.data.placement=device")
  results = two_processes.finish(resumed)
  assert [status for status, _, _ in results] == [0, 0], results
  assert "Going on from step" in results[0][1]
  single = subprocess.run(
    [
      *(sys.executable, "main.py", "--config.eval.tta=none"),
      *shrunk.flags(mock_data_dir, alone),
    ],
    cwd=two_processes.ROOT,
    env=os.environ,
    capture_output=True,
    text=True,
    timeout=two_processes.TIMEOUT,
  )
  assert single.returncode == 0, single.stderr

  for name in ("validation", "test"):
    ours, theirs = (
      pd.read_csv(workdir / f"predictions_{name}.csv")
      for workdir in (together, alone)
    )
    np.testing.assert_array_equal(ours.objid, theirs.objid)
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=0)
  ours, theirs = (logging.read(workdir) for workdir in (together, alone))
  assert [list(row) for row in ours] == [list(row) for row in theirs]
  for row, expected in zip(ours, theirs, strict=True):
    np.testing.assert_allclose(
      row.get("train/loss", 0), expected.get("train/loss", 0), rtol=TOLERANCE
    )
  ours, theirs = (
    json.loads((workdir / "summary.json").read_text())
    for workdir in (together, alone)
  )
  assert ours["checkpoint"] == theirs["checkpoint"]
  # The second process is silent: nothing of a table or a progress bar.
  assert all(
    line.startswith("[Gloo]") for line in results[1][1].splitlines()
  ), results[1]
  assert results[1][2] == ""
