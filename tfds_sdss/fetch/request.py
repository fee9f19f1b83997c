"""What is asked of `fetch`, and what comes of it."""

from __future__ import annotations

import dataclasses
import pathlib

from tfds_sdss import staging
from tfds_sdss.errors import DataError
from tfds_sdss.fetch import cutouts
from tfds_sdss.fetch import demo_archive
from tfds_sdss.fetch import http_client
from tfds_sdss.fetch import skyserver
from tfds_sdss.fetch import zenodo

SKYSERVER_SOURCES = ("dr17", "dr14")
SOURCES = (*SKYSERVER_SOURCES, "zenodo", "demo500")
BASE_URLS = {
  "dr17": skyserver.BASE_URL,
  "dr14": skyserver.BASE_URL,
  "zenodo": zenodo.BASE_URL,
  "demo500": demo_archive.BASE_URL,
}
# The services are shared by all astronomers.
MAX_CONNECTIONS = 4


@dataclasses.dataclass(frozen=True)
class Request:
  """What to fetch, and how gently.

  Attributes:
    source: one of `SOURCES`.
    out: the staging folder.
    base_url: where the service is, if it isn't at its usual address.
    rate: requests per second at most.
    connections: requests at once, 1 to 4.
    limit: number of galaxies; None for all.
    max_loss: fraction of galaxies without an image that is still a success.
    field: `petro` or `fixed`, see `cutouts.wanted`; for SkyServer only.
    contact: an e-mail address for the service's operators.
    limits: how long to wait and how often to ask again.
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
    """Refuses what cannot be.

    Raises:
      DataError: if a value is out of its range or goes with another source.
    """
    for name, good, expected in (
      ("source", self.source in SOURCES, " or ".join(SOURCES)),
      ("rate", self.rate > 0, "a number above 0"),
      (
        "connections",
        1 <= self.connections <= MAX_CONNECTIONS,
        f"1 to {MAX_CONNECTIONS}",
      ),
      ("limit", self.limit is None or self.limit > 0, "a number above 0"),
      ("max_loss", 0 <= self.max_loss <= 1, "a fraction, 0 to 1"),
      ("field", self.field in cutouts.FIELDS, " or ".join(cutouts.FIELDS)),
      (
        "limit",
        self.limit is None or self.source != "demo500",
        "none with demo500, which comes whole",
      ),
      (
        "field",
        self.field == "petro" or self.source in SKYSERVER_SOURCES,
        f"petro with {self.source}, whose images are made already",
      ),
    ):
      if not good:
        raise DataError(
          f"--{name}: expected {expected}, found {getattr(self, name)}"
        )

  @property
  def server(self) -> str:
    """Where the service is."""
    return (self.base_url or BASE_URLS[self.source]).rstrip("/")


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What has been fetched, by this run and those before it.

  Attributes:
    galaxies: in the catalogue.
    images: of them with an image.
    lost: {reason: number} of the others.
    max_loss: as asked for.
  """

  galaxies: int
  images: int
  lost: dict[str, int]
  max_loss: float

  @property
  def loss(self) -> float:
    """Fraction of the galaxies without an image."""
    return 1 - self.images / self.galaxies

  @property
  def is_success(self) -> bool:
    """Whether no more is lost than allowed."""
    return self.loss <= self.max_loss

  def __str__(self) -> str:
    reasons = ", ".join(f"{n} {reason}" for reason, n in self.lost.items())
    return (
      f"{self.images} of {self.galaxies} galaxies have an image, "
      f"{self.loss:.2%} lost" + (f": {reasons}" if reasons else "")
    )
