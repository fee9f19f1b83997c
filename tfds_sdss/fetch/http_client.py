"""HTTP client with rate limit, timeouts and retries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from collections.abc import Callable
import contextlib
import dataclasses
import functools
import logging
import pathlib
from typing import TypeVar

import aiohttp
import tenacity
import tqdm
import yarl

import tfds_sdss
from tfds_sdss.fetch import addresses
from tfds_sdss.fetch import http_responses
from tfds_sdss.fetch import rate_limit

# Largest response accepted into memory, and largest file of unknown size.
_MAX_BYTES = 1 << 27
# Attempts if a name cannot be resolved: mostly there is no network.
_NAME_ATTEMPTS = 3
_CHUNK = 1 << 16
_LONG_WAIT = 3.0  # seconds; longer waits are logged at INFO

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Limits:
  """Timeouts and retries.

  Attributes:
    connect: timeout for the connection, seconds.
    read: timeout between two pieces of a response, seconds.
    total: timeout for a whole response, such as an image, seconds.
    query_total: the same for a query; SkyServer stops queries after 600 s.
    file_total: the same for one attempt at a large file.
    attempts: number of attempts per request.
    backoff: upper bound of the random wait before the second attempt, seconds.
      The bound doubles with each attempt.
    longest_wait: longest wait accepted from a server, seconds.
    throttle: wait after exceeding SkyServer's query rate, seconds.
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


