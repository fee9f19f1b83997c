"""Fetches the cutouts of sky positions, as the data set's were fetched.

The folder of the cutouts resembles a staging folder (see staging.py), with one
image for each position and scale:

images/DDD/KEY.jpg  images; KEY is a digest of the request
manifest.jsonl      one line per result; the last line of a KEY is valid
matches.jsonl       galaxies of SDSS at the positions, from queries

Later calls send only the requests that have no final result there.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import hashlib
import logging
import pathlib

import numpy as np
import pandas as pd
import yarl

from tfds_sdss import files
from tfds_sdss import signals
from tfds_sdss import staging
from tfds_sdss.errors import DataError
from tfds_sdss.fetch import cleaning
from tfds_sdss.fetch import copies
from tfds_sdss.fetch import cutouts
from tfds_sdss.fetch import http_client
from tfds_sdss.fetch import http_responses
from tfds_sdss.fetch import matches
from tfds_sdss.fetch import progress
from tfds_sdss.fetch import skyserver
from tfds_sdss.fetch.request import Request

SOURCES = ("dr17", "dr14")

# Values of `Cutouts.status`.
OK = 0
BAD_POSITION = 1  # ra or dec is missing or impossible
NO_RADIUS = 2  # petroR90_r is missing or impossible
OUTSIDE = 3  # outside the footprint, or no galaxy within 3 arcsec
SERVICE = 4  # the service failed: a later call tries again

# A match at a larger separation is doubtful, arcsec.
_CERTAIN = 1.0
# Failures of an image that mean that the survey did not observe the position.
_OUTSIDE = ("outside_footprint", "black")

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Cutouts:
  """Cutouts of N positions, in their order.

  Attributes:
    paths: the JPEG of each position; None without one.
    status: OK, BAD_POSITION, NO_RADIUS, OUTSIDE or SERVICE, int64 `[N]`.
    objid: SDSS objID of the matched galaxy, int64 `[N]`; 0 if there is none,
      or if the position was not matched, because its radius was given.
    separation: distance to that galaxy, arcsec, float32 `[N]`; or NaN.
    doubtful: whether the galaxy is farther away than 1 arcsec, or one of
      several within 3 arcsec, bool `[N]`.
    radius: petroR90_r of the cutout, arcsec, float32 `[N]`; NaN if there is
      none, or if all cutouts have the same field.
  """

  paths: list[pathlib.Path | None]
  status: np.ndarray
  objid: np.ndarray
  separation: np.ndarray
  doubtful: np.ndarray
  radius: np.ndarray


def fetch(
  ra: np.ndarray,
  dec: np.ndarray,
  radius: np.ndarray | None,
  folder: pathlib.Path,
  *,
  source: str = "dr17",
  size: int,
  field: str,
  contact: str,
  base_url: str | None = None,
  rate: float = 5.0,
  connections: int = 4,
  limits: http_client.Limits | None = None,
) -> Cutouts:
  """Fetches the cutouts of positions, or those that earlier calls left.

  A position with a radius is the centre of its cutout. Any other is matched
  with the nearest primary galaxy of SDSS within 3 arcsec, and the cutout has
  the centre and the radius of that galaxy, as in the data set. Positions with
  the same cutout share one request.

  Call it once for a whole table: each call reads the records of the folder.

  Args:
    ra: right ascension, J2000, degrees, `[N]`.
    dec: declination, J2000, degrees, `[N]`.
    radius: petroR90_r, arcsec, `[N]`; None to match all positions. Those with
      a missing or impossible radius are matched, unless `field` is `fixed`.
    folder: folder of the cutouts, created if absent.
    source: data release, dr17 or dr14.
    size: width and height of the cutouts that the caller needs, pixels.
    field: `petro` or `fixed`, see `cutouts.image_requests`.
    contact: e-mail address for the service's operators.
    base_url: address of the service; None for SkyServer.
    rate: maximum rate, requests per second.
    connections: maximum number of simultaneous requests, 1 to 4.
    limits: timeouts and retries; None for the usual ones.

  Raises:
    DataError: if an option is invalid.
    FolderInUseError: if another process is using the folder.
    StagingError: if a record of the folder is damaged.
    FetchError: if the service cannot be reached, or fails again and again. A
      later call resumes.
    OSError: if the disk is full or not writable.
  """
  if source not in SOURCES:
    raise DataError(
      f"--fetch: expected {' or '.join(SOURCES)}, found {source!r}"
    )
  if size != skyserver.SIZE:
    raise DataError(
      f"--fetch={source}: expected a network for images of {skyserver.SIZE} x "
      f"{skyserver.SIZE} pixels, found one for {size} x {size}. Give images "
      "like those of its data set instead."
    )
  request = Request(
    source=source,
    out=folder,
    base_url=base_url,
    rate=rate,
    connections=connections,
    field=field,
    contact=contact,
    limits=limits or http_client.Limits(),
  )
  rows = pd.DataFrame(
    {
      "ra": np.asarray(ra, np.float64),
      "dec": np.asarray(dec, np.float64),
      # As in the data set: a radius of more digits may round to another scale.
      "petroR90_r": np.asarray(
        np.nan if radius is None else radius, np.float32
      ),
    }
  )
  with files.lock(request.out):
    return signals.run(_fetch(request, rows, radius is None))


async def _fetch(
  request: Request, rows: pd.DataFrame, is_without_radii: bool
) -> Cutouts:
  service = skyserver.Service(request.server, request.source)
  is_good = rows.ra.between(0, 360) & rows.dec.between(-90, 90)
  status = np.where(is_good, OK, BAD_POSITION)
  is_matched = is_good & (
    is_without_radii
    or (request.field != "fixed" and ~cutouts.is_known(rows.petroR90_r))
  )
  async with request.open_client() as client:
    found = await matches.find(
      client, service, request.out / "matches.jsonl", rows[is_matched]
    )
    status[found.index[found.candidates < 0]] = SERVICE
    status[found.index[found.candidates == 0]] = (
      OUTSIDE if is_without_radii else NO_RADIUS
    )
    galaxies = found[found.candidates > 0]
    rows.loc[galaxies.index, ["ra", "dec"]] = galaxies[["ra", "dec"]]
    rows.loc[galaxies.index, "petroR90_r"] = galaxies.radius.astype(np.float32)
    paths = await _fetch_images(client, service, request, rows, status)

  separation = np.full(len(rows), np.nan, np.float32)
  separation[galaxies.index] = galaxies.separation
  objid = np.zeros(len(rows), np.int64)
  objid[galaxies.index] = galaxies.objid
  doubtful = separation > _CERTAIN
  doubtful[galaxies.index[galaxies.candidates > 1]] = True
  is_used = cutouts.is_known(rows.petroR90_r) & (request.field != "fixed")
  return Cutouts(
    paths,
    status,
    objid,
    separation,
    doubtful,
    rows.petroR90_r.where(is_used & is_good).to_numpy(),
  )


async def _fetch_images(
  client: http_client.Client,
  service: skyserver.Service,
  request: Request,
  rows: pd.DataFrame,
  status: np.ndarray,
) -> list[pathlib.Path | None]:
  """Returns the image of each row that is OK, and changes its status if none.

  Galaxies of the fetcher are here the different requests.
  """
  paths: list[pathlib.Path | None] = [None] * len(rows)
  good = rows[status == OK].assign(objid=0)
  galaxies = {}
  keys = {}
  for row, galaxy in zip(
    good.index,
    cutouts.image_requests(good, service, request.field),
    strict=True,
  ):
    if galaxy.url is None:
      status[row] = NO_RADIUS
      continue
    keys[row] = _key(galaxy.url)
    galaxies[keys[row]] = galaxy._replace(objid=keys[row])
  unique = good.loc[list(keys)].assign(objid=list(keys.values()))
  unique = unique.drop_duplicates("objid", ignore_index=True)
  unique["sky_group"] = cleaning.sky_groups(unique)

  folder = staging.Staging(request.out)
  known = folder.read_manifest()
  counted = copies.count(unique, known)
  remaining = [
    galaxy
    for key, galaxy in galaxies.items()
    if not cutouts.is_finished(galaxy, known.get(key), folder)
  ]
  if remaining:
    _log.info("%d of %d images remain", len(remaining), len(galaxies))
    done = len(galaxies) - len(remaining)
    with progress.shown(len(galaxies), done) as on_entry:
      await cutouts.fetch(
        client,
        folder,
        remaining,
        counted,
        request.connections,
        _with_check(on_entry),
      )
  manifest = folder.read_manifest()
  entries = [manifest[key] for key in galaxies]
  copies.discard(folder, entries, counted, permanent=False)
  final = dict(zip(galaxies, entries, strict=True))
  for row, key in keys.items():
    if final[key].is_image:
      paths[row] = folder.image_path(key)
    else:
      is_outside = final[key].reason in _OUTSIDE
      status[row] = OUTSIDE if is_outside else SERVICE
  return paths


def _key(url: yarl.URL) -> int:
  """Returns a key of 63 bits for a request to any host."""
  digest = hashlib.sha256(str(url.relative()).encode()).digest()
  return int.from_bytes(digest[:8]) >> 1 or 1


def _with_check(
  on_entry: Callable[[staging.Entry], None],
) -> Callable[[staging.Entry], None]:
  """Adds a check of the first result, which raises FetchError without network.

  Without it, each image would fail after all its attempts.
  """
  is_first = True

  def check(entry: staging.Entry) -> None:
    nonlocal is_first
    if is_first and entry.reason in matches.NO_NETWORK:
      raise http_responses.FetchError(
        f"{entry.detail}. Check the network and run the same command again."
      )
    is_first = False
    on_entry(entry)

  return check
