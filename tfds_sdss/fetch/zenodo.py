"""Wu's (2025) images and catalogue on Zenodo, record 14712542.

The images come from the SDSS layer of the Legacy Surveys' viewer: 160 x 160
pixels of 0.262 arcsec for every galaxy.
"""

from __future__ import annotations

from collections.abc import Callable
import hashlib
import io
import json
import pathlib
import tarfile
from typing import NamedTuple

import pandas as pd
import yarl

from tfds_sdss import columns
from tfds_sdss import images
from tfds_sdss import staging
from tfds_sdss.errors import DataError
from tfds_sdss.fetch import cutouts
from tfds_sdss.fetch import http_client
from tfds_sdss.fetch import http_responses

BASE_URL = "https://zenodo.org"
RECORD = 14712542
ARCHIVE = "images-sdss.tar.gz"
CATALOG = "galaxies.csv"
SIZE = 160  # pixels


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
    files = {}
    try:
      for item in json.loads(response.body)["files"]:
        algorithm, _, digest = item["checksum"].partition(":")
        if algorithm != "md5":
          raise ValueError(f"expected an MD5 checksum, found {algorithm}")
        address = yarl.URL(item["links"]["self"])
        name, size = item["key"], int(item["size"])
        files[name] = File(name, address, size, digest)
    except (ValueError, KeyError, TypeError) as error:
      raise http_responses.TransientError(
        "not_a_record", f"{url}: expected Zenodo's record as JSON: {error!r}"
      ) from error
    return files

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


def read_catalog(path: pathlib.Path) -> pd.DataFrame:
  """Reads galaxies.csv as text, with the names of `columns.COLUMNS`.

  Raises:
    DataError: if it is not a CSV file.
  """
  try:
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
  except (ValueError, UnicodeDecodeError) as error:
    raise DataError(f"{path}: expected CSV: {error}") from error
  names = {name.lower(): name for name in columns.ZENODO}
  frame = frame[[name for name in frame.columns if name.lower() in names]]
  return frame.rename(columns=lambda name: names[name.lower()])


def is_finished(
  entry: staging.Entry | None, origin: File, folder: staging.Staging
) -> bool:
  """Whether an earlier run has processed a galaxy of the same archive."""
  if entry is None or entry.url.partition("#")[0] != origin.version:
    return False
  return not entry.is_image or folder.has_image(entry)


def unpack(
  archive: pathlib.Path,
  origin: File,
  objids: set[int],
  folder: staging.Staging,
  on_entry: Callable[[staging.Entry], None],
) -> None:
  """Unpacks the images of `objids`, and calls `on_entry` with each entry.

  Only regular files called OBJID.jpg are read. The staging folder determines
  their paths: no name in the archive becomes a path.

  Raises:
    FetchError: if the archive is damaged.
  """
  known = folder.read_manifest()
  left = set(objids)
  with folder.open_manifest() as append:

    def record(entry: staging.Entry) -> None:
      if known.get(entry.objid) != entry:
        append(entry)
      left.discard(entry.objid)
      on_entry(entry)

    try:
      with tarfile.open(archive, "r|gz") as packed:
        for member in packed:
          name = pathlib.PurePosixPath(member.name)
          if not member.isreg() or name.suffix != ".jpg":
            continue
          if not name.stem.isdecimal() or int(name.stem) not in left:
            continue
          url = f"{origin.version}#{name.name}"
          record(_unpack_one(packed, member, int(name.stem), url, folder))
    except (tarfile.TarError, EOFError, OSError) as error:
      if isinstance(error, OSError) and error.errno is not None:
        raise  # from the operating system, such as a full disk
      raise http_responses.FetchError(
        f"{archive} is damaged: {error}. Delete it and run the same command "
        "again."
      ) from error
    for objid in sorted(left):
      record(
        staging.Entry(
          objid,
          origin.version,
          reason="not_in_archive",
          permanent=True,
          detail=f"no {objid}.jpg in {ARCHIVE}",
        )
      )


def _unpack_one(
  packed: tarfile.TarFile,
  member: tarfile.TarInfo,
  objid: int,
  url: str,
  folder: staging.Staging,
) -> staging.Entry:
  file = packed.extractfile(member) or io.BytesIO()
  data = file.read(images.MAX_BYTES + 1)
  try:
    zeros = cutouts.check_image(objid, data, SIZE)
  except http_responses.ResponseError as error:
    # Always permanent: unlike a server, the archive does not change.
    return staging.Entry(
      objid, url, reason=error.reason, permanent=True, detail=str(error)
    )
  digest = hashlib.sha256(data).hexdigest()
  entry = staging.Entry(objid, url, sha256=digest, zeros=zeros)
  if not folder.has_image(entry):
    folder.write_image(objid, data)
  return entry
