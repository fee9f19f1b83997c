"""A local HTTP server in place of SkyServer, Zenodo and GitHub.

The faults of the real services are in stand_in_faults.py, and the galaxies in
stand_in_sample.py.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
import hashlib
import http.server
import json
import re
import sys
import threading

from astropy import coordinates
import numpy as np
import pandas as pd
import yarl

from tests.tfds_sdss.fetch import stand_in_sample
from tests.tfds_sdss.fetch.stand_in_http import Fault
from tests.tfds_sdss.fetch.stand_in_http import Handler
from tests.tfds_sdss.fetch.stand_in_http import Request
from tests.tfds_sdss.fetch.stand_in_http import Response
from tfds_sdss.fetch import zenodo
from tfds_sdss.sdss_metallicity import demo500

frame_of = stand_in_sample.frame_of
jpeg_of = stand_in_sample.jpeg_of

RECORD = f"/api/records/{zenodo.RECORD}"
# Path prefixes of a redirected request, and of an endless redirection.
MOVED = "/moved"
LOOP = "/loop"
# Path of the archive on GitHub's second host.
CODELOAD = "/codeload"
_SQL_NAMES = {"objid": "objID", "specobjid": "specObjID"}


class StandIn(http.server.ThreadingHTTPServer):
  """The server; it runs inside a `with` block.

  Attributes:
    base_url: "http://127.0.0.1:PORT".
    requests: all requests, in order of arrival.
    sql_faults: faults of the next SqlSearch requests; None for no fault.
    image_faults: the same for getjpeg, by objid.
    file_faults: the same for all other requests, by path.
    delay: seconds before each response.
    silent_cap: number of rows after which SqlSearch cuts a response silently.
    count_error: number added to COUNT.
    page_shift: rows by which each page but the first starts too late, or too
      early if negative.
    ignores_top: whether SqlSearch sends all rows instead of a page.
    max_active: largest number of simultaneous requests.
  """

  daemon_threads = False  # so that server_close() joins them
  request_queue_size = 64

  def __init__(
    self,
    frame: pd.DataFrame,
    images: Callable[[int], bytes],
    *,
    archive: bytes = b"",
    zenodo_files: dict[str, bytes] | None = None,
  ):
    """Opens the port.

    Args:
      frame: rows that pass the WHERE clause; columns as in columns.COLUMNS,
        NaN for NULL.
      images: function from objid to JPEG.
      archive: GitHub's zip archive.
      zenodo_files: files of the record, by name.
    """
    super().__init__(("127.0.0.1", 0), Handler)
    self.base_url = f"http://127.0.0.1:{self.server_port}"
    self.requests: list[Request] = []
    self.sql_faults: list[Fault | None] = []
    self.image_faults: dict[int, list[Fault | None]] = {}
    self.file_faults: dict[str, list[Fault | None]] = {}
    self.delay = 0.0
    self.silent_cap: int | None = None
    self.count_error = 0
    self.page_shift = 0
    self.ignores_top = False
    self.max_active = 0
    self.closing = threading.Event()
    self._active = 0
    self._lock = threading.Lock()
    self._errors: list[BaseException | None] = []
    self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))
    self._images = images
    self._rows = _texts(frame.sort_values("specobjid", kind="stable"))
    self._specobjids = [int(text) for text in self._rows.specObjID]
    self._objids = {
      (f"{ra:.7f}", f"{dec:.7f}"): objid
      for ra, dec, objid in zip(frame.ra, frame.dec, frame.objid, strict=True)
    }
    self._pages = _zenodo_pages(self.base_url, zenodo_files or {})
    self._pages[yarl.URL(demo500.ARCHIVE_URL).path] = Response(
      302, headers={"Location": CODELOAD}
    )
    # GitHub compresses on the fly and sends no length.
    self._pages[CODELOAD] = Response(
      200, "application/zip", archive, framing="chunked"
    )

  def __enter__(self) -> StandIn:
    self._thread.start()
    return self

  def __exit__(self, exc_type, *exc_info) -> None:
    self.closing.set()
    self.shutdown()
    self._thread.join()
    self.server_close()
    if exc_type is None and self._errors:
      # Otherwise the client would handle the error like a fault of the service.
      raise self._errors[0]

  def reply(self, request: Request) -> Response:
    """Records a request and returns its response."""
    path = request.path.removeprefix(MOVED)
    _, _, endpoint = path.removeprefix("/").partition("/")
    with self._lock:
      self.requests.append(request)
      self._active += 1
      self.max_active = max(self.max_active, self._active)
      if path.startswith(LOOP):
        faults, response = (
          [],
          Response(302, headers={"Location": request.target}),
        )
      elif endpoint == "SkyServerWS/SearchTools/SqlSearch":
        faults, response = self.sql_faults, self._select(request.query["cmd"])
      elif endpoint == "SkyServerWS/ImgCutout/getjpeg":
        objid = self.objid_of(request)
        faults = self.image_faults.get(objid, [])
        response = Response(200, "image/jpeg", self._images(objid))
      else:
        faults = self.file_faults.get(path, [])
        response = _part(self._pages[path], request.headers.get("Range"))
      fault = faults.pop(0) if faults else None
    self.closing.wait(self.delay)
    with self._lock:
      # Before the response, because the next request may follow it at once.
      self._active -= 1
    return fault(request, response) if fault else response

  def objid_of(self, request: Request) -> int:
    """Returns the galaxy of a request for a cutout."""
    return self._objids[request.query["ra"], request.query["dec"]]

  def _select(self, sql: str) -> Response:
    """Answers the three kinds of statements that the fetches send."""
    if sql.startswith("select count_big(*) as n from "):
      return _csv(pd.DataFrame({"n": [len(self._rows) + self.count_error]}))
    if " outer apply " in sql:
      return _csv(self._matches(sql))
    page = re.fullmatch(
      r"select top (\d+) (\S+) from .* and I\.specObjID>(\d+)"
      r" order by I\.specObjID",
      sql,
    )
    top, items, after = page.groups()
    start = bisect.bisect_right(self._specobjids, int(after))
    if start:
      start = max(0, start + self.page_shift)
    stop = None if self.ignores_top else start + int(top)
    rows = self._rows.iloc[start:stop][: self.silent_cap]
    return _csv(rows[[item.split(".")[1] for item in items.split(",")]])

  def _matches(self, sql: str) -> pd.DataFrame:
    """Answers a query for the galaxies near positions, the nearest last."""
    values, radius = re.fullmatch(
      r"select top 1000 P\.n,A\.objID,A\.ra,A\.dec,A\.petroR90_r from"
      r" \(values (\(.+\))\)P\(n,ra,dec\) outer apply \(select G\.objID,G\.ra,"
      r"G\.dec,G\.petroR90_r from dbo\.fGetNearbyObjEq\(P\.ra,P\.dec,(\S+)\) N"
      r" join Galaxy G on G\.objID=N\.objID\) A",
      sql,
    ).groups()
    names = ["objID", "ra", "dec", "petroR90_r"]
    galaxies = coordinates.SkyCoord(self._rows.ra, self._rows.dec, unit="deg")
    parts = []
    for value in values[1:-1].split("),("):
      number, ra, dec = value.split(",")
      position = coordinates.SkyCoord(ra, dec, unit="deg")
      distance = position.separation(galaxies)
      near = np.flatnonzero(distance.arcmin < float(radius))
      order = near[np.argsort(-distance[near])]
      found = self._rows[names].iloc[order]
      if not len(found):
        found = pd.DataFrame([[""] * 4], columns=names)
      parts.append(found.assign(n=number))
    return pd.concat(parts)[["n", *names]]

  def shutdown_request(self, request) -> None:
    # The parent sends FIN first, which turns a reset into a clean end.
    self.close_request(request)

  def handle_error(self, request, client_address) -> None:
    error = sys.exception()
    if not isinstance(error, OSError):  # OSError: the client disconnected
      self._errors.append(error)


def _texts(frame: pd.DataFrame) -> pd.DataFrame:
  """Formats all values as SkyServer does, under SDSS's names."""

  def text(values: pd.Series) -> list[str]:
    if values.dtype.kind == "i":
      return [str(value) for value in values]
    digits = 15 if values.dtype == np.float64 else 7
    return ["" if np.isnan(x) else f"{x:.{digits}G}" for x in values]

  names = {name: _SQL_NAMES.get(name, name) for name in frame.columns}
  return pd.DataFrame(
    {sql_name: text(frame[name]) for name, sql_name in names.items()}
  )


def _csv(table: pd.DataFrame) -> Response:
  body = "#Table1\n" + table.to_csv(index=False)
  return Response(200, "text/plain", body.encode(), framing="chunked")


def _zenodo_pages(
  base_url: str, files: dict[str, bytes]
) -> dict[str, Response]:
  pages, items = {}, []
  for name, data in files.items():
    path = f"{RECORD}/files/{name}/content"
    pages[path] = Response(200, "application/octet-stream", data)
    items.append(
      {
        "key": name,
        "size": len(data),
        "checksum": f"md5:{hashlib.md5(data).hexdigest()}",
        "links": {"self": base_url + path},
      }
    )
  record = json.dumps({"id": zenodo.RECORD, "files": items}).encode()
  return {RECORD: Response(200, "application/json", record), **pages}


def _part(response: Response, byte_range: str | None) -> Response:
  """Returns the part of a file for a Range header."""
  if byte_range is None:
    return response
  start = int(byte_range.removeprefix("bytes=").removesuffix("-"))
  size = len(response.body)
  return response._replace(
    status=206,
    body=response.body[start:],
    headers={"Content-Range": f"bytes {start}-{size - 1}/{size}"},
  )
