"""HTTP of the stand-in server: requests, responses and how they are sent."""

from __future__ import annotations

from collections.abc import Callable
import http
import http.server
import socket
import struct
import time
from typing import Any
from typing import NamedTuple
import urllib.parse

_DRIP_SECONDS = 0.05  # between two bytes


class Request(NamedTuple):
  """A request.

  Attributes:
    time: arrival, time.monotonic().
    target: path and query, as sent.
    path: path alone.
    query: decoded parameters.
    headers: values by name, capitalized as in User-Agent.
  """

  time: float
  target: str
  path: str
  query: dict[str, str]
  headers: dict[str, str]


class Response(NamedTuple):
  """A response and how it is sent.

  Attributes:
    status: HTTP status.
    content_type: value of Content-Type.
    body: body before framing.
    headers: further headers.
    reason: reason phrase; None for the standard one.
    framing: end of the body: `length`, `chunked` or `close`.
    sent: fraction of the framed body to send before the connection closes.
    stall: seconds of silence before the status line.
    drip: part to send byte by byte: empty, `body` or `all`.
    reset: whether to reset the connection instead of answering.
  """

  status: int = 200
  content_type: str = "text/html"
  body: bytes = b""
  headers: dict[str, str] = {}  # noqa: RUF012
  reason: str | None = None
  framing: str = "length"
  sent: float = 1.0
  stall: float = 0.0
  drip: str = ""
  reset: bool = False


# Takes the request and the correct response; returns the response to send.
Fault = Callable[[Request, Response], Response]


class Handler(http.server.BaseHTTPRequestHandler):
  """Sends the responses of a StandIn."""

  protocol_version = "HTTP/1.1"
  disable_nagle_algorithm = True
  server: Any

  def do_GET(self) -> None:
    url = urllib.parse.urlsplit(self.path)
    query = dict(urllib.parse.parse_qsl(url.query))
    headers = {name.title(): value for name, value in self.headers.items()}
    self._send(
      self.server.reply(
        Request(time.monotonic(), self.path, url.path, query, headers)
      )
    )

  def _send(self, response: Response) -> None:
    if response.reset:
      # Closing a socket without linger sends RST instead of FIN.
      self.connection.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
      )
    if response.reset or self.server.closing.wait(response.stall):
      self.close_connection = True
      return
    body = response.body
    headers = {"Content-Type": response.content_type, **response.headers}
    if response.framing == "length":
      headers["Content-Length"] = str(len(body))
    elif response.framing == "chunked":
      headers["Transfer-Encoding"] = "chunked"
      body = b"%X\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    else:
      headers["Connection"] = "close"
    reason = response.reason or http.HTTPStatus(response.status).phrase
    lines = [f"HTTP/1.1 {response.status} {reason}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join([*lines, "\r\n"]).encode()
    if response.sent < 1 or response.framing == "close":
      self.close_connection = True
      body = body[: int(len(body) * response.sent)]
    data = head + body
    at_once = {"": len(data), "body": len(head), "all": 0}[response.drip]
    self.wfile.write(data[:at_once])
    for byte in data[at_once:]:
      if self.server.closing.wait(_DRIP_SECONDS):
        self.close_connection = True
        return
      self.wfile.write(bytes([byte]))

  def log_message(self, *args) -> None:
    del args
