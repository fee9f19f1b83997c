"""Downloads the images from SkyServer.

Every result becomes an entry of the manifest. An image is downloaded again only
if its file or its request (such as the field) has changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Iterable
import hashlib
from typing import NamedTuple

import numpy as np
import pandas as pd
import yarl

from tfds_sdss import images
from tfds_sdss import staging
from tfds_sdss.fetch import http_client
from tfds_sdss.fetch import http_responses
from tfds_sdss.fetch import skyserver

FIELDS = ("petro", "fixed")
SDSS_PIXEL = 0.396  # pixel of the survey, arcsec (Wu & Boada 2019)
# Replaces petroR90_r in the fixed field, arcsec.
FIXED_RADIUS = 7.5
# Valid petroR90_r, arcsec. Outside this range the measurement failed, and the
# server would silently use the nearest scale it supports.
_RADIUS_RANGE = (0.5, 300.0)
# Images with a larger fraction of exactly black pixels are rejected: they show
# the edge of the survey.
MAX_BLACK = 0.5
# The same for the colour of a corner: they are tiles with text.
_MAX_PLAIN = 0.5
# After this many failures in a row the fetch stops: the fault is the server's.
_MAX_IN_A_ROW = 20
# It also stops if one picture replaces as many images and this part of all.
_MAX_COPIED = 0.1
# Reason of an image that many galaxies have.
COPY = "same_image"


class ImageRequest(NamedTuple):
  """A galaxy and the URL of its image; None if its radius is invalid."""

  objid: int
  url: yarl.URL | None


def image_requests(
  frame: pd.DataFrame, service: skyserver.Service, field: str
) -> list[ImageRequest]:
  """Returns the request of each galaxy.

  Args:
    frame: catalogue.
    service: SkyServer and data release.
    field: `petro`: images 5.05 petroR90_r wide, so that apparent size is
      divided out, as in Wu & Boada (2019), section 3; `fixed`: 37.9 arcsec.
  """
  radius = frame.petroR90_r.astype(np.float64)
  if field == "fixed":
    radius[:] = FIXED_RADIUS
  known = is_known(radius)
  scale = 2 * radius / SDSS_PIXEL / skyserver.SIZE
  return [
    ImageRequest(objid, service.cutout_url(*position) if usable else None)
    for objid, usable, *position in zip(
      frame.objid, known, frame.ra, frame.dec, scale, strict=True
    )
  ]


def is_known(radius: pd.Series) -> pd.Series:
  """Whether each petroR90_r, arcsec, can give the scale of an image."""
  return radius.between(*_RADIUS_RANGE)


def is_finished(
  galaxy: ImageRequest, entry: staging.Entry | None, folder: staging.Staging
) -> bool:
  """Whether an earlier run has finished a galaxy.

  The same request, to any host, must have given an image whose file is
  unchanged, or a permanent failure.
  """
  if entry is None:
    return False
  if _without_host(entry.url) != _without_host(str(galaxy.url or "")):
    return False
  return folder.has_image(entry) if entry.is_image else entry.permanent


def _without_host(url: str) -> str:
  # Parsing 142,000 URLs would take half a minute.
  return url.partition("://")[2].partition("/")[2]


async def fetch(
  client: http_client.Client,
  folder: staging.Staging,
  galaxies: Iterable[ImageRequest],
  copies: images.Copies,
  connections: int,
  on_entry: Callable[[staging.Entry], None],
) -> None:
  """Downloads the images, and calls `on_entry` with each entry it writes.

  Args:
    client: client of the service.
    folder: staging folder.
    galaxies: the images to download.
    copies: images that the folder has; the downloaded ones are added.
    connections: number of simultaneous requests.
    on_entry: function that shows the progress.

  Raises:
    FetchError: after too many failures in a row, or if the service sends one
      picture again and again; finished images are kept.
    OSError: if the disk is full or not writable.
  """
  queue = iter(galaxies)
  failures_in_a_row = finished = copied = 0

  async def work(append: Callable[[staging.Entry], None]) -> None:
    nonlocal failures_in_a_row, finished, copied
    for galaxy in queue:
      entry = await _fetch_one(client, folder, galaxy, copies)
      append(entry)
      on_entry(entry)
      finished += 1
      copied += entry.reason == COPY
      if copied >= max(_MAX_IN_A_ROW, _MAX_COPIED * finished):
        raise http_responses.FetchError(
          f"{copied} of {finished} galaxies have the same picture as others: "
          f"{entry.url} . The service sends a placeholder. Run the same "
          "command later to resume, or pass another address as --base_url."
        )
      if entry.is_image or entry.permanent:
        failures_in_a_row = 0
        continue
      failures_in_a_row += 1
      if failures_in_a_row >= _MAX_IN_A_ROW:
        raise http_responses.FetchError(
          f"{failures_in_a_row} galaxies in a row failed, the last with: "
          f"{entry.detail}. Run the same command later to resume. If the "
          "service has moved, pass its address as --base_url."
        )

  with folder.open_manifest() as append:
    try:
      async with asyncio.TaskGroup() as group:
        for _ in range(connections):
          group.create_task(work(append))
    except BaseExceptionGroup as errors:
      # The other workers' errors usually have the same cause.
      raise errors.exceptions[0] from None


async def _fetch_one(
  client: http_client.Client,
  folder: staging.Staging,
  galaxy: ImageRequest,
  copies: images.Copies,
) -> staging.Entry:
  if galaxy.url is None:
    return staging.Entry(
      galaxy.objid,
      "",
      reason="no_radius",
      permanent=True,
      detail="petroR90_r is missing or impossible",
    )

  url = str(galaxy.url)
  try:
    data, digest, zeros = await client.get(
      galaxy.url, lambda response: _parse(galaxy.objid, response, copies)
    )
  except http_responses.ResponseError as error:
    return staging.Entry(
      galaxy.objid,
      url,
      reason=error.reason,
      permanent=isinstance(error, http_responses.PermanentError),
      status=error.status,
      detail=str(error),
    )
  folder.write_image(galaxy.objid, data)
  return staging.Entry(
    galaxy.objid, url, status=200, sha256=digest, zeros=zeros
  )


def _parse(
  objid: int, response: http_responses.Response, copies: images.Copies
) -> tuple[bytes, str, float]:
  """Returns the JPEG, its digest and its fraction of black pixels."""
  # getjpeg sends 404 with a picture for a position outside the footprint. Any
  # other status may come from a service that is down or has moved, and must not
  # mark galaxies as permanently failed.
  if response.status == 404 and response.content_type.startswith("image/"):
    raise http_responses.PermanentError(
      "outside_footprint", f"objid {objid}: {response.reason}", 404
    )
  if response.status != 200:
    raise http_responses.TransientError(
      f"http_{response.status}",
      f"objid {objid}: HTTP status {response.status} {response.reason}",
      response.status,
      response.retry_after,
    )
  zeros = check_image(objid, response.body, skyserver.SIZE)
  digest = hashlib.sha256(response.body).hexdigest()
  if (groups := copies.add(objid, digest)) > images.MAX_COPIES:
    raise http_responses.TransientError(
      COPY, f"objid {objid}: {groups - 1} other galaxies have this image", 200
    )
  return response.body, digest, zeros


def check_image(objid: int, data: bytes, size: int) -> float:
  """Checks an image; returns its fraction of exactly black pixels.

  Raises:
    TransientError: if the file is not an RGB JPEG of that size, or shows one
      colour, with or without a text.
    PermanentError: if the fraction exceeds MAX_BLACK.
  """
  try:
    pixels = images.decode(objid, data, size)
  except images.ImageError as error:
    raise http_responses.TransientError("bad_image", str(error), 200) from error
  zeros = images.black_fraction(pixels)
  if zeros > MAX_BLACK:
    raise http_responses.PermanentError(
      "black", f"objid {objid}: {zeros:.0%} of the pixels are black", 200
    )
  plain = images.plain_fraction(pixels)
  if plain > _MAX_PLAIN or images.is_one_colour(pixels):
    raise http_responses.TransientError(
      "one_colour",
      f"objid {objid}: {plain:.0%} of the pixels have the same colour",
      200,
    )
  return zeros
