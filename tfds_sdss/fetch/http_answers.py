"""What servers answer, and what becomes of it when they misbehave."""

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
  """Fetching cannot go on; what has been fetched is kept."""


class PermanentError(FetchError):
  """A server's answer is final: to ask again is pointless.

  Attributes:
    reason: a word for tables, such as `outside_footprint`.
    status: HTTP status; None if there was no answer.
  """

  def __init__(self, reason: str, detail: str, status: int | None = None):
    super().__init__(detail)
    self.reason = reason
    self.status = status


class TransientError(FetchError):
  """It may work later.

  Attributes:
    reason: a word for tables, such as `timeout`.
    status: HTTP status; None if there was no answer.
    retry_after: seconds that the server wants us to wait, 0 if it didn't say.
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


class Answer(NamedTuple):
  """A whole answer.

  Attributes:
    status: HTTP status.
    reason: its phrase.
    content_type: without parameters, in lower case.
    body: every byte.
    retry_after: seconds, 0 if the server didn't say.
  """

  status: int
  reason: str
  content_type: str
  body: bytes
  retry_after: float


def refusal(answer: Answer, detail: str) -> FetchError:
  """Returns the error that an answer's status stands for.

  The statuses that servers send while they are busy or broken are transient,
  all others permanent.

  Args:
    answer: with another status than 200.
    detail: what was asked for, or what the server says.
  """
  reason = f"http_{answer.status}"
  detail = (
    f"HTTP status {answer.status} {answer.reason}".rstrip() + f": {detail}"
  )
  if answer.status in _TRANSIENT:
    return TransientError(reason, detail, answer.status, answer.retry_after)
  return PermanentError(reason, detail, answer.status)


def translated(error: Exception, url: yarl.URL) -> FetchError:
  """Returns what an error of the HTTP library means for us."""
  # A query may have a thousand characters.
  where = url.with_query(None)
  detail = f"{where}: {error or type(error).__name__}"
  if isinstance(error, aiohttp.ClientSSLError):
    return FetchError(
      f"{detail}. The server's certificate is not valid: check the clock, a "
      "proxy, or --base_url."
    )
  if isinstance(error, aiohttp.TooManyRedirects):
    return FetchError(
      f"{where}: more than {MAX_REDIRECTS} redirections. The service may have "
      "moved: give its address as --base_url."
    )
  if isinstance(error, aiohttp.InvalidURL):
    return FetchError(f"{where} is not a valid address. Correct --base_url.")
  if isinstance(error, TimeoutError):
    return TransientError("timeout", detail)
  if isinstance(error, aiohttp.ClientConnectorError):
    return TransientError("no_connection", detail)
  return TransientError("broken_answer", detail)


def retry_after(headers: Mapping[str, str]) -> float:
  """Reads Retry-After, in seconds or as a date; 0 if absent or senseless."""
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
