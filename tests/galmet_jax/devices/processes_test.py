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
from galmet_jax import metric_writer
from galmet_jax import train
from galmet_jax.devices import processes
from tests import shrunk
from tests.galmet_jax.devices import two_processes

FEWER = {
  # AdamW divides by the gradient's size, and makes much of its rounding.
  "optim.optimizer": "sgd",
  "optim.all_sgdr.cycle_len": 2,
  "eval.splits": ("test",),
  "eval.tta": "none",
  "eval.baselines": False,
}
# The sum over devices is in another order: 4e-7 in the losses, 8e-7 in the
# gradients' norms, none in the predictions.
TOLERANCE = 3e-6


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
  with processes.exit_together():
    assert processes.is_first()
    assert processes.broadcast_int(5) == 5
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
    two_processes.start(
      "tests/galmet_jax/devices/two_processes.py", str(tmp_path)
    )
  )
  assert [status for status, _, _ in results] == [0, 0], results
  assert ["checked" in output for _, output, _ in results] == [True, False]


def start(data_dir, workdir, place):
  return two_processes.start(
    "main.py",
    *shrunk.flags(data_dir, workdir),
    *(f"--config.{name}={value}" for name, value in FEWER.items()),
    f"--config.data.placement={place}",
  )


def kill_at_step(children, workdir, step):
  """Kills both as soon as the record holds the step."""
  try:
    deadline = time.monotonic() + two_processes.TIMEOUT
    while not any(row["step"] >= step for row in metric_writer.read(workdir)):
      for child in children:
        assert child.poll() is None, child.communicate()
      assert time.monotonic() < deadline
      time.sleep(0.005)
  finally:
    two_processes.kill(children)
  assert [child.returncode for child in children] == [-signal.SIGKILL] * 2


def test_killed_and_resumed_run_is_that_of_one_process(mock_data_dir, tmp_path):
  alone, together = tmp_path / "alone", tmp_path / "together"
  kill_at_step(start(mock_data_dir, together, "host"), together, step=4)
  results = two_processes.finish(start(mock_data_dir, together, "device"))
  assert [status for status, _, _ in results] == [0, 0], results
  assert "Going on from step" in results[0][1]
  # The second process is silent: no table, no progress bar, no warning.
  assert results[1][2] == ""
  lines = results[1][1].splitlines()
  assert all(line.startswith("[Gloo]") for line in lines), lines

  config = shrunk.config(mock_data_dir)
  config.update_from_flattened_dict(FEWER)
  train.train_and_evaluate(config, alone)
  ours, theirs = (
    pd.read_csv(workdir / "predictions_test.csv")
    for workdir in (together, alone)
  )
  np.testing.assert_array_equal(ours.objid, theirs.objid)
  np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=0)
  ours, theirs = (metric_writer.read(workdir) for workdir in (together, alone))
  assert [list(row) for row in ours] == [list(row) for row in theirs]
  for row, expected in zip(ours, theirs, strict=True):
    for name in {"train/loss", "train/grad_norm"} & set(row):
      np.testing.assert_allclose(row[name], expected[name], rtol=TOLERANCE)
  ours, theirs = (
    json.loads((workdir / "summary.json").read_text())
    for workdir in (together, alone)
  )
  assert ours["checkpoint"] == theirs["checkpoint"]
