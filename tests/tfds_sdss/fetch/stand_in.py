"""A stand-in for SkyServer, Zenodo and GitHub on this machine.

It speaks real HTTP and sends what the services send according to their
published source; stand_in_faults.py has what they send when something is
wrong, stand_in_sample.py galaxies to serve.
"""

from __future__ import annotations

from collections.abc import Callable
import hashlib
import io
import json
import re
import threading
import urllib.parse

import numpy as np
import pandas as pd
from PIL import Image

from tests.tfds_sdss.fetch import stand_in_http
from tests.tfds_sdss.fetch import stand_in_sample
from tests.tfds_sdss.fetch import stand_in_sql

Answer = stand_in_http.Answer
Fault = stand_in_http.Fault
Request = stand_in_http.Request
frame_of = stand_in_sample.frame_of
jpeg_of = stand_in_sample.jpeg_of

RECORD = "/api/records/14712542"
# Prefixes for faults that redirect: to the same route elsewhere, and in a
# circle.
MOVED = "/moved"
LOOP = "/loop"

_REPOSITORY = "/jwuphysics/convnet-demo"
# All in lower case: IIS does not distinguish.
_SQL = re.compile(r"(/dr\d+)?/skyserverws/searchtools/sqlsearch/?")
_IMAGE = re.compile(r"(/dr\d+)?/skyserverws/imgcutout/getjpeg/?")
_FILE = re.compile(rf"{RECORD}/files/([^/]+)/content")
_ARCHIVE = re.compile(rf"{_REPOSITORY}/archive/([^/]+)\.zip")
_CODELOAD = re.compile(rf"/codeload{_REPOSITORY}/zip/[^/]+")
_RADIUS = 1 / 3600  # deg, of the search for the galaxy at a position
_SIZES = (64, 2048)  # pixels; getjpeg clamps to them without a word


