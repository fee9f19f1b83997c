"""Progress of a fetch."""

from __future__ import annotations

import collections
from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import logging
import time

import tqdm

from tfds_sdss import staging

_LOG_EVERY = 1_000  # galaxies between two log lines, without a progress bar

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def shown(total: int, done: int) -> Iterator[Callable[[staging.Entry], None]]:
  """Shows rate, time left and losses in a bar or in log lines."""
  lost: collections.Counter[str] = collections.Counter()
  started, first = time.monotonic(), done
  with tqdm.tqdm(
    total=total, initial=done, desc="Fetching", unit=" images", disable=None
  ) as bar:

    def on_entry(entry: staging.Entry) -> None:
      nonlocal done
      done += 1
      if not entry.is_image:
        lost[entry.reason] += 1
        bar.set_postfix(lost, refresh=False)
      bar.update()
      if bar.disable and done % _LOG_EVERY == 0:
        rate = (done - first) / (time.monotonic() - started)
        _log.info(
          "%d of %d galaxies, %.1f/s, %.1f hours left, lost: %s",
          *(done, total, rate, (total - done) / rate / 3600),
          dict(lost) or "none",
        )

    yield on_entry
