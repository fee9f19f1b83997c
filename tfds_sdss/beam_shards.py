"""Writes files with Apache Beam, on many cores or machines."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import logging
import pathlib
from typing import Any

from tfds_sdss.errors import DataError

_log = logging.getLogger(__name__)


class BeamError(ImportError):
  """Apache Beam was requested but is not installed."""


def pipeline_options(text: str | None) -> Any:
  """Returns Beam's PipelineOptions, or None for None.

  Args:
    text: options without dashes, separated by commas.

  Raises:
    BeamError: if Apache Beam is not installed.
  """
  if text is None:
    return None
  flags = [f"--{option}" for option in text.split(",")]
  return _import_beam().options.pipeline_options.PipelineOptions(flags=flags)


def run(
  write: Callable[[Any], Any], tasks: Sequence[Any], runner: Any, options: Any
) -> None:
  """Runs write(task) for each task.

  Args:
    write: top-level function of a module that the workers can import.
    tasks: small, picklable objects with the `path` of the file to write. The
      workers must see the same folders as this process.
    runner: Beam runner or its name; None for the runner in `options`.
    options: Beam's PipelineOptions, or None.

  Raises:
    BeamError: if Apache Beam is not installed.
    DataError: if `write` raises one.
  """
  beam = _import_beam()
  _log.info("writing %d files with Apache Beam", len(tasks))
  with beam.Pipeline(runner=runner, options=options) as pipeline:
    _ = (
      pipeline
      | beam.Create(tasks)
      | beam.Reshuffle()
      | beam.Map(_run_task, write)
    )
  for task in tasks:
    if (path := _error_path(task)).exists():
      raise DataError(path.read_text(encoding="utf-8"))


def _import_beam() -> Any:
  try:
    import apache_beam
  except ImportError as error:
    raise BeamError(
      f"Apache Beam is not installed ({error}). Install it: "
      "pip install -r requirements-beam.txt. Or leave out --beam_runner and "
      "--beam_options."
    ) from error
  return apache_beam


def _run_task(task: Any, write: Callable[[Any], Any]) -> None:
  try:
    write(task)
  except DataError as error:
    # Beam would retry the task and bury the message in its own.
    _error_path(task).write_text(str(error), encoding="utf-8")


def _error_path(task: Any) -> pathlib.Path:
  return pathlib.Path(f"{task.path}.error")
