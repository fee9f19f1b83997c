"""Fetches a sample into a staging folder; resumes an interrupted run.

dr17, dr14  SkyServer: catalogue by SqlSearch, images by getjpeg
zenodo      the authors' archive on Zenodo
demo500     the 500 images of the authors' demonstration on GitHub
"""

from __future__ import annotations

import collections
import logging

import pandas as pd

from tfds_sdss import columns
from tfds_sdss import files
from tfds_sdss import images
from tfds_sdss import signals
from tfds_sdss import staging
from tfds_sdss.errors import DataError
from tfds_sdss.fetch import cleaning
from tfds_sdss.fetch import copies
from tfds_sdss.fetch import cutouts
from tfds_sdss.fetch import demo_archive
from tfds_sdss.fetch import http_client
from tfds_sdss.fetch import progress
from tfds_sdss.fetch import skyserver
from tfds_sdss.fetch import zenodo
from tfds_sdss.fetch import zenodo_archive
from tfds_sdss.fetch.request import Outcome
from tfds_sdss.fetch.request import Request

_log = logging.getLogger(__name__)


def fetch(request: Request) -> Outcome:
  """Fetches a sample, or the remainder of an interrupted fetch.

  Raises:
    FolderInUseError: if another run is using the folder.
    StagingError: if it contains another source.
    FetchError: if the service fails or cannot be reached. A later call resumes.
    OSError: if the disk is full or not writable.
  """
  folder = staging.Staging(request.out)
  with files.lock(folder.root):
    if folder.source_path.exists():
      found = folder.read_source()["source"]
      if found != request.source:
        raise staging.StagingError(
          f"{folder.root}: expected an empty folder or {request.source}, found "
          f"{found}. Choose another --out."
        )
    return signals.run(_fetch(request, folder))


async def _fetch(request: Request, folder: staging.Staging) -> Outcome:
  async with request.open_client() as client:
    if request.source == "demo500":
      number = await demo_archive.fetch(client, request.server, folder)
      folder.write_source({"source": "demo500", "base_url": request.server})
      return Outcome(number, number, number, {}, {}, request.max_loss)
    if request.source == "zenodo":
      frame = await _fetch_zenodo(request, folder, client)
      counted = copies.count(frame, folder.read_manifest())
    else:
      frame, counted = await _fetch_skyserver(request, folder, client)
  entries = _finish(request, frame, folder, counted)
  source = folder.read_source()
  losses, dropped = cleaning.divide(source["report"]["dropped"], request.source)
  lost = collections.Counter(e.reason for e in entries if not e.is_image)
  return Outcome(
    source["report"]["rows"],
    len(frame),
    len(entries) - lost.total(),
    dict(lost + collections.Counter(losses)),
    dropped,
    request.max_loss,
  )


async def _fetch_skyserver(
  request: Request, folder: staging.Staging, client: http_client.Client
) -> tuple[pd.DataFrame, images.Copies]:
  service = skyserver.Service(request.server, request.source)
  frame = _known_catalog(request, folder)
  if frame is None:
    _log.info("Reading the catalogue from %s", request.server)
    rows, total = await skyserver.read_sample(
      client,
      service,
      request.limit,
      lambda done, wanted: _log.info("%d of %d rows", done, wanted),
    )
    frame = _store_catalog(
      request,
      folder,
      rows,
      {
        "counted": total,
        "image_size": skyserver.SIZE,
        "query": skyserver.count_sql(),
      },
      {},
    )
  known = folder.read_manifest()
  if known:
    _log.info("Comparing %d images with the manifest", len(known))
  counted = copies.count(frame, known)
  remaining = [
    galaxy
    for galaxy in cutouts.image_requests(frame, service, request.field)
    if not cutouts.is_finished(galaxy, known.get(galaxy.objid), folder)
  ]
  _log.info("%d of %d galaxies remain", len(remaining), len(frame))
  if remaining:
    try:
      with progress.shown(len(frame), len(frame) - len(remaining)) as on_entry:
        await cutouts.fetch(
          client, folder, remaining, counted, request.connections, on_entry
        )
    except BaseException:
      # Including Ctrl-C: failed.csv lists the losses so far.
      _finish(request, frame, folder, counted)
      raise
  return frame, counted


