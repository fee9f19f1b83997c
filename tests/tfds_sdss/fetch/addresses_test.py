import asyncio
import contextlib
import gzip
import socket

import aiohttp
import pytest
import yarl

from tests.tfds_sdss.fetch import fetching
from tests.tfds_sdss.fetch import stand_in
from tests.tfds_sdss.fetch.stand_in_http import Response
from tfds_sdss.errors import DataError
from tfds_sdss.fetch import addresses
from tfds_sdss.fetch import http_client
from tfds_sdss.fetch import http_responses
from tfds_sdss.fetch import request

FRAME = stand_in.frame_of(12)
VICTIM = FRAME.objid[4]
PUBLIC = yarl.URL("https://skyserver.sdss.org")


@pytest.mark.parametrize(
  "text",
  [
    *("", "skyserver.sdss.org", "ftp://host", "file:///etc/passwd", "http://"),
    *("http:///path", "http://host:99999", "http://host:x", "http://[::1"),
    *("http://host\r\nX: y", "http://ho st", "http://host?a=b", "http://h#b"),
    *("javascript:alert(1)", "//host", "gs://bucket"),
  ],
)
def test_invalid_addresses_are_refused(tmp_path, text):
  with pytest.raises(DataError, match="--base_url: expected an address"):
    request.Request("dr17", tmp_path, base_url=text)


@pytest.mark.parametrize(
  "text", ["http://me:secret@host", "https://me@host/path", "x://:secret@h"]
)
def test_passwords_are_refused_and_not_shown(tmp_path, text):
  with pytest.raises(DataError, match="--base_url") as caught:
    request.Request("dr17", tmp_path, base_url=text)
  assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["a@b.org\nX: y", "a\r", "\0", "é@b.org"])
def test_contacts_that_break_a_header_are_refused(tmp_path, text):
  with pytest.raises(DataError, match="--contact: expected"):
    request.Request("dr17", tmp_path, contact=text)


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY"])
@pytest.mark.parametrize(
  "text", ["proxyhost:3128", "10.0.0.1:3128", "proxyhost", "socks5://host:1"]
)
def test_variable_of_a_bad_proxy_is_named(tmp_path, monkeypatch, name, text):
  monkeypatch.setenv("no_proxy", "")
  monkeypatch.setenv(name, text)
  with pytest.raises(http_responses.FetchError, match=f"{name} is '{text}'"):
    addresses.check_proxies(PUBLIC)
  monkeypatch.setenv("no_proxy", "skyserver.sdss.org")
  addresses.check_proxies(PUBLIC)


def test_password_of_a_bad_proxy_is_not_shown(monkeypatch):
  monkeypatch.setenv("no_proxy", "")
  monkeypatch.setenv("http_proxy", "me:secret@host:3128")
  with pytest.raises(http_responses.FetchError) as caught:
    addresses.check_proxies(PUBLIC)
  assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
  ("origin", "url", "is_allowed"),
  [
    ("https://zenodo.org", "https://zenodo.org/a?b=c", True),
    ("http://zenodo.org", "https://zenodo.org", True),
    ("http://zenodo.org", "http://zenodo.org/b", True),
    ("https://github.com", "https://codeload.github.com/x", True),
    ("https://zenodo.org", "http://zenodo.org", False),
    ("https://zenodo.org", "https://zenodo.org.example.org", False),
    ("https://zenodo.org", "https://zenodo.org@example.org", False),
    ("http://zenodo.org", "http://zenodo.org:22", False),
    ("http://zenodo.org", "http://codeload.github.com", False),
    ("https://zenodo.org", "https://169.254.169.254/latest", False),
    ("https://zenodo.org", "https://localhost", False),
    ("https://zenodo.org", "http://127.0.0.1", False),
    ("https://zenodo.org", "http://[::1]/", False),
    ("https://zenodo.org", "https://10.0.0.1", False),
  ],
)
def test_redirections_stay_on_known_hosts(origin, url, is_allowed):
  sent = []

  async def handler(request):
    sent.append(request)

  class Request:
    pass

  asked = Request()
  asked.url = yarl.URL(url)
  guard = addresses.Guard(yarl.URL(origin))
  if is_allowed:
    asyncio.run(guard(asked, handler))
  else:
    with pytest.raises(http_responses.FetchError, match="expected the same"):
      asyncio.run(guard(asked, handler))
  assert len(sent) == is_allowed


