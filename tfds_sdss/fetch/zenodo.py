"""Wu's (2025) images and catalogue on Zenodo, record 14712542.

The images come from the SDSS layer of the Legacy Surveys' viewer: 160 x 160
pixels of 0.262 arcsec for every galaxy.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import pathlib
import re
from typing import NamedTuple

import pandas as pd
import yarl

from tfds_sdss import columns
from tfds_sdss.errors import DataError
from tfds_sdss.fetch import http_client
from tfds_sdss.fetch import http_responses

BASE_URL = "https://zenodo.org"
RECORD = 14712542
ARCHIVE = "images-sdss.tar.gz"
CATALOG = "galaxies.csv"
SIZE = 160  # pixels
# Largest sizes of the two files, bytes.
MAX_SIZE = 1 << 40
_MAX_CATALOG = 1 << 30


class File(NamedTuple):
  """A file of the record, with its size in bytes."""

  name: str
  url: yarl.URL
  size: int
  md5: str

  @property
  def version(self) -> str:
    """Address and digest, which identify the archive in the manifest."""
    return f"{self.url}?md5={self.md5}"


async def read_record(
  client: http_client.Client, base_url: str
) -> dict[str, File]:
  """Returns the files of the record by name.

  Raises:
    FetchError: if the response is not the record, or if the archive or the
      catalogue is absent.
  """
  url = yarl.URL(base_url) / f"api/records/{RECORD}"

  def parse(response: http_responses.Response) -> dict[str, File]:
    if response.status != 200:
      raise http_responses.status_error(response, str(url))
    try:
      return parse_record(response.body)
    except DataError as error:
      raise http_responses.TransientError(
        "not_a_record", f"{url}: {error}"
      ) from error

  try:
    files = await client.get(url, parse)
  except http_responses.ResponseError as error:
    raise http_responses.FetchError(f"Zenodo's record: {error}") from error
  if not {ARCHIVE, CATALOG} <= set(files):
    raise http_responses.FetchError(
      f"{url}: expected the files {ARCHIVE} and {CATALOG}, found "
      f"{', '.join(sorted(files)) or 'none'}. The record may have a newer "
      "version."
    )
  if files[CATALOG].size > _MAX_CATALOG:
    raise http_responses.FetchError(
      f"{url}: expected at most {_MAX_CATALOG} bytes of {CATALOG}, found "
      f"{files[CATALOG].size}."
    )
  return files


def parse_record(body: bytes) -> dict[str, File]:
  """Returns the files of a record, which is JSON, by name.

  Raises:
    DataError: if it is not a record.
  """
  files = {}
  try:
    for item in json.loads(body)["files"]:
      algorithm, _, digest = item["checksum"].partition(":")
      if algorithm != "md5" or not re.fullmatch("[0-9a-f]{32}", digest):
        raise ValueError(f"expected an MD5 checksum, found {item['checksum']}")
      address = yarl.URL(item["links"]["self"])
      name, size = item["key"], item["size"]
      if type(name) is not str or type(size) is not int:
        raise TypeError(f"expected a name and a size, found {name}, {size}")
      if not (0 < size <= MAX_SIZE and address.host):
        raise ValueError(f"expected a size and an address, found {item}")
      files[name] = File(name, address, size, digest)
  # RecursionError: thousands of nested brackets.
  except (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
  ) as error:
    raise DataError(
      f"expected Zenodo's record as JSON: {repr(error)[:300]}"
    ) from error
  return files


async def download(
  client: http_client.Client, file: File, folder: pathlib.Path
) -> pathlib.Path:
  """Downloads a file of the record unless the folder contains it.

  Raises:
    FetchError: if the download fails or has another digest.
  """
  path = folder / file.name
  folder.mkdir(parents=True, exist_ok=True)
  # Two attempts, because the first may resume part of another version.
  for _ in range(2):
    if not path.exists():
      try:
        await client.download(file.url, path, file.size)
      except http_responses.ResponseError as error:
        raise http_responses.FetchError(
          f"{file.name}: {error}. Run the same command again to resume."
        ) from error
    with path.open("rb") as opened:
      found = hashlib.file_digest(opened, "md5").hexdigest()
    if found == file.md5:
      return path
    path.unlink()
  raise http_responses.FetchError(
    f"{file.url}: expected MD5 {file.md5}, found {found}. Run the same "
    "command again later."
  )


def parse_catalog(data: bytes) -> tuple[pd.DataFrame, list[str]]:
  """Parses galaxies.csv, whose columns may be in any order and case.

  Returns:
    The columns of `columns.ZENODO` that it has, as text; and the names of its
    other columns.

  Raises:
    DataError: if it is not CSV in UTF-8, has no rows, or a row does not have
      the fields of the header. More commas at the end of a row are accepted.
  """
  try:
    text = data.decode("utf-8-sig")
    if "\0" in text:
      raise ValueError("found a null character: the file is damaged")
    # newline=None: line ends of every system, an old Mac's included.
    reader = csv.reader(io.StringIO(text, newline=None))
    header = [name.strip() for name in next(reader, [])]
    known = {name.lower(): name for name in columns.ZENODO}
    names = [known.get(name.lower(), "") for name in header]
    used = [index for index, name in enumerate(names) if name]
    if len({names[index] for index in used}) < len(used):
      raise ValueError(f"found a column twice in {','.join(header)[:300]}")
    rows = []
    for row in reader:
      if not row:
        continue  # a blank line
      if len(row) < len(header) or any(row[len(header) :]):
        raise ValueError(
          f"expected {len(header)} fields in line {reader.line_num}, found "
          f"{len(row)}"
        )
      rows.append([row[index] for index in used])
    if not rows:
      raise ValueError("found no rows")
  except (ValueError, csv.Error) as error:
    raise DataError(
      f"{CATALOG}: expected a CSV file in UTF-8 with a header: {error}. The "
      "record has another form than expected. The paper's sample is at "
      "SkyServer: python -m tfds_sdss fetch --source=dr17"
    ) from error
  frame = pd.DataFrame(rows, columns=[names[i] for i in used], dtype=str)
  unknown = [
    name for name, column in zip(header, names, strict=True) if not column
  ]
  # They are shown in tables of Markdown.
  return frame, [
    re.sub(r"[^ -{}~]", "?", name)[:40] for name in unknown[:100] if name
  ]
