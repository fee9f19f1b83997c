"""Kills jobs at random operations, and compares what they leave."""

from collections.abc import Callable
import functools
import hashlib
import json
import multiprocessing
import pathlib
import shutil
import signal
from typing import Any

import numpy as np

from tests.soak import jobs

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.soak.jobs"])

# Rows of metrics with times, and folders that another start may leave.
_NOT_COMPARED = (
  "tensorboard",
  ".corrupt",
  "incomplete.",
  "orbax-checkpoint-tmp",
)
_TIMES = ("timing", "sha256", "retrieved", "started", "finished")


class Job:
  """A job, and what it leaves without interruption."""

  def __init__(self, function: Callable, folder: pathlib.Path, *arguments):
    """Initializes a job; starts nothing.

    Args:
      function: one of `jobs`.
      folder: parent of the folders that the job fills.
      arguments: further arguments of the function.
    """
    self._function = function
    self._folder = folder
    self._arguments = arguments
    self._output = folder / "output.txt"

  @functools.cached_property
  def uninterrupted(self) -> tuple[dict[str, Any], jobs.Usage]:
    """The contents and the resources of an uninterrupted process."""
    folder = self._folder / "uninterrupted"
    exit_code, usage = self.start(folder)
    assert exit_code == 0, self._output.read_text()
    return contents(folder), usage

  def start(
    self,
    folder: pathlib.Path,
    kill: jobs.Kill | None = None,
    function: Callable | None = None,
  ) -> tuple[int, jobs.Usage]:
    """Starts the job, or another one with the same arguments.

    Returns:
      The exit status and the use of resources.
    """
    process = _context.Process(
      target=jobs.run,
      args=(
        function or self._function,
        kill,
        self._output,
        folder,
        *self._arguments,
      ),
    )
    process.start()
    process.join(300)
    assert process.exitcode is not None, "no end after 300 s"
    lines = self._output.read_text(errors="replace").splitlines()
    usage = [line.split()[1:] for line in lines if line.startswith("usage ")]
    numbers = map(int, usage[-1] if usage else (0, 0, 0))
    return process.exitcode, jobs.Usage(*numbers)

  def kill_at_random(self, number: int, seed: int) -> None:
    """Kills the job `number` times, and compares each folder at its end.

    Half of the kills come before an operation on files, half of them up to
    0.5 s after one. The same folder is used until the job ends.
    """
    rng = np.random.default_rng(seed)
    most = 0.8 * self.uninterrupted[1].operations + 2
    kills = folders = 0
    while True:
      folder = self._folder / f"killed_{folders}"
      kill = None
      if kills < number:
        operation = int(rng.integers(1, most))
        kill = jobs.Kill(operation, rng.choice([0.0, rng.uniform(0, 0.5)]))
      exit_code, _ = self.start(folder, kill)
      if exit_code == -signal.SIGKILL:
        kills += 1
        continue
      output = self._output.read_text(errors="replace")
      assert exit_code == 0, f"{kill} after {kills} kills: {output}"
      assert self.differing(folder) == []
      shutil.rmtree(folder)
      if kills == number:
        return
      folders += 1

  def differing(self, folder: pathlib.Path) -> list[str]:
    """Returns names of files that differ from the uninterrupted ones."""
    found, (expected, _) = contents(folder), self.uninterrupted
    names = sorted({*found, *expected})
    return [name for name in names if found.get(name) != expected.get(name)]


def contents(folder: pathlib.Path) -> dict[str, Any]:
  """Returns the content of the files that must not depend on interruptions.

  A checkpoint stands for the digests of its arrays. Times are left out, and
  the order in which images arrived.
  """
  found: dict[str, Any] = {}
  for path in sorted(folder.rglob("*")):
    name = str(path.relative_to(folder))
    if not path.is_file() or any(part in name for part in _NOT_COMPARED):
      continue
    data = path.read_bytes()
    if "checkpoints" in name:
      if name.endswith("digests/metadata"):
        found[name] = json.loads(data)
    elif path.name == "manifest.jsonl":
      found[name] = sorted(data.splitlines())
    elif path.suffix == ".json":
      values = json.loads(data)
      found[name] = {k: v for k, v in values.items() if k not in _TIMES}
    elif not path.name.startswith(".lock"):
      found[name] = hashlib.sha256(data).hexdigest()
  return found


def size(folder: pathlib.Path) -> int:
  """Returns the size of all files in a folder, bytes."""
  return sum(x.stat().st_size for x in folder.rglob("*") if x.is_file())


def last_step(workdir: pathlib.Path) -> int:
  """Returns the newest step with a checkpoint; 0 if there is none."""
  paths = (workdir / "checkpoints" / "latest").glob("*")
  return max((int(x.name) for x in paths if x.name.isdecimal()), default=0)
