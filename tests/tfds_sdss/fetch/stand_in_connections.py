"""Faults of a connection, for any request; see stand_in_faults.py."""

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
import subprocess
import tempfile
import threading
import time

import pytest

from tests.tfds_sdss.fetch import stand_in
from tests.tfds_sdss.fetch.stand_in_http import Fault
from tests.tfds_sdss.fetch.stand_in_http import Response


def too_many(seconds: float | None = None, *, as_date: bool = False) -> Fault:
  """429, with Retry-After in seconds, as a date, or without it."""
  return _refusal(429, seconds, as_date)


def unavailable(
  seconds: float | None = None, *, as_date: bool = False
) -> Fault:
  """503, with Retry-After in seconds, as a date, or without it."""
  return _refusal(503, seconds, as_date)


def _refusal(status: int, seconds: float | None, as_date: bool) -> Fault:
  def fault(request, response):
    headers = {}
    if as_date:
      # Whole seconds, rounded up so that the date is never too early.
      date = email.utils.formatdate(math.ceil(time.time() + seconds))
      headers["Retry-After"] = date.replace("-0000", "GMT")
    elif seconds is not None:
      headers["Retry-After"] = str(seconds)
    return Response(status, "text/html", b"<html>Slow down</html>", headers)

  return fault


def reset(request, response):
  """The connection is reset before the first byte."""
  return response._replace(reset=True)


def stall(request, response):
  """The server sends nothing for half a minute."""
  return response._replace(stall=30)


def drip(request, response):
  """The body arrives byte by byte, too fast for a read timeout."""
  return response._replace(drip="body")


def drip_headers(request, response):
  """The whole response arrives byte by byte."""
  return response._replace(drip="all")


def short_body(request, response):
  """The connection closes before Content-Length is reached."""
  return response._replace(sent=0.5)


def short_body_closed(request, response):
  """The connection closes early, and there is no Content-Length."""
  return response._replace(framing="close", sent=0.5)


def redirect(status: int = 302, base_url: str | None = None) -> Fault:
  """A redirection to another path of this server or to another server."""
  return lambda request, response: Response(
    status, headers={"Location": (base_url or stand_in.MOVED) + request.target}
  )


def redirect_loop(request, response):
  """A redirection to an address that redirects to itself."""
  return Response(302, headers={"Location": stand_in.LOOP + request.target})


def closed_port(scheme: str = "http") -> str:
  """Returns a base URL where no server listens."""
  with socket.socket() as unused:
    unused.bind(("127.0.0.1", 0))
    return f"{scheme}://127.0.0.1:{unused.getsockname()[1]}"


@contextlib.contextmanager
def self_signed_tls() -> Iterator[str]:
  """An HTTPS server with a self-signed certificate; yields its base URL.

  The test is skipped if there is no openssl command.
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
  with http.server.HTTPServer(
    ("127.0.0.1", 0), http.server.BaseHTTPRequestHandler
  ) as server:
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
