"""Two processes train like one, resume after a kill, and exit together."""

import json
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pandas as pd
import pytest

from galmet_jax import errors
from galmet_jax import metric_writer
from galmet_jax import train
from galmet_jax.devices import processes
from tests import shrunk
from tests.galmet_jax.devices import two_processes

FIELDS = {
  # AdamW divides by the size of the gradient, which magnifies its rounding.
  "optim.optimizer": "sgd",
  "optim.all_sgdr.cycle_len": 2,
  "eval.splits": ("test",),
  "eval.tta": "none",
  "eval.baselines": False,
  "data.crop": 32,
}
# Sums of float32 in another order, over 16 layers and 8 steps: the gradient
# norm differs by some 30 roundings. A lost or repeated part of a batch would
# change the loss by percents.
TOLERANCE = 200 * np.finfo(np.float32).eps


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ((False, "a:1", 2, None), "found only --coordinator, --num_processes"),
    ((False, None, 2, 0), "found only --num_processes, --process_id"),
    ((True, None, 2, None), "reads --num_processes from the cluster"),
    ((False, "a", 2, 0), "--coordinator=a: expected HOST:PORT"),
    ((False, ":80", 2, 0), "expected HOST:PORT"),
    ((False, "a:0", 2, 0), "expected HOST:PORT"),
    ((False, "a:65536", 2, 0), "expected HOST:PORT"),
    ((False, "a:1", 2, 2), "--process_id=2: expected 0 to 1"),
    ((False, "a:1", 2, -1), "--process_id=-1: expected 0 to 1"),
  ],
)
def test_contradictory_arguments(arguments, message):
  with pytest.raises(errors.ConfigError, match=message):
    processes.join(*arguments)


def test_one_process_waits_for_nobody():
  processes.join(False, None, None, None)
  with processes.exit_together():
    assert processes.is_first()
    assert processes.broadcast_int(5) == 5
    assert processes.on_first(lambda: "done") == "done"
    assert processes.first_then_others(lambda: "done") == "done"
    with pytest.raises(ZeroDivisionError):
      processes.on_first(lambda: 1 // 0)


JOIN = """
import sys, main
from galmet_jax.devices import processes
processes.PATIENCE = 2
with main.user_errors_on_one_line():
  processes.join(*eval(sys.argv[1]))
"""


def join(*arguments, **variables):
  """Joins in a new process that waits for 2 seconds."""
  result = subprocess.run(
    [sys.executable, "-c", JOIN, repr(arguments)],
    cwd=two_processes.ROOT,
    env={**os.environ, **variables},
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert result.returncode == 1
  assert result.stderr.count("\n") == 1
  return result.stdout, result.stderr


@pytest.mark.parametrize("process", [0, 1])
def test_waiting_for_absent_processes_ends_in_one_line(process):
  address = f"127.0.0.1:{two_processes.free_port()}"
  out, err = join(False, address, 2, process)
  assert f"Process {process} of 2 waits for the others at {address}" in out
  assert err.startswith(f"error: process {process} of 2 waited 2 s")


def test_job_of_slurm_without_a_step_names_srun():
  out, err = join(True, None, None, None, SLURM_JOB_ID="77")
  assert out.startswith("Process ? of ? in SLURM's job waits for the others")
  assert err.startswith("error: --distributed: expected a step of SLURM's job")
  assert "srun python main.py" in err


def test_no_cluster_is_one_line(tmp_path):
  clusters = ("SLURM_", "OMPI_", "KUBERNETES_", "JAX_COORDINATOR_")
  result = subprocess.run(
    [
      *(sys.executable, "main.py", "--config=configs/quickstart.py"),
      *(f"--workdir={tmp_path / 'w'}", "--distributed"),
    ],
    cwd=two_processes.ROOT,
    env={k: v for k, v in os.environ.items() if not k.startswith(clusters)},
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


def start(data_dir, workdir):
  return two_processes.start(
    "main.py",
    *shrunk.flags(data_dir, workdir),
    *(f"--config.{name}={value}" for name, value in FIELDS.items()),
    "--config.data.placement=host",
  )


def kill_at_step(children, workdir, step):
  """Kills both processes once metrics.jsonl contains the step."""
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


@pytest.fixture
def without_optimizations():
  """Compiles in half of the time, as in the two processes."""
  jax.config.update("jax_disable_most_optimizations", True)
  yield
  jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.usefixtures("without_optimizations")
def test_killed_and_resumed_run_is_that_of_one_process(mock_data_dir, tmp_path):
  alone, together = tmp_path / "alone", tmp_path / "together"
  kill_at_step(start(mock_data_dir, together), together, step=4)
  results = two_processes.finish(start(mock_data_dir, together))
  assert [status for status, _, _ in results] == [0, 0], results
  # Process 1 prints nothing; Gloo's threads do, in the middle of lines.
  assert results[1][2] == ""
  for printed in ("Resuming at step", "Phase", "RMSE"):
    assert (printed in results[0][1], printed in results[1][1]) == (True, False)

  config = shrunk.config(mock_data_dir)
  config.update_from_flattened_dict(FIELDS)
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
