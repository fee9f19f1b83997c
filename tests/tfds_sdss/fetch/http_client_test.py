"""Downloads, retries and headers of the client."""

import asyncio
import http
import logging
import random
import threading
import time
import types

import aiohttp
import pytest
import yarl

from tests.tfds_sdss.fetch import fetching
from tests.tfds_sdss.fetch import stand_in
from tests.tfds_sdss.fetch import stand_in_connections as connections
from tests.tfds_sdss.fetch.stand_in_http import Response
import tfds_sdss
from tfds_sdss.fetch import addresses
from tfds_sdss.fetch import http_client
from tfds_sdss.fetch import http_responses

DATA = bytes(range(256)) * 40
SIZE = len(DATA)


@pytest.fixture
def server():
  frame = stand_in.frame_of(1)
  with stand_in.StandIn(frame, stand_in.jpeg_of, archive=DATA) as running:
    yield running


def download(folder, server, size=SIZE, contact=None):
  async def run():
    async with http_client.Client(
      server.base_url, 1000.0, 1, fetching.LIMITS, contact
    ) as client:
      url = yarl.URL(server.base_url + stand_in.CODELOAD)
      await client.download(url, folder / "file", size)

  asyncio.run(run())


def parse(response):
  if response.status != 200:
    raise http_responses.status_error(response, "")


def get(base_url, limits=fetching.LIMITS, number=1, **kwargs):
  """Requests a file `number` times, over two connections."""

  async def run():
    async with http_client.Client(base_url, 1000.0, 2, limits, None) as client:
      url = yarl.URL(base_url + stand_in.CODELOAD)
      await asyncio.gather(
        *(client.get(url, parse, **kwargs) for _ in range(number))
      )

  asyncio.run(run())


@pytest.mark.parametrize(
  ("part", "size", "requested"),
  [
    (b"", SIZE, None),
    (DATA[:100], SIZE, "bytes=100-"),
    # Without a size the part may be of another file, as if it is too long.
    (DATA[:100], None, None),
    (DATA + b"more", SIZE, None),
  ],
)
def test_download_resumes_what_fits(tmp_path, server, part, size, requested):
  (tmp_path / "file.part").write_bytes(part)
  download(tmp_path, server, size)
  assert (tmp_path / "file").read_bytes() == DATA
  assert not (tmp_path / "file.part").exists()
  (sent,) = server.requests
  assert sent.headers.get("Range") == requested
  # Compression would change the number of bytes.
  assert sent.headers["Accept-Encoding"] == "identity"


def test_complete_part_is_not_requested(tmp_path, server):
  (tmp_path / "file.part").write_bytes(DATA)
  download(tmp_path, server)
  assert (tmp_path / "file").read_bytes() == DATA
  assert server.requests == []


def test_large_answer_is_whole_or_refused(server, monkeypatch):
  data = bytes(range(256)) * 4_000

  async def run():
    async with http_client.Client(
      server.base_url, 1000.0, 1, fetching.LIMITS, None
    ) as client:
      url = yarl.URL(server.base_url + stand_in.CODELOAD)
      return await client.get(url, lambda response: response.body)

  server.file_faults[stand_in.CODELOAD] = [
    lambda request, response: response._replace(body=data)
  ]
  assert asyncio.run(run()) == data
  monkeypatch.setattr(http_client, "_MAX_BYTES", len(DATA))
  assert asyncio.run(run()) == DATA
  monkeypatch.setattr(http_client, "_MAX_BYTES", len(DATA) - 1)
  with pytest.raises(http_responses.PermanentError) as error:
    asyncio.run(run())
  assert error.value.reason == "too_large"
  assert str(error.value).endswith(f"more than {len(DATA) - 1} bytes")


