"""The images of SkyServer: which to ask for, and asking until they are there.

Every answer becomes one line of the manifest. A galaxy whose line says that its
image is there is asked for again only if the file has changed on disk, or if
the request would be another one, as after a change of the field.
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
from tfds_sdss.fetch import http_answers
from tfds_sdss.fetch import http_client
from tfds_sdss.fetch import skyserver

FIELDS = ("petro", "fixed")
# SDSS's own pixel, arcsec, as Wu & Boada (2019) have it.
_SDSS_PIXEL = 0.396
_FIXED_SIDE = 15.0  # SDSS pixels per 128 cutout pixels, for the fixed field
# petroR90_r of a galaxy of this sample, arcsec. Outside, the measurement
# failed, and the server would silently take the nearest scale it has.
_RADIUS_RANGE = (0.5, 300.0)
# Above this fraction of exactly black pixels there is more edge than sky.
MAX_ZEROS = 0.5
# Galaxies in a row for which the server did not answer properly: then it is
# the server, not the galaxies.
_MAX_IN_A_ROW = 20


class Wanted(NamedTuple):
  """A galaxy whose image is wanted.

  Attributes:
    objid: SDSS objID.
    url: what to ask for; None if its radius is missing or impossible.
  """

  objid: int
  url: yarl.URL | None


def wanted(
  frame: pd.DataFrame, service: skyserver.Service, field: str
) -> list[Wanted]:
  """Returns what to ask for, galaxy by galaxy.

  Args:
    frame: with objid, ra, dec in degrees and petroR90_r in arcsec.
    service: whom to ask.
    field: `petro`, 5.05 petroR90_r wide: apparent size is divided out, as in
      Wu & Boada (2019); or `fixed`, 37.9 arcsec for all.
  """
  if field == "petro":
    scale = 2 * frame.petroR90_r.to_numpy(np.float64) / _SDSS_PIXEL
    known = frame.petroR90_r.between(*_RADIUS_RANGE).to_numpy()
  else:
    scale = np.full(len(frame), _FIXED_SIDE / _SDSS_PIXEL)
    known = np.full(len(frame), True)
  scale /= skyserver.SIZE
  return [
    Wanted(objid, service.cutout_url(*position) if usable else None)
    for objid, usable, *position in zip(
      frame.objid.tolist(),
      known.tolist(),
      frame.ra.tolist(),
      frame.dec.tolist(),
      scale.tolist(),
      strict=True,
    )
  ]


def is_settled(
  galaxy: Wanted, entry: staging.Entry | None, folder: staging.Staging
) -> bool:
  """Whether nothing is left to do for a galaxy.

  That is: it has been asked for in the same way (the host may have moved), and
  its image is there byte for byte, or its failure is final.
  """
  if entry is None:
    return False
  if _without_host(entry.url) != _without_host(str(galaxy.url or "")):
    return False
  return folder.has_image(entry) if entry.is_image else entry.permanent


def _without_host(url: str) -> str:
  # As text: to parse 142,000 addresses takes half a minute.
  return url.partition("://")[2].partition("/")[2]


async def fetch(
  client: http_client.Client,
  folder: staging.Staging,
  galaxies: Iterable[Wanted],
  connections: int,
  on_entry: Callable[[staging.Entry], None],
) -> None:
  """Asks for the images of these galaxies.

  Args:
    client: to ask with.
    folder: where images and manifest go.
    galaxies: in the order in which to ask.
    connections: how many to ask for at once.
    on_entry: called with each entry, after it has been written.

  Raises:
    FetchError: if the server is gone; what has been fetched is kept.
    OSError: if the disk is full or cannot be written.
  """
  queue = iter(galaxies)
  failures_in_a_row = 0

  async def work(manifest: staging.Manifest) -> None:
    nonlocal failures_in_a_row
    for galaxy in queue:
      entry = await _fetch_one(client, folder, galaxy)
      manifest.append(entry)
      on_entry(entry)
      if entry.is_image or entry.permanent:
        failures_in_a_row = 0
        continue
      failures_in_a_row += 1
      if failures_in_a_row >= _MAX_IN_A_ROW:
        raise http_answers.FetchError(
          f"no proper answer for {failures_in_a_row} galaxies in a row, the "
          f"last: {entry.detail}. Give the same command later to go on, or the "
          "service's new address as --base_url."
        )

  with folder.manifest() as manifest:
    try:
      async with asyncio.TaskGroup() as group:
        for _ in range(connections):
          group.create_task(work(manifest))
    except BaseExceptionGroup as errors:
      # Of several workers' errors the first says enough.
      raise errors.exceptions[0] from None


async def _fetch_one(
  client: http_client.Client, folder: staging.Staging, galaxy: Wanted
) -> staging.Entry:
  if galaxy.url is None:
    return staging.Entry(
      galaxy.objid,
      "",
      reason="no_radius",
      permanent=True,
      detail="petroR90_r is missing or impossible",
    )

  def judge(answer: http_answers.Answer) -> tuple[bytes, float]:
    return read_cutout(galaxy.objid, answer)

  url = str(galaxy.url)
  try:
    data, zeros = await client.get(galaxy.url, judge)
  except (http_answers.PermanentError, http_answers.TransientError) as error:
    return staging.Entry(
      galaxy.objid,
      url,
      reason=error.reason,
      permanent=isinstance(error, http_answers.PermanentError),
      status=error.status,
      detail=str(error),
    )
  folder.write_image(galaxy.objid, data)
  digest = hashlib.sha256(data).hexdigest()
  return staging.Entry(
    galaxy.objid, url, status=200, sha256=digest, zeros=zeros
  )


def read_cutout(objid: int, answer: http_answers.Answer) -> tuple[bytes, float]:
  """Checks what getjpeg sent.

  Args:
    objid: for the messages.
    answer: what came. An error comes with a picture too, of its message.

  Returns:
    (the JPEG file, the fraction of its pixels that are exactly black).

  Raises:
    PermanentError: outside the footprint, or more edge than sky.
    TransientError: if the server fails, or sends something else than an RGB
      JPEG of 128 x 128 pixels.
  """
  # Only with a picture is it said of the position: any other 404 is of a
  # service that has moved, and must not strike its galaxies off for good.
  if answer.status == 404 and answer.content_type.startswith("image/"):
    raise http_answers.PermanentError(
      "outside_footprint", f"objid {objid}: {answer.reason}", 404
    )
  if answer.status != 200:
    raise http_answers.TransientError(
      f"http_{answer.status}",
      f"objid {objid}: HTTP status {answer.status} {answer.reason}",
      answer.status,
      answer.retry_after,
    )
  return answer.body, check_image(objid, answer.body, skyserver.SIZE)


def check_image(objid: int, data: bytes, size: int) -> float:
  """Checks an image, and that it shows more sky than edge.

  Args:
    objid: for the messages.
    data: the JPEG file.
    size: expected width and height, pixels.

  Returns:
    The fraction of its pixels that are exactly black.

  Raises:
    TransientError: if it isn't an RGB JPEG of that size.
    PermanentError: if more than MAX_ZEROS of it is black.
  """
  try:
    pixels = images.decode(objid, data, size)
  except images.ImageError as error:
    raise http_answers.TransientError("bad_image", str(error), 200) from error
  zeros = images.black_fraction(pixels)
  if zeros > MAX_ZEROS:
    raise http_answers.PermanentError(
      "black", f"objid {objid}: {zeros:.0%} of the pixels are black", 200
    )
  return zeros
