"""The metrics of a run: JSON lines, TensorBoard and the progress bar.

metrics.jsonl is a record for figures and readers: training does not depend on
it. A resumed run continues it at the restored step.
"""

from collections.abc import Mapping
import json
import math
import os
import pathlib

from absl import logging
import numpy as np
import tensorboardX

from galmet_jax import progress
from galmet_jax.devices import processes
from tfds_sdss import files

FILE = "metrics.jsonl"


class MetricWriter:
  """Appends to metrics.jsonl and to TensorBoard's event files.

  Only the first process writes.
  """

  def __init__(self, workdir: pathlib.Path, step: int):
    """Opens the record at `step`, and drops what was written after it."""
    first = processes.is_first()
    path = _cut_after(workdir, step) if first else os.devnull
    self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (closed in close)
    self._events = tensorboardX.SummaryWriter(
      str(workdir / "tensorboard"), purge_step=step + 1, write_to_disk=first
    )

  def write(
    self, step: int, values: Mapping[str, float | int], *, events: bool = True
  ) -> None:
    """Records named numbers of a step.

    Args:
      step: the step.
      values: numbers by name.
      events: whether TensorBoard gets them too, which takes half a millisecond.
    """
    # JSON has no NaN, such as a validation error of a diverged network.
    finite = {k: v if math.isfinite(v) else None for k, v in values.items()}
    row = {"step": step, **finite}
    self._file.write(json.dumps(row) + "\n")
    for name, value in finite.items() if events else ():
      # tensorboardX warns of each number that is not finite.
      if value is not None:
        self._events.add_scalar(name, value, step)

  def flush(self) -> None:
    """Passes everything written so far to the operating system."""
    self._file.flush()
    self._events.flush()

  def close(self) -> None:
    """Closes both files."""
    self._file.close()
    self._events.close()


def _cut_after(workdir: pathlib.Path, step: int) -> pathlib.Path:
  """Removes the rows after `step` from metrics.jsonl; returns its path."""
  path = workdir / FILE
  kept = []
  for line in _lines(path):
    row = _parse(line)
    # A damaged line stays: it is part of the record.
    if row is None or row["step"] <= step:
      kept.append(line + b"\n")
  files.write_atomically(path, b"".join(kept))
  return path


def read(workdir: pathlib.Path) -> list[dict]:
  """Reads the rows of metrics.jsonl; damaged lines are logged and left out."""
  path = workdir / FILE
  rows = [_parse(line) for line in _lines(path)]
  damaged = [number for number, row in enumerate(rows, 1) if row is None]
  if damaged:
    logging.warning("%s: lines %s are damaged.", path, damaged)
  return [row for row in rows if row is not None]


def _lines(path: pathlib.Path) -> list[bytes]:
  """Returns the lines of a file, without a last one that a kill cut short."""
  try:
    return path.read_bytes().split(b"\n")[:-1]
  except FileNotFoundError:
    return []


def _parse(line: bytes) -> dict | None:
  """Returns a row, or None for a damaged line."""
  try:
    row = json.loads(line)
  # RecursionError: thousands of nested brackets.
  except (ValueError, RecursionError):
    return None
  if not isinstance(row, dict) or type(row.get("step")) is not int:
    return None
  is_row = all(isinstance(x, (int, float, type(None))) for x in row.values())
  return row if is_row else None


class ProgressBar:
  """A line on the terminal: epoch, step, loss, images per second, ETA."""

  def __init__(self, step: int, total: int, images_per_step: int):
    """Starts the bar at `step` of `total`."""
    self._images_per_step = images_per_step
    self._bar = progress.bar(
      total=total,
      initial=step,
      unit="step",
      mininterval=1,
      bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}"
      "{postfix}]",
    )

  def update(self, epoch: int, losses: list[float]) -> None:
    """Advances by one step for each loss."""
    if not losses:
      return
    self._bar.set_description(f"epoch {epoch}", refresh=False)
    self._bar.update(len(losses))
    rate = self._bar.format_dict["rate"] or 0.0
    self._bar.set_postfix_str(
      f"loss {np.mean(losses):.4f}, {rate * self._images_per_step:.1f} images/s"
    )

  def print_line(self, text: str) -> None:
    """Prints a line above the bar."""
    self._bar.write(text)

  def __enter__(self) -> "ProgressBar":
    return self

  def __exit__(self, *error) -> None:
    """Closes the bar and leaves it on the screen."""
    self._bar.close()
