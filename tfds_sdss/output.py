"""Standard output and errors that never end a program."""

from __future__ import annotations

import io
import os
import sys


class _Lossy(io.FileIO):
  """A stream that drops what cannot be written.

  The reader of a pipe may leave, as in `| head`, a terminal may be closed, and
  the disk of a log file may be full. A long run must not end because of that.
  """

  def write(self, data) -> int:
    try:
      return super().write(data) or 0
    except OSError:
      return len(data)


def make_robust() -> None:
  """Replaces stdout and stderr: no text raises an error, nor does any write.

  Characters that the encoding lacks are written as backslash escapes.
  """
  for name, number in (("stdout", 1), ("stderr", 2)):
    stream = getattr(sys, name)
    if stream is None:  # closed by the shell, as in `>&-`
      stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
      setattr(sys, name, stream)
      continue
    stream.flush()
    raw = _Lossy(number, "w", closefd=False)
    setattr(
      sys,
      name,
      io.TextIOWrapper(
        # As Python itself: write_through is python -u.
        raw if stream.write_through else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
      ),
    )
