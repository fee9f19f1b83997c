"""Work that is killed: each job is a function of its folder.

A job runs in a child of a server that has imported this module, because the
imports take longer than the work.
"""

from collections.abc import Callable
import os
import pathlib
import signal
import sys
import threading
import types
from typing import NamedTuple

import jax

from configs import reproduce as reproduce_config
from galmet_jax import checkpoints
from galmet_jax import ensemble as ensemble_lib
from galmet_jax import figure_style
from galmet_jax import train as train_lib
from galmet_jax.paper import reproduce as reproduce_lib
from tests import shrunk
from tests.tfds_sdss.fetch import fetching
from tfds_sdss import build as build_lib

ROOT = pathlib.Path(__file__).parents[2]
# Python announces these events before the operation.
_CHANGES = {
  "os.mkdir",
  "os.remove",
  "os.rename",
  "os.rmdir",
  "os.truncate",
  "shutil.copyfile",
  "shutil.copytree",
  "shutil.move",
  "shutil.rmtree",
}
_TINY = {
  "data__resolution": 16,
  "eval__tta": "none",
  "train__checkpoint_every_steps": 2,
}
# `train` has a page and more epochs.
_SHORT = {"optim__all_sgdr__cycle_len": 1, "eval__figures": False}


class Kill(NamedTuple):
  """When a process kills itself.

  Attributes:
    operation: number of the operation on files, from 1.
    delay: seconds after it; with 0 the operation does not happen.
  """

  operation: int
  delay: float = 0.0


class Usage(NamedTuple):
  """Resources of a process.

  Attributes:
    operations: number of operations on files that changed something.
    memory: peak of the resident memory, KiB.
    handles: number of open file descriptors.
  """

  operations: int
  memory: int
  handles: int


def config_of(data_dir: pathlib.Path, **changes):
  """Returns the config of a network that trains in seconds."""
  return shrunk.config(data_dir, **{**_TINY, **changes})


def train(folder: pathlib.Path, data_dir: pathlib.Path) -> None:
  """Trains for three epochs."""
  train_lib.train_and_evaluate(config_of(data_dir), folder)


def train_long(folder: pathlib.Path, data_dir: pathlib.Path) -> None:
  """Trains for many more steps than a test waits for."""
  config = config_of(data_dir, optim__all_sgdr__cycle_len=10_000)
  train_lib.train_and_evaluate(config, folder)


def train_and_lose_progress(
  folder: pathlib.Path, data_dir: pathlib.Path
) -> None:
  """Trains, and saves zero instead of the best RMSE beside the state."""
  save = checkpoints.Checkpoints.save

  def lose(self, state, progress=None):
    save(self, state, {**(progress or {}), "best_rmse": 0.0})

  checkpoints.Checkpoints.save = lose
  train(folder, data_dir)


def ensemble(folder: pathlib.Path, data_dir: pathlib.Path) -> None:
  """Trains two folds for an epoch each."""
  config = config_of(data_dir, **_SHORT, data__num_folds=2)
  ensemble_lib.train_and_evaluate(config, folder)


def reproduce(folder: pathlib.Path, data_dir: pathlib.Path) -> None:
  """Trains a network for an epoch, and tabulates two systems."""
  config = config_of(data_dir, **_SHORT, data__crop=128)
  config.eval.splits = ("test",)
  config.reproduce = reproduce_config.select_systems(
    runs=("gri", "grayscale_test"), ensembles=()
  )
  reproduce_lib.reproduce(config, folder)


def fetch(folder: pathlib.Path, base_url: str) -> None:
  """Fetches from a stand-in server."""
  fetching.run(folder, types.SimpleNamespace(base_url=base_url))


def build(folder: pathlib.Path, staging: pathlib.Path) -> None:
  """Builds a sample from a staging folder."""
  build_lib.build("dr17", str(folder), str(staging))


def run(
  job: Callable, kill: Kill | None, output: pathlib.Path, *arguments
) -> None:
  """Does a job in a child process; prints to `output`.

  Before the process is killed, and at its end, the line `usage N N N` is
  written to `output`.
  """
  os.chdir(ROOT)
  file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
  os.dup2(file, 1)
  os.dup2(file, 2)
  operations = 0

  def report() -> None:
    status = pathlib.Path("/proc/self/status").read_text()
    (peak,) = (x for x in status.splitlines() if x.startswith("VmHWM"))
    handles = len(os.listdir("/proc/self/fd"))
    usage = Usage(operations, int(peak.split()[1]), handles)
    os.write(file, "usage {} {} {}\n".format(*usage).encode())

  def die() -> None:
    report()
    os.kill(os.getpid(), signal.SIGKILL)

  def watch(event: str, values: tuple) -> None:
    nonlocal operations
    opens_to_write = event == "open" and (values[2] or 0) & (
      os.O_WRONLY | os.O_RDWR
    )
    if event not in _CHANGES and not opens_to_write:
      return
    operations += 1
    if kill is None or operations != kill.operation:
      return
    if not kill.delay:
      die()
    timer = threading.Timer(kill.delay, die)
    timer.daemon = True
    timer.start()

  jax.config.update("jax_numpy_rank_promotion", "raise")
  # Figures take half of the time, and no number depends on them.
  figure_style.save = lambda *_args, **_options: None
  sys.addaudithook(watch)
  job(*arguments)
  report()
