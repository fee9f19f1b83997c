"""Writes files with Apache Beam, on many cores or machines."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import contextlib
import difflib
import io
import logging
import os
import pathlib
from typing import Any

from tfds_sdss import files
from tfds_sdss.errors import DataError

_log = logging.getLogger(__name__)


class BeamError(ImportError):
  """Apache Beam is not installed, or cannot run as requested."""


def pipeline_options(text: str | None) -> Any:
  """Returns Beam's PipelineOptions, or None for None.

  Args:
    text: options without dashes, separated by commas.

  Raises:
    BeamError: if Apache Beam is not installed, or refuses an option.
  """
  if text is None:
    return None
  flags = [f"--{option}" for option in text.split(",")]
  options = _import_beam().options.pipeline_options.PipelineOptions
  known = options([]).get_all_options()
  for flag in flags:
    name = flag.removeprefix("--").partition("=")[0]
    close = difflib.get_close_matches(name, known, n=1)
    # Other unknown options may be those of a runner, which Beam asks later.
    if name not in known and (close or not name):
      hint = f" Did you mean {close[0]}?" if close else ""
      raise BeamError(
        f"--beam_options={text}: expected NAME=VALUE,..., found {name!r}, "
        f"which is no option of Apache Beam.{hint}"
      )
  output = io.StringIO()
  try:
    with contextlib.redirect_stderr(output):
      parsed = options(flags=flags)
      parsed.get_all_options()
      # Messages of the workers other than errors are not for users.
      if "default_sdk_harness_log_level" not in text:
        flags.append("--default_sdk_harness_log_level=ERROR")
      return options(flags=flags)
  # Its parser prints the error and exits.
  except SystemExit as error:
    reason = output.getvalue().strip().rpartition("error: ")[2]
    raise BeamError(f"--beam_options={text}: {reason}.") from error


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
    BeamError: if Apache Beam is not installed, cannot run, or loses a worker.
    DataError: if `write` raises an error that a user can mend.
  """
  beam = _import_beam()
  # Needs a package of requirements-beam.txt.
  from tfds_sdss import beam_workers

  option_types = beam.options.pipeline_options
  options = options or option_types.PipelineOptions([])
  # Else DirectRunner downloads a program, Prism, which ignores
  # direct_running_mode; this pipeline has no triggers.
  types = options.view_as(option_types.TypeOptions)
  types.allow_unsafe_triggers = True
  try:
    pipeline = beam.Pipeline(runner=runner, options=options)
  except (ValueError, ImportError, AttributeError) as error:
    reason = " ".join(str(error).split())
    raise BeamError(
      f"Apache Beam refuses --beam_runner or --beam_options: {reason}"
    ) from error
  for task in tasks:
    _error_path(task).unlink(missing_ok=True)
  _log.info("writing %d files with Apache Beam", len(tasks))
  _ = (
    pipeline
    | beam.Create(tasks)
    | beam.Reshuffle()
    | beam.Map(_run_task, write, os.getpid())
  )
  try:
    beam_workers.run(lambda: pipeline.run().wait_until_finish())
  except beam_workers.WorkerDiedError as error:
    raise BeamError(
      f"A worker process of Apache Beam died ({error}). Run the same command "
      "again; with fewer workers if the memory was full."
    ) from error
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


def _run_task(task: Any, write: Callable[[Any], Any], driver: int) -> None:
  from tfds_sdss import beam_workers

  beam_workers.end_with(driver)
  try:
    write(task)
  except Exception as error:
    message = _describe(error, write)
    if message is None:
      raise
    # Beam would retry the task and bury the message in its own.
    _error_path(task).write_text(message, encoding="utf-8")


def _describe(error: Exception, write: Callable[[Any], Any]) -> str | None:
  """Returns the message of an error that a user can mend; None for others."""
  package, _, _ = type(error).__module__.partition(".")
  if package in ("tfds_sdss", write.__module__.partition(".")[0]):
    return str(error)
  return files.describe(error) if isinstance(error, OSError) else None


def _error_path(task: Any) -> pathlib.Path:
  return pathlib.Path(f"{task.path}.error")
