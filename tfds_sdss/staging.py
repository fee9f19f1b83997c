"""The staging folder: output of `fetch`, input of `build`.

source.json           source and options of the fetch
catalog.parquet       one row per galaxy, with units (see columns.COLUMNS)
images/DDD/OBJID.jpg  images; DDD are the last three digits of OBJID
manifest.jsonl        one line per result; a galaxy's last line is valid
failed.csv            galaxies without an image, with reasons
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import dataclasses
import hashlib
import json
import pathlib
import re
from typing import Any

import pandas as pd

from tfds_sdss import files
from tfds_sdss import tables
from tfds_sdss.errors import DataError

# Largest accepted fraction of galaxies without an image, by default.
MAX_LOSS = 0.02


class StagingError(DataError):
  """A staging folder is absent, incomplete, in use or from another source."""


@dataclasses.dataclass(frozen=True)
class Entry:
  """Result of fetching one galaxy's image.

  Attributes:
    url: requested address, with all parameters.
    reason: keyword of the failure, such as `http_404`; empty for an image.
    permanent: whether another request is pointless; False for an image.
    status: HTTP status of the last answer; None without an answer.
    sha256: hexadecimal digest of the file; empty without an image.
    zeros: fraction of exactly black pixels; None without an image.
    detail: explanation of the failure, one line.
  """

  objid: int
  url: str
  reason: str = ""
  permanent: bool = False
  status: int | None = None
  sha256: str = ""
  zeros: float | None = None
  detail: str = ""

  @property
  def is_image(self) -> bool:
    """Whether the galaxy has an image."""
    return not self.reason


def check_max_loss(max_loss: float) -> None:
  """Raises DataError unless the largest accepted loss is a fraction."""
  if not 0 <= max_loss <= 1:  # True for NaN too
    raise DataError(
      f"--max_loss: expected a fraction, 0 to 1, found {max_loss}"
    )


def parse_entry(line: bytes) -> Entry:
  """Parses a line of the manifest.

  Raises:
    ValueError: if it is not an entry.
  """
  try:
    entry = Entry(**json.loads(line))
  # RecursionError: thousands of nested brackets.
  except (TypeError, RecursionError) as error:
    raise ValueError(f"expected a JSON object of an entry: {error}") from error
  zeros = entry.zeros
  for name, is_good in (
    ("objid", type(entry.objid) is int and 0 < entry.objid < 2**63),
    ("url", type(entry.url) is str),
    ("reason", type(entry.reason) is str),
    ("permanent", type(entry.permanent) is bool),
    ("status", entry.status is None or type(entry.status) is int),
    (
      "sha256",
      type(entry.sha256) is str
      and re.fullmatch("" if entry.reason else "[0-9a-f]{64}", entry.sha256),
    ),
    (
      "zeros",
      zeros is None or (type(zeros) in (int, float) and 0 <= zeros <= 1),
    ),
    ("detail", type(entry.detail) is str),
  ):
    if not is_good:
      found = repr(getattr(entry, name))[:40]
      raise ValueError(f"{name} is {found}")
  return entry


def common_scale(entries: Iterable[Entry]) -> float | None:
  """Returns the scale that all images were requested with, arcsec per pixel.

  Returns:
    None if the scales differ, or the addresses give none.
  """
  scales = {
    found[1]
    for entry in entries
    if (found := re.search(r"[?&]scale=([0-9]+\.[0-9]+)", entry.url))
  }
  return float(scales.pop()) if len(scales) == 1 else None


def parse_source(data: bytes) -> dict[str, Any]:
  """Parses source.json.

  Raises:
    ValueError: if it is not JSON, or a value has another type.
  """
  try:
    source = json.loads(data)
  except RecursionError as error:
    raise ValueError("too many nested brackets") from error
  if type(source) is not dict or type(source.get("source")) is not str:
    raise ValueError("expected a JSON object with a source")
  limit, report = source.get("limit"), source.get("report", {})
  if not (limit is None or type(limit) is int):
    raise ValueError(f"expected a number or null as limit, found {limit!r}")
  if type(report) is not dict:
    raise ValueError("expected a JSON object as report")
  counts = {"rows": report.get("rows", 0)}
  for name in ("dropped", "missing"):
    if type(part := report.get(name, {})) is not dict:
      raise ValueError(f"expected a JSON object as {name}")
    counts |= part
  for name, number in counts.items():
    if type(number) is not int or number < 0:
      raise ValueError(f"expected a number of {name}, found {number!r}")
  return source


class Staging:
  """Paths and files of one staging folder."""

  def __init__(self, root: str | pathlib.Path):
    self.root = files.local_path(root, "the staging folder")
    self.source_path = self.root / "source.json"
    self.catalog_path = self.root / "catalog.parquet"
    self.manifest_path = self.root / "manifest.jsonl"
    self.failed_path = self.root / "failed.csv"

  def image_path(self, objid: int) -> pathlib.Path:
    """Returns the path of a galaxy's image, which may not exist."""
    return pathlib.Path(self._image_name(objid))

  def _image_name(self, objid: int) -> str:
    return f"{self.root}/images/{objid % 1000:03d}/{objid}.jpg"

  def read_image(self, objid: int) -> bytes:
    """Returns a galaxy's image; empty if there is none."""
    try:
      # pathlib would take longer than reading the small file.
      with open(self._image_name(objid), "rb", buffering=0) as file:
        return file.read()
    except FileNotFoundError:
      return b""

  def read_source(self) -> dict:
    """Returns source.json; raises StagingError if it is absent or damaged."""
    try:
      return parse_source(self.source_path.read_bytes())
    except FileNotFoundError:
      raise StagingError(
        f"{self.root}: expected a staging folder with source.json, found none. "
        "Fetch it: python -m tfds_sdss fetch --source=SOURCE "
        f"--out={self.root}"
      ) from None
    except ValueError as error:
      raise StagingError(
        f"{self.source_path} is damaged ({error}). Delete it and fetch again; "
        "existing images are kept."
      ) from error

  def write_source(self, source: dict) -> None:
    """Writes source.json."""
    text = json.dumps(source, indent=2) + "\n"
    files.write_atomically(self.source_path, text.encode("utf-8"))

  def read_catalog(self) -> pd.DataFrame:
    """Returns the catalogue; raises StagingError if it is absent or damaged.

    The columns are those of `columns.COLUMNS` that the source provides, and
    `sky_group`, int64. Missing values are NaN.
    """
    try:
      return tables.read(self.catalog_path)
    except FileNotFoundError:
      raise StagingError(
        f"{self.root}: expected catalog.parquet, found none. The fetch was "
        "interrupted early: run the same command again."
      ) from None
    except files.DamagedFileError as error:
      raise StagingError(
        f"{error} Delete it and fetch again; existing images are kept."
      ) from error

  def write_catalog(self, frame: pd.DataFrame) -> None:
    """Writes the catalogue."""
    tables.write(self.catalog_path, frame)

  def read_manifest(self) -> dict[int, Entry]:
    """Returns the last entry of each galaxy by objid.

    An incomplete last line, left by a killed run, is ignored.

    Raises:
      StagingError: if another line is not an entry.
    """
    entries: dict[int, Entry] = {}
    lines = files.read_lines(self.manifest_path)
    for number, line in enumerate(lines, start=1):
      try:
        entry = parse_entry(line)
      except ValueError as error:
        raise StagingError(
          f"{self.manifest_path}, line {number}: expected an entry, found "
          f"{line[:60]!r} ({error}). Delete that line and fetch again."
        ) from None
      entries[entry.objid] = entry
    return entries

  def has_image(self, entry: Entry) -> bool:
    """Whether an entry's image exists and is unchanged."""
    data = self.read_image(entry.objid)
    return hashlib.sha256(data).hexdigest() == entry.sha256

  def write_image(self, objid: int, data: bytes) -> None:
    """Writes a galaxy's image."""
    path = self.image_path(objid)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(path, data)

  def write_failed(self, entries: list[Entry]) -> None:
    """Writes failed.csv."""
    frame = pd.DataFrame(
      [dataclasses.asdict(entry) for entry in entries if not entry.is_image],
      columns=["objid", "reason", "permanent", "status", "detail", "url"],
    )
    frame["status"] = frame["status"].astype("Int64")
    text = frame.sort_values("objid").to_csv(index=False)
    files.write_atomically(self.failed_path, text.encode("utf-8"))

  @contextlib.contextmanager
  def open_manifest(self) -> Iterator[Callable[[Entry], None]]:
    """Opens the manifest; yields a function that appends an entry."""
    with files.open_lines(self.manifest_path) as append_line:
      yield lambda entry: append_line(
        json.dumps(dataclasses.asdict(entry)).encode()
      )