class Client:
  """Client for one server."""

  def __init__(
    self,
    origin: str,
    rate: float,
    connections: int,
    limits: Limits,
    contact: str | None,
  ):
    """Opens a session.

    Args:
      origin: address of the server; redirections must stay on its host.
      rate: maximum rate, requests per second.
      connections: maximum number of simultaneous requests.
      limits: timeouts and retries.
      contact: e-mail address for the server's operators, printable ASCII.

    Raises:
      FetchError: if a proxy of the environment is not a URL.
    """
    url = yarl.URL(origin)
    addresses.check_proxies(url)
    self.limits = limits
    self._rate_limit = rate_limit.RateLimit(rate)
    agent = f"galmet_jax/{tfds_sdss.__version__} (arXiv:1810.12913"
    agent += f"; {contact})" if contact else ")"
    self._session = aiohttp.ClientSession(
      connector=aiohttp.TCPConnector(
        limit=connections, resolver=addresses.Resolver(url)
      ),
      middlewares=(addresses.Guard(url),),
      headers={"User-Agent": agent},
      trust_env=True,
    )

  async def __aenter__(self) -> Client:
    return self

  async def __aexit__(self, *exc_info) -> None:
    await self._session.close()

  async def get(
    self,
    url: yarl.URL,
    parse: Callable[[http_responses.Response], _T],
    total: float | None = None,
  ) -> _T:
    """Requests a URL, with retries, and returns the parsed response.

    Args:
      url: address with all parameters.
      parse: function from response to result. It raises TransientError to
        retry and PermanentError to give up, because only the parser recognizes
        a failure with status 200.
      total: timeout for the whole response and for each piece of it, seconds;
        by default `limits.total` and `limits.read`.

    Raises:
      TransientError: if the last attempt fails as well.
      PermanentError: if the server refuses the request.
      FetchError: if every request would fail, as with an invalid certificate.
    """

    async def attempt() -> _T:
      async with self._open(url, total or self.limits.total, total) as response:
        body = bytearray()
        async for chunk in response.content.iter_any():
          body += chunk
          if len(body) > _MAX_BYTES:
            raise http_responses.PermanentError(
              "too_large", f"{url}: more than {_MAX_BYTES} bytes"
            )
      return parse(_response(response, bytes(body)))

    return await self._retry(attempt)

  async def download(
    self, url: yarl.URL, path: pathlib.Path, size: int | None
  ) -> None:
    """Downloads a file; resumes an earlier attempt.

    An incomplete file is called `path`.part.

    Args:
      url: address of the file.
      path: destination.
      size: expected size in bytes; None if unknown: then nothing is resumed,
        and at most 128 MiB are accepted.

    Raises:
      TransientError: if the last attempt fails as well.
      PermanentError: if the server refuses the request.
      FetchError: as for `get`.
    """
    part = path.with_name(f"{path.name}.part")
    # tenacity recognizes a partial as a coroutine function, but not a lambda.
    await self._retry(functools.partial(self._download_once, url, part, size))
    part.replace(path)

  async def _download_once(
    self, url: yarl.URL, part: pathlib.Path, size: int | None
  ) -> None:
    start = part.stat().st_size if part.exists() else 0
    if start and start == size:
      return
    if size is None or start > size:
      start = 0  # nothing to resume, or part of another file
    # Compression in transit would change the size.
    headers = {"Accept-Encoding": "identity"}
    if start:
      headers["Range"] = f"bytes={start}-"
    async with self._open(
      url, self.limits.file_total, None, headers
    ) as response:
      if response.status not in (200, 206):
        raise http_responses.status_error(_response(response, b""), str(url))
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
          if file.tell() > (_MAX_BYTES if size is None else size):
            break
    found = part.stat().st_size
    if size is None and found > _MAX_BYTES:
      part.unlink()
      raise http_responses.PermanentError(
        "too_large", f"{url}: more than {_MAX_BYTES} bytes"
      )
    if size is not None and found != size:
      if found > size:
        part.unlink()
      raise http_responses.TransientError(
        "cut_short", f"{url}: expected {size} bytes, found {found}"
      )

  @contextlib.asynccontextmanager
  async def _open(
    self,
    url: yarl.URL,
    total: float,
    read: float | None,
    headers: dict[str, str] | None = None,
  ) -> AsyncIterator[aiohttp.ClientResponse]:
    """Sends one request when the rate limit allows it."""
    await self._rate_limit.wait()
    timeout = aiohttp.ClientTimeout(
      total=total,
      sock_connect=self.limits.connect,
      sock_read=read or self.limits.read,
    )
    try:
      async with self._session.get(
        url,
        timeout=timeout,
        headers=headers,
        max_redirects=http_responses.MAX_REDIRECTS,
      ) as response:
        yield response
    # ValueError: a redirection to something that is no address.
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
      if isinstance(error, http_responses.FetchError):
        raise
      raise http_responses.connection_error(error, url) from error

  async def _retry(self, attempt: Callable) -> _T:
    limits = self.limits

    def is_worth_retrying(error: BaseException) -> bool:
      return (
        isinstance(error, http_responses.TransientError)
        and error.retry_after <= limits.longest_wait
      )

    def pause(state: tenacity.RetryCallState) -> None:
      # Also after the last attempt: the pause applies to all requests.
      if seconds := _error(state).retry_after:
        self._rate_limit.pause(seconds)

    def is_last(state: tenacity.RetryCallState) -> bool:
      attempts = limits.attempts
      if _error(state).reason == http_responses.UNKNOWN_HOST:
        attempts = min(attempts, _NAME_ATTEMPTS)
      return state.attempt_number >= attempts

    jitter = tenacity.wait_random_exponential(
      multiplier=limits.backoff, max=limits.longest_wait
    )
    return await tenacity.AsyncRetrying(
      retry=tenacity.retry_if_exception(is_worth_retrying),
      stop=is_last,
      wait=lambda state: _error(state).retry_after + jitter(state),
      after=pause,
      before_sleep=_log_retry,
      reraise=True,
    )(attempt)


def _error(state: tenacity.RetryCallState) -> http_responses.TransientError:
  assert state.outcome is not None
  error = state.outcome.exception()
  assert isinstance(error, http_responses.TransientError)
  return error


def _log_retry(state: tenacity.RetryCallState) -> None:
  assert state.next_action is not None
  seconds = state.next_action.sleep
  level = logging.INFO if seconds > _LONG_WAIT else logging.DEBUG
  _log.log(level, "%s; retrying in %.0f s", _error(state), seconds)


def _response(
  response: aiohttp.ClientResponse, body: bytes
) -> http_responses.Response:
  return http_responses.Response(
    response.status,
    response.reason or "",
    response.content_type.lower(),
    body,
    http_responses.retry_after(response.headers),
  )
