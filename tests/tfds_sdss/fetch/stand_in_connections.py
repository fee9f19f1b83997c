"""Faults of a connection, whatever is asked for; see stand_in_faults.py."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import email.utils
import http.server
import math
import pathlib
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
import time

import pytest

from tests.tfds_sdss.fetch import stand_in
from tests.tfds_sdss.fetch import stand_in_http

Fault = stand_in_http.Fault
Handler = stand_in_http.Handler


def too_many(seconds: float | None = None, *, as_date: bool = False) -> Fault:
  """429, with Retry-After in seconds, as a date, or without it."""
  return _refusal(429, seconds, as_date)


def unavailable(
  seconds: float | None = None, *, as_date: bool = False
) -> Fault:
  """503, with Retry-After in seconds, as a date, or without it."""
  return _refusal(503, seconds, as_date)


def _refusal(status: int, seconds: float | None, as_date: bool) -> Fault:
  def fault(handler: Handler) -> None:
    headers = {}
    if seconds is not None:
      headers["Retry-After"] = (
        # Whole seconds, rounded up so that the date is never too early.
        email.utils.formatdate(math.ceil(time.time() + seconds), usegmt=True)
        if as_date
        else f"{seconds:.15g}"
      )
    handler.answer(status, "text/html", b"<html>Slow down</html>", headers)

  return fault


def reset(handler: Handler) -> None:
  """The connection is reset before a byte is sent."""
  handler.leave()
  # Closing a socket that does not linger sends RST instead of FIN.
  handler.connection.setsockopt(
    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
  )
  handler.close_connection = True


def stall(seconds: float) -> Fault:
  """Silence before the headers, then the right answer."""

  def fault(handler: Handler) -> None:
    if handler.pause(seconds):
      handler.proceed()
    else:
      handler.close_connection = True

  return fault


def drip(pause: float = 0.05) -> Fault:
  """Headers at once, then byte by byte, each soon enough for a timeout."""

  def fault(handler: Handler) -> None:
    start_right_answer(handler)
    _drip(handler, handler.normal()[1], pause)

  return fault


def drip_headers(pause: float = 0.05) -> Fault:
  """Byte by byte from the status line on."""

  def fault(handler: Handler) -> None:
    content_type, body = handler.normal()
    head = (
      f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n"
      f"Content-Length: {len(body)}\r\n\r\n"
    )
    _drip(handler, head.encode() + body, pause)

  return fault


def short_body(handler: Handler) -> None:
  """The connection ends before Content-Length."""
  start_right_answer(handler)
  body = handler.normal()[1]
  handler.wfile.write(body[: len(body) // 2])
  handler.close_connection = True


def short_body_closed(handler: Handler) -> None:
  """The same without Content-Length, so that it looks like the end."""
  answer = handler.right_answer()
  until_close(
    handler, answer.content_type, answer.body[: len(answer.body) // 2]
  )


def until_close(handler: Handler, content_type: str, body: bytes) -> None:
  """Sends a body that the end of the connection ends."""
  handler.start(200, content_type, {"Connection": "close"})
  handler.wfile.write(body)


def start_right_answer(handler: Handler) -> None:
  """Sends the headers, also of a part of a file, and the length."""
  status, content_type, body, headers, reason, _ = handler.right_answer()
  headers = {**(headers or {}), "Content-Length": str(len(body))}
  handler.start(status, content_type, headers, reason)


def _drip(handler: Handler, data: bytes, pause: float) -> None:
  for i in range(len(data)):
    if not handler.pause(pause):
      handler.close_connection = True
      return
    if i == len(data) - 1:
      handler.leave()
    handler.wfile.write(data[i : i + 1])


def closed_port(scheme: str = "http") -> str:
  """Returns a base URL where nobody listens."""
  with socket.socket() as unused:
    unused.bind(("127.0.0.1", 0))
    return f"{scheme}://127.0.0.1:{unused.getsockname()[1]}"


def redirect(status: int = 302, base_url: str | None = None) -> Fault:
  """301, 302 or 308: to another path here, or to the same path elsewhere."""

  def fault(handler: Handler) -> None:
    base = base_url or handler.service.base_url + stand_in.MOVED
    handler.answer(
      status, "text/html", b"", {"Location": f"{base}{handler.path}"}
    )

  return fault


def redirect_loop(handler: Handler) -> None:
  """A redirection to an address that redirects to itself, for ever."""
  redirect(302, handler.service.base_url + stand_in.LOOP)(handler)


def redirect_to_dead_https(handler: Handler) -> None:
  """A redirection to https, where nobody listens."""
  redirect(301, closed_port("https"))(handler)


@contextlib.contextmanager
def self_signed_tls() -> Iterator[str]:
  """A server of https whose certificate nobody vouches for.

  Yields:
    its base URL. The test is skipped where there is no openssl command.
  """
  if not shutil.which("openssl"):
    pytest.skip("needs the openssl command")
  tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
  with tempfile.TemporaryDirectory() as folder:
    key = pathlib.Path(folder, "key.pem")
    certificate = pathlib.Path(folder, "certificate.pem")
    subprocess.run(
      [
        *("openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-days", "2"),
        *("-pkeyopt", "ec_paramgen_curve:prime256v1"),
        *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
        *("-keyout", str(key), "-out", str(certificate)),
      ],
      check=True,
      capture_output=True,
    )
    tls.load_cert_chain(certificate, key)

  class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
      self.send_error(404)

    def log_message(self, *args):
      del args

  with stand_in_http.Server(Page, tls) as server:
    yield server.base_url
