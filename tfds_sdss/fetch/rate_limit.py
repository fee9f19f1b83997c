"""Rate limit of the requests to a service."""

from __future__ import annotations

import asyncio
import time


class RateLimit:
  """Spaces requests evenly; `pause` delays all of them."""

  def __init__(self, rate: float):
    """Starts without a wait; `rate` is in requests per second."""
    self._interval = 1.0 / rate
    self._next = 0.0
    self._lock = asyncio.Lock()

  async def wait(self) -> None:
    """Returns when the next request may start."""
    async with self._lock:
      # A loop, because pause() may postpone the next request meanwhile.
      while (now := time.monotonic()) < self._next:
        await asyncio.sleep(self._next - now)
      self._next = now + self._interval

  def pause(self, seconds: float) -> None:
    """Delays the next request by at least `seconds`."""
    self._next = max(self._next, time.monotonic() + seconds)
