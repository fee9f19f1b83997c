"""Options and result of `fetch`."""

from __future__ import annotations

import dataclasses
import pathlib

from tfds_sdss import staging
from tfds_sdss.errors import DataError
from tfds_sdss.fetch import addresses
from tfds_sdss.fetch import cutouts
from tfds_sdss.fetch import demo_archive
from tfds_sdss.fetch import http_client
from tfds_sdss.fetch import skyserver
from tfds_sdss.fetch import zenodo

BASE_URLS = {
  "dr17": skyserver.BASE_URL,
  "dr14": skyserver.BASE_URL,
  "zenodo": zenodo.BASE_URL,
  "demo500": demo_archive.BASE_URL,
}
SOURCES = tuple(BASE_URLS)
# All astronomers share these services.
MAX_CONNECTIONS = 4


@dataclasses.dataclass(frozen=True)
class Request:
  """Options of a fetch.

  Attributes:
    source: one of `SOURCES`.
    out: staging folder.
    base_url: address of the service; None for the usual one.
    rate: maximum rate, requests per second.
    connections: maximum number of simultaneous requests, 1 to 4.
    limit: maximum number of galaxies; None for all.
    max_loss: largest accepted fraction of galaxies without an image.
    field: `petro` or `fixed`, see `cutouts.image_requests`; SkyServer only.
    contact: e-mail address for the service's operators.
    limits: timeouts and retries.
  """

  source: str
  out: pathlib.Path
  base_url: str | None = None
  rate: float = 5.0
  connections: int = 4
  limit: int | None = None
  max_loss: float = staging.MAX_LOSS
  field: str = "petro"
  contact: str | None = None
  limits: http_client.Limits = dataclasses.field(
    default_factory=http_client.Limits
  )

  def __post_init__(self):
    """Raises DataError if a value is invalid, or invalid for this source."""
    staging.check_max_loss(self.max_loss)
    for name, good, expected in (
      ("source", self.source in SOURCES, " or ".join(SOURCES)),
      ("rate", self.rate > 0, "a number above 0"),
      (
        "connections",
        1 <= self.connections <= MAX_CONNECTIONS,
        f"1 to {MAX_CONNECTIONS}",
      ),
      ("limit", self.limit is None or self.limit > 0, "a number above 0"),
      ("field", self.field in cutouts.FIELDS, " or ".join(cutouts.FIELDS)),
      (
        "limit",
        self.limit is None or self.source != "demo500",
        "none with demo500, which is fetched as a whole",
      ),
      (
        "field",
        self.field == "petro" or self.source in ("dr17", "dr14"),
        f"petro with {self.source}, whose images have a fixed size",
      ),
      (
        "contact",
        # It becomes part of a header.
        not self.contact
        or (self.contact.isascii() and self.contact.isprintable()),
        "an e-mail address of printable ASCII",
      ),
    ):
      if not good:
        raise DataError(
          f"--{name}: expected {expected}, found {getattr(self, name)!r}"
        )
    if self.base_url is not None:
      addresses.parse_base_url(self.base_url)

  @property
  def server(self) -> str:
    """Address of the service, without a slash at the end."""
    return (self.base_url or BASE_URLS[self.source]).strip().rstrip("/")

  def open_client(self) -> http_client.Client:
    """Opens a session with the service, within a running event loop."""
    return http_client.Client(
      self.server, self.rate, self.connections, self.limits, self.contact
    )


@dataclasses.dataclass(frozen=True)
class Outcome:
  """Content of the staging folder after a fetch.

  Attributes:
    promised: number of rows that the source should give: its own count, or
      --limit.
    galaxies: number of galaxies in the catalogue.
    images: number of galaxies with an image.
    lost: number of galaxies without an image or a valid row, by reason.
    dropped: number of rows that are no loss, such as second spectra, by rule.
    max_loss: largest accepted loss.
  """

  promised: int
  galaxies: int
  images: int
  lost: dict[str, int]
  dropped: dict[str, int]
  max_loss: float

  @property
  def loss(self) -> float:
    """Lost galaxies as a fraction of the promised rows."""
    return sum(self.lost.values()) / self.promised

  @property
  def is_success(self) -> bool:
    """Whether the loss is acceptable."""
    return self.loss <= self.max_loss

  def __str__(self) -> str:
    text = (
      f"{self.images} of {self.galaxies} galaxies have an image, "
      f"{self.loss:.2%} lost"
    )
    if self.lost:
      text += f": {_counts(self.lost)}"
    if self.dropped:
      text += f"; rows dropped from {self.promised}: {_counts(self.dropped)}"
    return text


def _counts(numbers: dict[str, int]) -> str:
  return ", ".join(f"{number} {name}" for name, number in numbers.items())
