"""Progress bars on a terminal; in log files a plain line per minute."""

import sys
import time
from typing import Any

import tqdm

from galmet_jax.devices import processes

_SECONDS_PER_LINE = 60.0
_PLAIN = "{l_bar}{n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


class _Lines:
  """The file of a bar that passes one of its states on every minute."""

  def __init__(self):
    self._last = time.monotonic()

  def write(self, text: str) -> None:
    text, now = text.strip(), time.monotonic()
    if text and now - self._last >= _SECONDS_PER_LINE:
      self._last = now
      print(text, file=sys.stderr, flush=True)

  def flush(self) -> None:
    pass


def bar(disable: bool = False, **options: Any) -> tqdm.tqdm:
  """Returns a progress bar; `options` are those of `tqdm.tqdm`.

  Only the first process shows it.
  """
  disable = disable or not processes.is_first()
  if sys.stderr.isatty():
    return tqdm.tqdm(dynamic_ncols=True, disable=disable, **options)
  options |= {"file": _Lines(), "bar_format": _PLAIN}
  return tqdm.tqdm(disable=disable, **options)
