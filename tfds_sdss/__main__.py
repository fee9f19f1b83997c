"""Starts the command line: python -m tfds_sdss fetch | build | verify."""

from __future__ import annotations

from collections.abc import Sequence
import sys

from tfds_sdss import output
from tfds_sdss import signals


def main(argv: Sequence[str] | None = None) -> int:
  """Runs one command and returns its exit status."""
  try:
    with signals.handled():
      # A slow import, which a signal may interrupt as well.
      from tfds_sdss import command_line

      return command_line.run(argv)
  except signals.Stopped as stopped:
    print(stopped, file=sys.stderr)
    return stopped.exit_status


if __name__ == "__main__":
  output.make_robust()
  sys.exit(main())