class StandIn:
  """The server, running between `with` and its end.

  Attributes:
    base_url: "http://127.0.0.1:PORT".
    frame: the catalogue; a test may put another one in its place.
    requests: all of them, in order.
    sql_faults: one for each SqlSearch request, from the front; None is the
      right answer, as is an empty list.
    image_faults: the same for getjpeg, by the objid at the position asked for.
    file_faults: the same for everything else, by path.
    delay: seconds before each answer.
    silent_cap: SqlSearch leaves out rows beyond this number and says nothing.
    max_active: the largest number of requests ever in flight at once.
  """

  def __init__(
    self,
    frame: pd.DataFrame,
    images: Callable[[int], bytes],
    *,
    archive: bytes | None = None,
    zenodo_files: dict[str, bytes] | None = None,
    max_rows: int = 500_000,
  ):
    """Opens the port; answers come once `with` is entered.

    Args:
      frame: what passes the query's WHERE, columns as in columns.COLUMNS.
        NaN is sent as NULL, all else as it is.
      images: returns the JPEG of an objid.
      archive: GitHub's zip archive; None is a 404.
      zenodo_files: files of the record, by name.
      max_rows: SqlSearch's limit.
    """
    self.frame = frame
    self.requests: list[Request] = []
    self.sql_faults: list[Fault | None] = []
    self.image_faults: dict[int, list[Fault | None]] = {}
    self.file_faults: dict[str, list[Fault | None]] = {}
    self.delay = 0.0
    self.silent_cap: int | None = None
    self.max_active = 0
    self._images = images
    self._archive = archive
    self._zenodo_files = zenodo_files or {}
    self._max_rows = max_rows
    self._active = 0
    self._lock = threading.Lock()
    self._server = stand_in_http.Server(
      type("_Handler", (stand_in_http.Handler,), {"service": self})
    )
    self.base_url = self._server.base_url

  def __enter__(self) -> StandIn:
    self._server.__enter__()
    return self

  def __exit__(self, exc_type, *exc_info) -> None:
    self._server.__exit__()
    if exc_type is None and self._server.errors:
      # A mistake in here must not look like a fault that a client survived.
      raise self._server.errors[0]

  def arrived(self, asked: Request) -> Fault | None:
    """Notes a request and returns its fault."""
    path = _route(asked)
    with self._lock:
      self.requests.append(asked)
      self._active += 1
      self.max_active = max(self.max_active, self._active)
      if _SQL.fullmatch(path):
        faults = self.sql_faults
      elif _IMAGE.fullmatch(path):
        faults = self.image_faults.get(self._objid_at(asked) or 0, [])
      else:
        by_path = {key.lower(): x for key, x in self.file_faults.items()}
        faults = by_path.get(path, [])
      return faults.pop(0) if faults else None

  def left(self) -> None:
    """Notes that a request has been answered."""
    with self._lock:
      self._active -= 1

  def answer_to(self, asked: Request) -> Answer:
    """Returns the right answer."""
    path = _route(asked)
    if path.startswith(f"{LOOP}/"):
      return _moved(f"{self.base_url}{asked.path}")
    if _SQL.fullmatch(path):
      return stand_in_sql.search(
        self.frame, _parameters(asked), self._max_rows, self.silent_cap
      )
    if _IMAGE.fullmatch(path):
      return self._image(asked)
    if path == RECORD:
      return self._record()
    if found := _FILE.fullmatch(path):
      return self._file(urllib.parse.unquote(found[1]), asked)
    if found := _ARCHIVE.fullmatch(path):
      return _moved(f"{self.base_url}/codeload{_REPOSITORY}/zip/{found[1]}")
    if _CODELOAD.fullmatch(path) and self._archive is not None:
      # Made while it is sent, so GitHub does not tell its length.
      return Answer(200, "application/zip", self._archive, chunked=True)
    return stand_in_http.not_found()

  def _objid_at(self, asked: Request) -> int | None:
    """Returns the nearest galaxy within an arcsecond."""
    query = _parameters(asked)
    try:
      ra, dec = float(query["ra"]), float(query["dec"])
    except (KeyError, ValueError):
      return None
    if self.frame.empty:
      return None
    east = (self.frame["ra"].to_numpy() - ra + 180) % 360 - 180
    north = self.frame["dec"].to_numpy() - dec
    distance = np.hypot(east * np.cos(np.radians(dec)), north)
    nearest = distance.argmin()
    if distance[nearest] > _RADIUS:
      return None
    return int(self.frame["objid"].iloc[nearest])

  def _image(self, asked: Request) -> Answer:
    query = _parameters(asked)
    try:
      float(query["ra"]), float(query["dec"])
      float(query.get("scale", "0.396127"))  # clamped too, and not drawn here
      width, height = (
        int(np.clip(int(query.get(name, "128")), *_SIZES))
        for name in ("width", "height")
      )
    except (KeyError, ValueError):
      return stand_in_sql.json_error(
        400, "There are not enough parameters to process your request."
      )
    objid = self._objid_at(asked)
    if objid is None:
      return outside(width, height)
    body = self._images(objid)
    with Image.open(io.BytesIO(body)) as image:
      if image.size != (width, height):
        body = stand_in_sample.encoded(image.resize((width, height)))
    return Answer(200, "image/jpeg", body)

  def _record(self) -> Answer:
    files = [
      {
        "key": name,
        "size": len(data),
        "checksum": f"md5:{hashlib.md5(data).hexdigest()}",
        "links": {"self": f"{self.base_url}{RECORD}/files/{name}/content"},
      }
      for name, data in self._zenodo_files.items()
    ]
    body = {
      "id": int(RECORD.rpartition("/")[2]),
      "metadata": {"title": "SDSS images and metallicities"},
      "files": files,
    }
    return Answer(200, "application/json", json.dumps(body).encode())

  def _file(self, name: str, asked: Request) -> Answer:
    data = {key.lower(): x for key, x in self._zenodo_files.items()}.get(name)
    if data is None:
      return stand_in_http.not_found()
    kind = "application/octet-stream"
    headers = {"Accept-Ranges": "bytes"}
    part = re.fullmatch(
      r"bytes=(\d+)-(\d*)", asked.headers.get("Range", ""), re.IGNORECASE
    )
    if not part:
      return Answer(200, kind, data, headers)
    start, last = int(part[1]), len(data) - 1
    if part[2]:
      last = min(last, int(part[2]))
    if start > last:
      headers["Content-Range"] = f"bytes */{len(data)}"
      return Answer(416, "text/html", b"", headers)
    headers["Content-Range"] = f"bytes {start}-{last}/{len(data)}"
    return Answer(206, kind, data[start : last + 1], headers)


def outside(width: int = 128, height: int = 128, status: int = 404) -> Answer:
  """Returns what getjpeg sends where SDSS has no images."""
  reason = "Requested (ra, dec) is outside the SDSS footprint."
  return Answer(
    status,
    "image/jpeg",
    stand_in_sample.tile(width, height, reason),
    reason=f"NOT FOUND. {reason}" if status == 404 else None,
  )


def _moved(url: str) -> Answer:
  return Answer(302, "text/html", b"", {"Location": url})


def _route(asked: Request) -> str:
  return re.sub(rf"^({MOVED})+(?=/)", "", asked.path.lower())


def _parameters(asked: Request) -> dict[str, str]:
  return {name.lower(): value for name, value in asked.query.items()}
