"""The HTTP of the stand-in server: connections, requests and answers."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import http.server
import socket
import ssl
import sys
import threading
import time
from typing import Any
from typing import NamedTuple
from typing import Protocol
import urllib.parse

_CHUNK = 1 << 14
_LONGEST_QUERY = 2048  # IIS refuses longer ones


class Request(NamedTuple):
  """A request as it came.

  Attributes:
    time: of its arrival, time.monotonic().
    method: GET or POST.
    path: without the query.
    query: parameters of the URL, decoded.
    headers: by name, with capitals as in User-Agent.
  """

  time: float
  method: str
  path: str
  query: dict[str, str]
  headers: dict[str, str]


class Answer(NamedTuple):
  """A whole answer, in the order of Handler.answer's arguments."""

  status: int
  content_type: str
  body: bytes
  headers: dict[str, str] | None = None
  reason: str | None = None
  chunked: bool = False


class Service(Protocol):
  """What a Handler asks for its answers."""

  delay: float
  base_url: str

  def arrived(self, asked: Request) -> Fault | None: ...

  def answer_to(self, asked: Request) -> Answer: ...

  def left(self) -> None: ...


def not_found() -> Answer:
  """Returns IIS's page for what does not exist."""
  return Answer(
    404,
    "text/html",
    b"<!DOCTYPE html>\n<html><head><title>404 - File or directory not found."
    b"</title></head><body><h1>Server Error</h1></body></html>\n",
  )


class Server(http.server.ThreadingHTTPServer):
  """A server that stops at once, with all its threads and connections.

  Attributes:
    base_url: its address.
    closing: set when it stops; who waits, waits for this too.
    errors: what its own code raised.
  """

  daemon_threads = False  # so that server_close waits for them
  request_queue_size = 64

  def __init__(
    self,
    handler: type[http.server.BaseHTTPRequestHandler],
    tls: ssl.SSLContext | None = None,
  ):
    super().__init__(("127.0.0.1", 0), handler)
    scheme = "https" if tls else "http"
    self.base_url = f"{scheme}://127.0.0.1:{self.server_port}"
    self.closing = threading.Event()
    self.errors: list[BaseException] = []
    self._tls = tls
    self._connections: set[socket.socket] = set()
    self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))

  def __enter__(self) -> Server:
    self._thread.start()
    return self

  def __exit__(self, *exc_info) -> None:
    self.closing.set()
    self.shutdown()
    self._thread.join()
    for connection in self._connections.copy():
      with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    self.server_close()

  def get_request(self):
    connection, address = super().get_request()
    if self._tls:
      # The handshake comes with the first byte read, in a thread of its own.
      connection = self._tls.wrap_socket(
        connection, server_side=True, do_handshake_on_connect=False
      )
    self._connections.add(connection)
    return connection, address

  def shutdown_request(self, request) -> None:
    # Without the parent's SHUT_WR, which would turn a reset into a clean end.
    self._connections.discard(request)
    request.close()

  def handle_error(self, request, client_address) -> None:
    error = sys.exception()
    if not isinstance(error, OSError):  # that is: a client that went away
      self.errors.append(error)


class Handler(http.server.BaseHTTPRequestHandler):
  """Serves one connection; what a fault is called with.

  Attributes:
    service: what answers.
    asked: the present request.
  """

  protocol_version = "HTTP/1.1"
  # Headers and body are two packets; the second must not wait for an ACK.
  disable_nagle_algorithm = True
  server: Any
  service: Service
  asked: Request

  def do_GET(self) -> None:
    self.rfile.read(int(self.headers.get("Content-Length", 0)))
    url = urllib.parse.urlsplit(self.path)
    self.asked = Request(
      time.monotonic(),
      self.command,
      url.path,
      dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True)),
      {name.title(): value for name, value in self.headers.items()},
    )
    self._is_too_long = len(url.query) > _LONGEST_QUERY
    fault = self.service.arrived(self.asked)
    self._is_in_flight = True
    try:
      if not self.pause(self.service.delay):
        self.close_connection = True
      elif fault is None:
        self.proceed()
      else:
        fault(self)
    finally:
      self.leave()

  do_POST = do_GET  # noqa: N815

  def normal(self) -> tuple[str, bytes]:
    """Returns the content type and the body of the right answer."""
    answer = self.right_answer()
    return answer.content_type, answer.body

  def proceed(self) -> None:
    """Sends the right answer."""
    self.answer(*self.right_answer())

  def right_answer(self) -> Answer:
    """Returns the answer without a fault, with its status and headers."""
    if self._is_too_long:
      return not_found()
    return self.service.answer_to(self.asked)

  def answer(
    self,
    status: int,
    content_type: str,
    body: bytes,
    headers: dict[str, str] | None = None,
    reason: str | None = None,
    chunked: bool = False,
  ) -> None:
    """Sends a whole answer."""
    length = (
      {"Transfer-Encoding": "chunked"}
      if chunked
      else {"Content-Length": str(len(body))}
    )
    self.start(status, content_type, {**length, **(headers or {})}, reason)
    if chunked:
      for i in range(0, len(body), _CHUNK):
        self.write_chunk(body[i : i + _CHUNK])
      body = b"0\r\n\r\n"
    # Before the last bytes: the client may ask again as soon as it has them.
    self.leave()
    self.wfile.write(body)

  def start(
    self,
    status: int,
    content_type: str,
    headers: dict[str, str],
    reason: str | None = None,
  ) -> None:
    """Sends the status and the headers; Connection: close is obeyed."""
    self.send_response(status, reason)
    self.send_header("Content-Type", content_type)
    for name, value in headers.items():
      self.send_header(name, value)
    self.end_headers()

  def write_chunk(self, data: bytes) -> None:
    self.wfile.write(b"%X\r\n%b\r\n" % (len(data), data))

  def pause(self, seconds: float) -> bool:
    """Waits; False if the server closes or the client leaves meanwhile."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
      if self.server.closing.wait(min(left, 0.02)) or self._client_left():
        return False
    return True

  def leave(self) -> None:
    """Counts the request as answered."""
    if self._is_in_flight:
      self._is_in_flight = False
      self.service.left()

  def _client_left(self) -> bool:
    try:
      flags = socket.MSG_PEEK | socket.MSG_DONTWAIT
      return not self.connection.recv(1, flags)
    except BlockingIOError:
      return False
    except OSError:
      return True

  def log_message(self, *args) -> None:
    del args


Fault = Callable[[Handler], None]
