"""HTTP responses, and the errors that decide between retry and failure."""

from __future__ import annotations

from collections.abc import Mapping
import datetime
import email.utils
from typing import NamedTuple

import aiohttp
import yarl

from tfds_sdss.errors import DataError

MAX_REDIRECTS = 5
# Reason of a failure to resolve the name of a host.
UNKNOWN_HOST = "unknown_host"
# Reason of a failure to connect to a host.
NO_CONNECTION = "no_connection"
_TRANSIENT_STATUSES = (408, 425, 429, 500, 502, 503, 504)


class FetchError(DataError):
  """The fetch cannot continue; everything fetched so far is kept."""


class ResponseError(FetchError):
  """A single request failed.

  Attributes:
    reason: keyword for tables, such as `outside_footprint`.
    status: HTTP status; None without a response.
    retry_after: wait requested by the server, seconds; 0 if unspecified.
  """

  def __init__(
    self,
    reason: str,
    detail: str,
    status: int | None = None,
    retry_after: float = 0.0,
  ):
    super().__init__(detail)
    self.reason = reason
    self.status = status
    self.retry_after = retry_after


class PermanentError(ResponseError):
  """Repeating the request is pointless."""


class TransientError(ResponseError):
  """Repeating the request may succeed."""


class Response(NamedTuple):
  """A complete response.

  Attributes:
    reason: reason phrase.
    content_type: media type in lower case, without parameters.
    retry_after: wait requested by the server, seconds; 0 if unspecified.
  """

  status: int
  reason: str
  content_type: str
  body: bytes
  retry_after: float


def status_error(response: Response, detail: str) -> ResponseError:
  """Returns the error for a response whose status is not a success.

  The statuses of a busy or broken server, such as 429, are transient; all
  others are permanent.
  """
  status = response.status
  kind = TransientError if status in _TRANSIENT_STATUSES else PermanentError
  phrase = f"HTTP status {status} {response.reason}".rstrip()
  return kind(
    f"http_{status}", f"{phrase}: {detail}", status, response.retry_after
  )


def connection_error(error: Exception, url: yarl.URL) -> FetchError:
  """Returns the FetchError for an error of aiohttp."""
  address = url.with_query(None)  # a query may have a thousand characters
  detail = f"{address}: {error or type(error).__name__}"
  if isinstance(error, aiohttp.ClientSSLError):
    return FetchError(
      f"{detail}. The server's certificate is not valid. Check the clock, the "
      "proxy and --base_url."
    )
  if isinstance(error, aiohttp.TooManyRedirects):
    return FetchError(
      f"{address}: more than {MAX_REDIRECTS} redirections. If the service has "
      "moved, pass its address as --base_url."
    )
  if isinstance(error, aiohttp.InvalidURL):
    return FetchError(f"{address} is not a valid address. Correct --base_url.")
  if isinstance(error, aiohttp.ClientConnectorDNSError):
    return TransientError(
      UNKNOWN_HOST,
      f"{error.host} is unknown: there is no network, or the name is wrong",
    )
  if isinstance(
    error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
  ):
    return TransientError(NO_CONNECTION, detail)
  if isinstance(error, TimeoutError):
    return TransientError("timeout", detail)
  return TransientError("broken_answer", detail)


def retry_after(headers: Mapping[str, str]) -> float:
  """Returns Retry-After in seconds; 0 if it is absent or malformed."""
  text = headers.get("Retry-After", "").strip()
  if text.isdigit():
    return float(text)
  try:
    when = email.utils.parsedate_to_datetime(text)
  except ValueError:
    return 0.0
  if when.tzinfo is None:
    when = when.replace(tzinfo=datetime.UTC)
  now = datetime.datetime.now(datetime.UTC)
  return max(0.0, (when - now).total_seconds())
