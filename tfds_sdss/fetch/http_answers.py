"""Classification of HTTP responses: retry, give up, or abort."""

from __future__ import annotations

from collections.abc import Mapping
import datetime
import email.utils
from typing import NamedTuple

import aiohttp
import yarl

from tfds_sdss.errors import DataError

MAX_REDIRECTS = 5
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)


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


class Answer(NamedTuple):
  """A complete response.

  Attributes:
    status: HTTP status.
    reason: reason phrase.
    content_type: media type in lower case, without parameters.
    body: body as bytes.
    retry_after: wait requested by the server, seconds; 0 if unspecified.
  """

  status: int
  reason: str
  content_type: str
  body: bytes
  retry_after: float


def refusal(answer: Answer, detail: str) -> ResponseError:
  """Returns the error for an answer whose status is not a success.

  The statuses of a busy or broken server are transient, all others permanent.
  """
  reason = f"http_{answer.status}"
  phrase = f"HTTP status {answer.status} {answer.reason}".rstrip()
  kind = TransientError if answer.status in _TRANSIENT else PermanentError
  return kind(reason, f"{phrase}: {detail}", answer.status, answer.retry_after)


def translated(error: Exception, url: yarl.URL) -> FetchError:
  """Returns our error for an error of aiohttp."""
  where = url.with_query(None)  # a query may have a thousand characters
  detail = f"{where}: {error or type(error).__name__}"
  if isinstance(error, aiohttp.ClientSSLError):
    return FetchError(
      f"{detail}. The server's certificate is not valid. Check the clock, the "
      "proxy and --base_url."
    )
  if isinstance(error, aiohttp.TooManyRedirects):
    return FetchError(
      f"{where}: more than {MAX_REDIRECTS} redirections. If the service has "
      "moved, pass its address as --base_url."
    )
  if isinstance(error, aiohttp.InvalidURL):
    return FetchError(f"{where} is not a valid address. Correct --base_url.")
  if isinstance(error, TimeoutError):
    return TransientError("timeout", detail)
  if isinstance(error, aiohttp.ClientConnectorError):
    return TransientError("no_connection", detail)
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