@pytest.mark.parametrize("kind", ["query", "image"])
@pytest.mark.parametrize(
  "target",
  [
    *("http://169.254.169.254/", "http://localhost:1/", "//example.org/x"),
    *("http://127.0.0.1:1/", "file:///etc/passwd", "http://[::1", "gopher:x"),
  ],
)
def test_redirections_to_other_places_are_refused(
  tmp_path, server, kind, target
):
  def fault(request, response):
    return Response(302, headers={"Location": target})

  if kind == "query":
    server.sql_faults += [fault] * 3
    with pytest.raises(http_responses.FetchError):
      fetching.run(tmp_path, server)
    return
  server.image_faults[VICTIM] = [fault] * 3
  # Something that is no address is a fault of this image alone.
  if target.startswith(("http:", "//")) and "[" not in target:
    with pytest.raises(http_responses.FetchError, match="redirects to"):
      fetching.run(tmp_path, server)
  else:
    with contextlib.suppress(http_responses.FetchError):
      assert fetching.run(tmp_path, server).images == 11


def resolve(monkeypatch, origin, *answers):
  """Resolves one name after the other to the given addresses."""
  left = list(answers)

  async def answer(self, host, port=0, family=socket.AF_INET):
    return [{"hostname": host, "host": address} for address in left.pop(0)]

  monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", answer)

  async def run():
    resolver = addresses.Resolver(yarl.URL(origin))
    for _ in answers:
      await resolver.resolve("zenodo.org")

  asyncio.run(run())


@pytest.mark.parametrize(
  "private",
  [
    *("127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "0.0.0.0"),
    *("100.64.0.1", "::1", "fe80::1%eth0", "fd00::1", "::ffff:10.0.0.1"),
  ],
)
def test_public_services_do_not_lead_to_private_networks(monkeypatch, private):
  with pytest.raises(http_responses.FetchError, match="private address"):
    resolve(
      monkeypatch, PUBLIC, ["8.8.8.8", "2606:4700::1"], ["8.8.8.8", private]
    )
  with pytest.raises(http_responses.FetchError, match="private address"):
    resolve(monkeypatch, "http://8.8.8.8", [private])
  # A mirror or a proxy in the own network.
  resolve(monkeypatch, PUBLIC, [private], [private], ["8.8.8.8"])
  resolve(monkeypatch, "http://127.0.0.1", [private])


def test_unknown_name_is_not_repeated_for_minutes(tmp_path, monkeypatch):
  asked = []

  async def fail(self, host, port=0, family=socket.AF_INET):
    asked.append(host)
    raise socket.gaierror(socket.EAI_AGAIN, "no name server")

  monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", fail)
  limits = http_client.Limits(attempts=50, backoff=0.001)
  asked_for = request.Request(
    "demo500", tmp_path, rate=1000, limits=limits, base_url="http://no.invalid"
  )
  with pytest.raises(
    http_responses.FetchError, match=r"no network.*--staging=FOLDER"
  ):
    fetching.fetch.fetch(asked_for)
  assert asked == ["no.invalid"] * 3


def download(tmp_path, server, size=None):
  async def run():
    async with http_client.Client(
      server.base_url, 100.0, 1, fetching.LIMITS, None
    ) as client:
      target = tmp_path / "file"
      await client.download(
        yarl.URL(server.base_url + stand_in.CODELOAD), target, size
      )
      return target.read_bytes()

  return asyncio.run(run())


@pytest.mark.parametrize("compressed", [False, True])
def test_file_of_unknown_size_is_limited(tmp_path, monkeypatch, compressed):
  monkeypatch.setattr(http_client, "_MAX_BYTES", 100_000)
  for number, is_accepted in ((100_000, True), (5_000_000, False)):
    data = b"\0" * number
    with stand_in.StandIn(FRAME, stand_in.jpeg_of, archive=data) as server:
      if compressed:
        server.file_faults[stand_in.CODELOAD] = [compress] * 3
      if is_accepted:
        assert download(tmp_path, server) == data
      else:
        with pytest.raises(
          http_responses.PermanentError, match="more than"
        ) as error:
          download(tmp_path, server)
        assert error.value.reason == "too_large"
        assert len(server.requests) == 1
        assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_decompressed_answers_are_limited(tmp_path, server, monkeypatch):
  monkeypatch.setattr(http_client, "_MAX_BYTES", 100_000)
  bomb = b"\0" * 5_000_000
  server.sql_faults += [
    lambda request, response: compress(request, response._replace(body=bomb))
  ]
  with pytest.raises(http_responses.FetchError, match="more than 100000 bytes"):
    fetching.run(tmp_path, server)


def compress(request, response):
  return response._replace(
    body=gzip.compress(response.body),
    headers={"Content-Encoding": "gzip"},
  )
