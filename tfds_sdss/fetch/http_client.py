"""One way to ask a server for something, and to go on when it misbehaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
import dataclasses
import logging
import pathlib
from typing import TypeVar

import aiohttp
import tenacity
import tqdm
import yarl

from tfds_sdss.fetch import http_answers

_MAX_BYTES = 1 << 27  # of an answer that is kept in memory
_CHUNK = 1 << 16
_LONG_WAIT = 3.0  # seconds; a user who waits longer is told why

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Limits:
  """How long to wait for a server and how often to ask it again.

  Attributes:
    connect: seconds until a connection is there.
    read: seconds between two pieces of an answer.
    total: seconds for a whole answer, be it an image.
    query_total: the same for a query; SkyServer ends its own after 600.
    file_total: the same for a large file, which goes on where it stopped.
    attempts: how often something is asked for before it is given up.
    backoff: greatest wait before the second attempt, seconds. The wait is
      random, and its bound doubles with each attempt.
    longest_wait: seconds that a server may ask us to wait; if it asks for
      more, we give up.
    throttle: seconds to wait after a query that came too early.
  """

  connect: float = 15.0
  read: float = 60.0
  total: float = 120.0
  query_total: float = 660.0
  file_total: float = 7200.0
  attempts: int = 6
  backoff: float = 2.0
  longest_wait: float = 300.0
  throttle: float = 60.0


class _Pace:
  """Spaces requests evenly, and stops them all when a server wants a pause."""

  def __init__(self, rate: float):
    self._interval = 1.0 / rate
    self._next = 0.0
    self._lock = asyncio.Lock()

  async def wait(self) -> None:
    """Returns when the next request may start."""
    clock = asyncio.get_running_loop().time
    async with self._lock:
      # In a loop, since hold() may move the time while we sleep.
      while (now := clock()) < self._next:
        await asyncio.sleep(self._next - now)
      self._next = now + self._interval

  def hold(self, seconds: float) -> None:
    """Lets no request start for some time."""
    until = asyncio.get_running_loop().time() + seconds
    self._next = max(self._next, until)


class Client:
  """Asks one server, at a limited rate, over a few connections.

  Attributes:
    limits: of time and of attempts.
  """

  def __init__(
    self, rate: float, connections: int, limits: Limits, contact: str | None
  ):
    self._pace = _Pace(rate)
    self.limits = limits
    address = f"; {contact}" if contact else ""
    self._session = aiohttp.ClientSession(
      connector=aiohttp.TCPConnector(limit=connections),
      headers={"User-Agent": f"galmet_jax/0.2 (arXiv:1810.12913{address})"},
      trust_env=True,
    )

  async def __aenter__(self) -> Client:
    return self

  async def __aexit__(self, *exc_info) -> None:
    await self._session.close()

  async def get(
    self,
    url: yarl.URL,
    judge: Callable[[http_answers.Answer], _T],
    total: float | None = None,
  ) -> _T:
    """Asks until there is an answer that `judge` accepts.

    Args:
      url: with all parameters.
      judge: turns an answer into what the caller wants, or raises
        TransientError or PermanentError.
      total: seconds for one answer whose first byte may come late; by default
        `limits.total`, and `limits.read` between two pieces.

    Raises:
      TransientError: if the last attempt failed as well.
      PermanentError: if an answer was final.
      FetchError: if asking anything of this server is pointless, such as with
        a bad certificate.
    """

    async def attempt() -> _T:
      await self._pace.wait()
      return judge(await self._get_once(url, total))

    return await self._retry(attempt)

  async def download(
    self, url: yarl.URL, path: pathlib.Path, size: int | None
  ) -> None:
    """Downloads a file, going on where an earlier attempt stopped.

    Args:
      url: of the file.
      path: where it goes, under `path`.part until it is whole.
      size: its size in bytes, None if unknown.

    Raises:
      TransientError: if the last attempt failed as well.
      PermanentError: if the server refuses.
      FetchError: as for `get`.
    """
    part = path.with_name(f"{path.name}.part")

    async def attempt() -> None:
      await self._pace.wait()
      await self._download_once(url, part, size)

    await self._retry(attempt)
    part.replace(path)

  async def _retry(self, attempt: Callable) -> _T:
    jitter = tenacity.wait_random_exponential(
      multiplier=self.limits.backoff, max=self.limits.longest_wait
    )

    def wait(state: tenacity.RetryCallState) -> float:
      error = state.outcome.exception() if state.outcome else None
      asked = (
        error.retry_after
        if isinstance(error, http_answers.TransientError)
        else 0.0
      )
      if asked:
        self._pace.hold(asked)
      seconds = asked + jitter(state)
      level = logging.INFO if seconds > _LONG_WAIT else logging.DEBUG
      _log.log(level, "%s; again in %.0f s", error, seconds)
      return seconds

    def is_worth_it(error: BaseException) -> bool:
      return (
        isinstance(error, http_answers.TransientError)
        and error.retry_after <= self.limits.longest_wait
      )

    return await tenacity.AsyncRetrying(
      retry=tenacity.retry_if_exception(is_worth_it),
      stop=tenacity.stop_after_attempt(self.limits.attempts),
      wait=wait,
      reraise=True,
    )(attempt)

  def _timeout(
    self, total: float | None, read: float | None
  ) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
      total=total or self.limits.total,
      sock_connect=self.limits.connect,
      sock_read=read or self.limits.read,
    )

  async def _get_once(
    self, url: yarl.URL, total: float | None
  ) -> http_answers.Answer:
    timeout = self._timeout(total, total)
    try:
      async with self._session.get(
        url,
        timeout=timeout,
        max_redirects=http_answers.MAX_REDIRECTS,
      ) as response:
        body = bytearray()
        async for chunk in response.content.iter_any():
          body += chunk
          if len(body) > _MAX_BYTES:
            raise http_answers.PermanentError(
              "too_large", f"{url}: more than {_MAX_BYTES} bytes"
            )
        return http_answers.Answer(
          response.status,
          response.reason or "",
          response.content_type.lower(),
          bytes(body),
          http_answers.retry_after(response.headers),
        )
    except (aiohttp.ClientError, TimeoutError) as error:
      raise http_answers.translated(error, url) from error

  async def _download_once(
    self, url: yarl.URL, part: pathlib.Path, size: int | None
  ) -> None:
    start = part.stat().st_size if part.exists() else 0
    if start and start == size:
      return
    if size is None or start > size:
      # Of unknown length, or of another file: from the beginning.
      start = 0
    # A server that compresses on the way would make another size of it.
    headers = {"Accept-Encoding": "identity"}
    if start:
      headers["Range"] = f"bytes={start}-"
    timeout = self._timeout(self.limits.file_total, None)
    try:
      async with self._session.get(
        url,
        timeout=timeout,
        headers=headers,
        max_redirects=http_answers.MAX_REDIRECTS,
      ) as response:
        if response.status not in (200, 206):
          raise http_answers.refusal(
            http_answers.Answer(
              response.status,
              response.reason or "",
              response.content_type,
              b"",
              http_answers.retry_after(response.headers),
            ),
            str(url),
          )
        resumed = response.status == 206
        with (
          part.open("ab" if resumed else "wb") as file,
          tqdm.tqdm(
            total=size,
            initial=start if resumed else 0,
            desc=part.stem,
            unit="B",
            unit_scale=True,
            disable=None,
          ) as bar,
        ):
          async for chunk in response.content.iter_chunked(_CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
            if size is not None and file.tell() > size:
              break
    except (aiohttp.ClientError, TimeoutError) as error:
      raise http_answers.translated(error, url) from error
    found = part.stat().st_size
    if size is not None and found != size:
      if found > size:
        part.unlink()
      raise http_answers.TransientError(
        "cut_short", f"{url}: expected {size} bytes, found {found}"
      )