async def _fetch_zenodo(
  request: Request, folder: staging.Staging, client: http_client.Client
) -> pd.DataFrame:
  record = await zenodo.read_record(client, request.server)
  downloads = folder.root / "downloads"
  frame = _known_catalog(request, folder)
  if frame is None:
    path = await zenodo.download(client, record[zenodo.CATALOG], downloads)
    rows, unknown = zenodo.parse_catalog(path.read_bytes())
    absent = [name for name in columns.ZENODO if name not in rows]
    for kind, names in (("Absent", absent), ("Unknown", unknown)):
      if names:
        _log.info("%s columns of %s: %s", kind, path, ", ".join(names))
    frame = _store_catalog(
      request,
      folder,
      rows.head(request.limit or len(rows)),
      {
        "counted": len(rows),
        "image_size": zenodo.SIZE,
        "md5": record[zenodo.CATALOG].md5,
      },
      {"absent_columns": absent, "unknown_columns": unknown},
    )
  origin = record[zenodo.ARCHIVE]
  known = folder.read_manifest()
  if not all(
    zenodo_archive.is_finished(known.get(objid), origin, folder)
    for objid in frame.objid
  ):
    _log.info("Downloading %s, %.1f GB", origin.name, origin.size / 1e9)
    archive = await zenodo.download(client, origin, downloads)
    with progress.shown(len(frame), 0) as on_entry:
      zenodo_archive.unpack(archive, origin, set(frame.objid), folder, on_entry)
  return frame


def _known_catalog(
  request: Request, folder: staging.Staging
) -> pd.DataFrame | None:
  """Returns the catalogue of an earlier run with the same limit and rules."""
  if not (folder.source_path.exists() and folder.catalog_path.exists()):
    return None
  source = folder.read_source()
  if (source.get("limit"), source.get("rules")) != (
    request.limit,
    cleaning.VERSION,
  ):
    return None
  frame = folder.read_catalog()
  needed = {"objid", "sky_group"}
  if request.source != "zenodo":
    needed |= {"ra", "dec", "petroR90_r"}
  is_whole = needed <= set(frame) and source.get("report", {}).get("rows")
  return frame if is_whole else None


def _store_catalog(
  request: Request,
  folder: staging.Staging,
  rows: pd.DataFrame,
  facts: dict,
  notes: dict,
) -> pd.DataFrame:
  """Cleans and writes the catalogue and source.json.

  Args:
    request: options of the fetch.
    folder: staging folder.
    rows: the catalogue as text.
    facts: more content of source.json.
    notes: more content of its report.
  """
  frame, report = cleaning.clean(rows)
  report |= notes
  for rule, number in report["dropped"].items():
    if number:
      _log.info("%d rows dropped: %s", number, rule)
  if report["missing"]:
    counts = [f"{name} {number}" for name, number in report["missing"].items()]
    _log.info("Missing or out of range: %s", ", ".join(counts))
  if not len(frame):
    raise DataError(
      f"all {report['rows']} rows of the catalogue were dropped: "
      f"{report['dropped']}"
    )
  folder.write_catalog(frame)
  folder.write_source(
    {
      "source": request.source,
      "base_url": request.server,
      "limit": request.limit,
      "rules": cleaning.VERSION,
      **facts,
      "report": report,
    }
  )
  return frame


def _finish(
  request: Request,
  frame: pd.DataFrame,
  folder: staging.Staging,
  counted: images.Copies,
) -> list[staging.Entry]:
  """Discards copies, writes failed.csv and returns the catalogue's entries."""
  manifest = folder.read_manifest()
  entries = [manifest[objid] for objid in frame.objid if objid in manifest]
  # Unlike a server, the archive does not change.
  copies.discard(folder, entries, counted, request.source == "zenodo")
  folder.write_failed(entries)
  return entries
