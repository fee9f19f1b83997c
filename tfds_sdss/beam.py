"""Runs a build's tasks in Apache Beam, on many cores or many machines."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import json
import logging
import pathlib
from typing import Any

from tfds_sdss.errors import DataError

_log = logging.getLogger(__name__)


class BeamError(ImportError):
  """Apache Beam was asked for and is not installed."""


def pipeline_options(text: str | None) -> Any:
  """Returns Beam's PipelineOptions, or None for None.

  Args:
    text: options without dashes and with commas between them.

  Raises:
    BeamError: if Apache Beam is not installed.
  """
  if text is None:
    return None
  flags = [f"--{option}" for option in text.split(",")]
  return _beam().options.pipeline_options.PipelineOptions(flags=flags)


def run(
  function: Callable[[Any], Sequence],
  tasks: Sequence[Any],
  runner: Any,
  options: Any,
  results: pathlib.Path,
) -> list[list]:
  """Returns function(task) for each task, in the tasks' order.

  Args:
    function: of a module, for the workers import it. What it returns is made
      of numbers and strings.
    tasks: small, and can be pickled.
    runner: name of a Beam runner, or a runner; None for the options' one.
    options: Beam's PipelineOptions, or None.
    results: a small file through which the results come back, for the workers
      may be elsewhere. They see the same folders as this process.

  Raises:
    BeamError: if Apache Beam is not installed.
    DataError: if the function has raised one.
  """
  beam = _beam()
  _log.info("writing %d shards with Apache Beam", len(tasks))
  with beam.Pipeline(runner=runner, options=options) as pipeline:
    _ = (
      pipeline
      | beam.Create(list(enumerate(tasks)))
      | beam.Reshuffle()
      | beam.Map(_numbered, function)
      | beam.combiners.ToList()
      | beam.Map(_save, str(results))
    )
  found = sorted(json.loads(results.read_text(encoding="utf-8")))
  results.unlink()
  for _, _, refusal in found:
    if refusal:
      raise DataError(refusal)
  return [result for _, result, _ in found]


def _beam() -> Any:
  """Returns Apache Beam, which only those install who have many machines."""
  try:
    import apache_beam
  except ImportError as error:
    raise BeamError(
      f"Apache Beam is not installed ({error}). Install it: "
      "pip install -r requirements-beam.txt. Or build without Beam's options."
    ) from error
  return apache_beam


def _numbered(
  numbered: tuple[int, Any], function: Callable[[Any], Sequence]
) -> tuple[int, Any, str]:
  """Returns a task's number, its result, and why its data were refused.

  Beam would repeat what raises, and bury the message in its own.
  """
  number, task = numbered
  try:
    return number, function(task), ""
  except DataError as error:
    return number, None, str(error)


def _save(results: list[tuple[int, Any, str]], path: str) -> None:
  pathlib.Path(path).write_text(json.dumps(results), encoding="utf-8")