def test_file_that_is_too_long_is_not_kept(tmp_path, server):
  size = SIZE - 1
  with pytest.raises(
    http_responses.TransientError, match=f"expected {size} bytes, found"
  ) as error:
    download(tmp_path, server, size)
  assert error.value.reason == "cut_short"
  assert len(server.requests) == fetching.LIMITS.attempts
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("status", "attempts"), [(404, 1), (503, 3)])
def test_refused_download(tmp_path, server, status, attempts):
  def refuse(request, response):
    return Response(status)

  server.file_faults[stand_in.CODELOAD] = [refuse] * 9
  with pytest.raises(http_responses.ResponseError) as error:
    download(tmp_path, server)
  assert error.value.reason == f"http_{status}"
  assert error.value.status == status
  phrase = http.HTTPStatus(status).phrase
  url = server.base_url + stand_in.CODELOAD
  assert str(error.value) == f"HTTP status {status} {phrase}: {url}"
  assert len(server.requests) == attempts
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("contact", [None, "a@example.org"])
def test_agent_names_the_project_and_the_contact(tmp_path, server, contact):
  download(tmp_path, server, contact=contact)
  agent = server.requests[0].headers["User-Agent"]
  more = f"; {contact}" if contact else ""
  version = tfds_sdss.__version__
  assert agent == f"galmet_jax/{version} (arXiv:1810.12913{more})"


def test_server_decides_how_long_a_retry_waits(tmp_path, server):
  server.file_faults[stand_in.CODELOAD] = [connections.unavailable(1)]
  download(tmp_path, server)
  first, second = (sent.time for sent in server.requests)
  assert second - first >= 0.99


@pytest.mark.parametrize(
  ("seconds", "level"), [(3.0, logging.DEBUG), (3.1, logging.INFO)]
)
def test_only_long_waits_are_shown(caplog, seconds, level):
  error = http_responses.TransientError("timeout", "no answer")
  state = types.SimpleNamespace(
    next_action=types.SimpleNamespace(sleep=seconds),
    outcome=types.SimpleNamespace(exception=lambda: error),
  )
  with caplog.at_level(logging.DEBUG):
    http_client._log_retry(state)
  (record,) = caplog.records
  assert record.levelno == level
  assert record.getMessage() == "no answer; retrying in 3 s"


def test_waits_double_up_to_the_longest(server, monkeypatch):
  waits = []
  monkeypatch.setattr(random, "uniform", lambda low, high: high)
  monkeypatch.setattr(
    http_client, "_log_retry", lambda state: waits.append(state.next_action)
  )
  limits = http_client.Limits(attempts=5, backoff=0.02, longest_wait=0.05)
  server.file_faults[stand_in.CODELOAD] = [connections.unavailable()] * 9
  with pytest.raises(http_responses.TransientError):
    get(server.base_url, limits=limits)
  assert [wait.sleep for wait in waits] == [0.02, 0.04, 0.05, 0.05]


def test_connections_are_limited(server):
  lock, active, most = threading.Lock(), 0, 0

  def count(request, response):
    nonlocal active, most
    with lock:
      active += 1
      most = max(most, active)
    time.sleep(0.05)
    with lock:
      active -= 1
    return response

  server.file_faults[stand_in.CODELOAD] = [count] * 6
  get(server.base_url, number=6)
  assert most == 2


def test_names_are_checked(monkeypatch):
  async def refuse(*args, **kwargs):
    raise http_responses.FetchError("a private address")

  monkeypatch.setattr(addresses.Resolver, "resolve", refuse)
  with pytest.raises(http_responses.FetchError, match="a private address"):
    get("http://service.invalid")


def test_proxy_of_the_environment_is_used(server, monkeypatch):
  monkeypatch.setenv("http_proxy", server.base_url)
  monkeypatch.setenv("no_proxy", "")
  get("http://service.invalid")
  (sent,) = server.requests
  assert sent.headers["Host"] == "service.invalid"


def test_requests_have_their_timeouts(tmp_path, server, monkeypatch):
  found, real = [], aiohttp.ClientTimeout

  def record(total, sock_connect, sock_read):
    found.append((total, sock_connect, sock_read))
    return real(total=total, sock_connect=sock_connect, sock_read=sock_read)

  monkeypatch.setattr(aiohttp, "ClientTimeout", record)
  get(server.base_url)
  get(server.base_url, total=660.0)
  download(tmp_path, server)
  limits = fetching.LIMITS
  assert found == [
    (limits.total, limits.connect, limits.read),
    (660.0, limits.connect, 660.0),
    (limits.file_total, limits.connect, limits.read),
  ]


@pytest.mark.parametrize(
  ("error", "reason"),
  [
    (aiohttp.ConnectionTimeoutError(), http_responses.NO_CONNECTION),
    (aiohttp.SocketTimeoutError(), "timeout"),
    (TimeoutError(), "timeout"),
  ],
)
def test_only_timeouts_of_connections_are_no_connection(error, reason):
  url = yarl.URL("https://example.org")
  assert http_responses.connection_error(error, url).reason == reason
