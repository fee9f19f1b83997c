"""Processes that join, wait for absent ones, or cannot start."""

import os
import subprocess
import sys

import pytest

from galmet_jax import errors
from galmet_jax.devices import cluster
from tests.galmet_jax.devices import two_processes


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
    cluster.join(*arguments)


JOIN = """
import sys, main
from galmet_jax.devices import cluster
cluster.PATIENCE = 2
with main.user_errors_on_one_line():
  cluster.join(*eval(sys.argv[1]))
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
