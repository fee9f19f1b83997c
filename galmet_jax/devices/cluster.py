"""Connects the processes of a run, and starts JAX on their devices."""

import os
import sys
import threading
from typing import Any

import jax

from galmet_jax import errors
from tfds_sdss import signals

# For how long a process waits for the others to start, seconds.
PATIENCE = 300


def join(
  distributed: bool,
  coordinator: str | None,
  num_processes: int | None,
  process_id: int | None,
) -> None:
  """Connects the processes of a run; without arguments, does nothing.

  Must be called before JAX computes anything.

  Args:
    distributed: take the other three from the cluster (SLURM, Open MPI,
      Kubernetes, Cloud TPU).
    coordinator: HOST:PORT of process 0.
    num_processes: number of processes.
    process_id: index of this process, from 0.

  Raises:
    ConfigError: for contradictory or incomplete arguments, or if no cluster is
      detected.
  """
  by_hand = {
    "--coordinator": coordinator,
    "--num_processes": num_processes,
    "--process_id": process_id,
  }
  # JAX's own handler of SIGTERM would replace ours.
  jax.config.update("jax_enable_preemption_service", False)
  given = ", ".join(k for k, value in by_hand.items() if value is not None)
  if distributed:
    if given:
      raise errors.ConfigError(
        f"--distributed reads {given} from the cluster; expected one or the "
        "other, found both. Leave out --distributed, or leave out the rest."
      )
    _join_cluster()
  elif given:
    if coordinator is None or num_processes is None or process_id is None:
      raise errors.ConfigError(
        "expected --coordinator, --num_processes and --process_id together, "
        f"found only {given}. Add the rest, for example "
        "--coordinator=10.0.0.1:1234 --num_processes=2 --process_id=0."
      )
    host, _, port = coordinator.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 65536):
      raise errors.ConfigError(
        f"--coordinator={coordinator}: expected HOST:PORT, for example "
        "--coordinator=10.0.0.1:1234."
      )
    if not 0 <= process_id < num_processes:
      raise errors.ConfigError(
        f"--process_id={process_id}: expected 0 to {num_processes - 1} with "
        f"--num_processes={num_processes}."
      )
    _wait_for_all(
      f"process {process_id} of {num_processes}",
      f"{num_processes} processes with --coordinator={coordinator} and each "
      "--process_id",
      coordinator_address=coordinator,
      num_processes=num_processes,
      process_id=process_id,
      cluster_detection_method="deactivate",
    )


def start_jax() -> None:
  """Starts JAX on its devices.

  Raises:
    ConfigError: if there are none of the kind in JAX_PLATFORMS.
  """
  try:
    jax.devices()
  # JAX has no common class for a backend that cannot be started.
  except (RuntimeError, AssertionError, ValueError) as error:
    platforms = os.environ.get("JAX_PLATFORMS", "")
    reason = str(error).partition("\n")[0] or "no such device or no driver"
    raise errors.ConfigError(
      f"JAX cannot start with JAX_PLATFORMS={platforms} ({reason}). Unset "
      "JAX_PLATFORMS to use the devices that there are, or install JAX for "
      'this device, such as pip install "jax[cuda12]".'
    ) from error


def _join_cluster() -> None:
  process, expected = "this process", "all processes of the cluster"
  if "SLURM_JOB_ID" in os.environ:
    index, number = (
      os.environ.get(f"SLURM_{name}", "?") for name in ("PROCID", "NTASKS")
    )
    process = f"process {index} of {number} in SLURM's job"
    expected = f"{number} processes, with srun python main.py ..."
  try:
    _wait_for_all(process, expected)
  except (ValueError, KeyError) as error:
    if "SLURM_JOB_ID" in os.environ:
      raise errors.ConfigError(
        "--distributed: expected a step of SLURM's job, found none "
        f"({error}). Start the processes with srun python main.py ..."
      ) from error
    raise errors.ConfigError(
      "--distributed: expected to be started by SLURM, Open MPI, Kubernetes or "
      f"on a Cloud TPU, found none of them ({error}) Leave it out, or give "
      "--coordinator, --num_processes and --process_id instead."
    ) from error


def _wait_for_all(process: str, expected: str, **arguments: Any) -> None:
  """Calls `jax.distributed.initialize`, and says for whom it waits.

  In another thread, because this one could handle no signal meanwhile. At the
  end of its patience JAX would abort the process with a stack of C++.

  Args:
    process: name of this process.
    expected: what must be started, for the message.
    **arguments: those of `jax.distributed.initialize`.
  """
  where = arguments.get("coordinator_address", "the cluster's coordinator")
  print(
    f"{process[0].upper()}{process[1:]} waits for the others at {where}, for "
    f"{PATIENCE} s at most.",
    flush=True,
  )
  failures = []

  def initialize():
    try:
      jax.distributed.initialize(
        **arguments, initialization_timeout=2 * PATIENCE
      )
    except Exception as error:
      failures.append(error)

  thread = threading.Thread(target=initialize, daemon=True)
  thread.start()
  try:
    thread.join(PATIENCE)
    if thread.is_alive():
      raise errors.ConfigError(
        f"{process} waited {PATIENCE} s for the others at {where}; expected "
        f"{expected}. Check that all have started, and that no firewall is "
        "between them."
      )
  except (errors.ConfigError, signals.Stopped) as error:
    # An orderly exit would wait for the thread.
    status = getattr(error, "exit_status", 1)
    prefix = "error: " if status == 1 else ""
    print(f"{prefix}{error}", file=sys.stderr, flush=True)
    os._exit(status)
  if failures:
    raise failures[0]
  start_jax()
  print(
    f"{jax.process_count()} processes with {jax.device_count()} devices have "
    "joined.",
    flush=True,
  )
