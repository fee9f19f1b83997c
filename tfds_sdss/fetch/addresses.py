"""Addresses: of the services, their redirections, and proxies."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import urllib.request

import aiohttp
import yarl

from tfds_sdss.errors import DataError
from tfds_sdss.fetch import http_responses

# Other hosts that the services' redirections may name, over HTTPS only.
_DOWNLOAD_HOSTS = (
  "zenodo.org",
  "github.com",
  "codeload.github.com",
  "objects.githubusercontent.com",
)


def parse_base_url(text: str) -> yarl.URL:
  """Returns the address of a service.

  Raises:
    DataError: unless it is HTTP or HTTPS with a host, without a user, a query
      or a fragment. The message does not contain passwords.
  """
  try:
    url = yarl.URL(text)
    is_plain = url.scheme in ("http", "https") and bool(url.host and url.port)
  except ValueError:
    is_plain = False
  if not (is_plain and text.isprintable() and " " not in text):
    shown = repr(text) if "@" not in text else "one with @"
    raise DataError(
      f"--base_url: expected an address such as https://HOST, found {shown}"
    )
  if url.user is not None or url.password is not None:
    raise DataError(
      f"--base_url: expected an address without a user or a password, found "
      f"them for {url.host}. Put them into ~/.netrc."
    )
  if url.raw_query_string or url.raw_fragment:
    raise DataError(
      f"--base_url: expected an address without ? and #, found {text!r}"
    )
  return url


def check_proxies(origin: yarl.URL) -> None:
  """Raises FetchError if a variable does not name a proxy as a URL."""
  if urllib.request.proxy_bypass(origin.host or ""):
    return
  for name, text in os.environ.items():
    if name.lower() not in ("http_proxy", "https_proxy") or not text:
      continue
    try:
      url = yarl.URL(text)
      is_proxy = url.scheme in ("http", "https") and bool(url.host)
    except ValueError:
      is_proxy = False
    if not is_proxy:
      shown = repr(text) if "@" not in text else "an address with @"
      raise http_responses.FetchError(
        f"the environment variable {name} is {shown}; expected a proxy such "
        f"as http://HOST:PORT. Correct it, or: unset {name}"
      )


class Guard:
  """Middleware of aiohttp that refuses redirections to other hosts."""

  def __init__(self, origin: yarl.URL):
    """Allows the host of a service and the hosts of downloads."""
    self._origin = origin

  async def __call__(
    self,
    request: aiohttp.ClientRequest,
    handler: aiohttp.ClientHandlerType,
  ) -> aiohttp.ClientResponse:
    """Sends a request if its address is allowed.

    Raises:
      FetchError: if it is not.
    """
    if not self._allows(request.url):
      raise http_responses.FetchError(
        f"{self._origin} redirects to {request.url.with_query(None)}; expected "
        f"the same host, or https and {' or '.join(_DOWNLOAD_HOSTS)}. If the "
        "service has moved, pass its address as --base_url."
      )
    return await handler(request)

  def _allows(self, url: yarl.URL) -> bool:
    if url.scheme == "https":
      return url.host in (self._origin.host, *_DOWNLOAD_HOSTS)
    return url.origin() == self._origin.origin()


class Resolver(aiohttp.ThreadedResolver):
  """Resolves names; a public service cannot lead to a private network."""

  def __init__(self, origin: yarl.URL):
    """Remembers whether the service is public, if its host is an address."""
    super().__init__()
    self._is_public: bool | None = None
    # Of a name, the first one to be resolved decides: the service or a proxy.
    with contextlib.suppress(ValueError):
      self._is_public = _is_public(origin.host or "")

  async def resolve(
    self,
    host: str,
    port: int = 0,
    family: socket.AddressFamily = socket.AF_INET,
  ) -> list[aiohttp.abc.ResolveResult]:
    """Returns the addresses of a name.

    Raises:
      FetchError: if one is private, although the service is public.
      OSError: if the name is unknown.
    """
    found = await super().resolve(host, port, family)
    private = [item["host"] for item in found if not _is_public(item["host"])]
    if self._is_public is None:
      self._is_public = not private
    if self._is_public and private:
      raise http_responses.FetchError(
        f"{host} has the private address {private[0]}; expected a public one. "
        "Check the network's name server and --base_url."
      )
    return found


def _is_public(host: str) -> bool:
  """Whether an IP address is global; raises ValueError for a name."""
  # An IPv6 address may have a zone, and contain one of IPv4.
  address = ipaddress.ip_address(host.partition("%")[0])
  return (getattr(address, "ipv4_mapped", None) or address).is_global
