"""The authors' ready-made images on Zenodo: record 14712542.

`images-sdss.tar.gz` and `galaxies.csv` of Wu (2025): the SDSS layer of the
Legacy Surveys' viewer, 160 x 160 pixels of 0.262 arcsec for every galaxy.
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
from tfds_sdss.fetch import http_answers
from tfds_sdss.fetch import http_client

BASE_URL = "https://zenodo.org"
RECORD = 14712542
ARCHIVE = "images-sdss.tar.gz"
CATALOG = "galaxies.csv"
SIZE = 160  # pixels


class File(NamedTuple):
  """A file of the record, as Zenodo describes it.

  Attributes:
    name: its name.
    url: where its content is.
    size: bytes.
    md5: digest in hexadecimal.
  """

  name: str
  url: yarl.URL
  size: int
  md5: str

  @property
  def version(self) -> str:
    """The address with the digest: what the manifest calls the origin."""
    return f"{self.url}?md5={self.md5}"


async def read_record(
  client: http_client.Client, base_url: str
) -> dict[str, File]:
  """Asks Zenodo for the record's files.

  Returns:
    {name: file} of the archive and the catalogue.

  Raises:
    FetchError: if the answer is not the record, or lacks one of the files.
  """
  url = yarl.URL(base_url) / f"api/records/{RECORD}"

  def judge(answer: http_answers.Answer) -> dict[str, File]:
    if answer.status != 200:
      raise http_answers.refusal(answer, str(url))
    try:
      return _files(answer.body)
    except (ValueError, KeyError, TypeError) as error:
      raise http_answers.TransientError(
        "not_a_record", f"{url}: expected Zenodo's record as JSON: {error!r}"
      ) from error

  try:
    files = await client.get(url, judge)
  except (http_answers.PermanentError, http_answers.TransientError) as error:
    raise http_answers.FetchError(f"Zenodo's record: {error}") from error
  absent = {ARCHIVE, CATALOG} - set(files)
  if absent:
    raise http_answers.FetchError(
      f"{url}: expected the files {ARCHIVE} and {CATALOG}, found "
      f"{', '.join(sorted(files))}. The record may have a newer version."
    )
  return files


def _files(body: bytes) -> dict[str, File]:
  files = {}
  for item in json.loads(body)["files"]:
    algorithm, _, digest = item["checksum"].partition(":")
    if algorithm != "md5":
      raise ValueError(f"a checksum of {algorithm}, expected md5")
    files[item["key"]] = File(
      item["key"], yarl.URL(item["links"]["self"]), int(item["size"]), digest
    )
  return files


async def download(
  client: http_client.Client, file: File, folder: pathlib.Path
) -> pathlib.Path:
  """Downloads a file of the record, unless it is there already.

  Raises:
    FetchError: if it can't be fetched or isn't what the record says.
  """
  path = folder / file.name
  folder.mkdir(parents=True, exist_ok=True)
  # Twice, since a piece left of another version would spoil the first.
  for _ in range(2):
    if not path.exists():
      try:
        await client.download(file.url, path, file.size)
      except (
        http_answers.PermanentError,
        http_answers.TransientError,
      ) as error:
        raise http_answers.FetchError(
          f"{file.name}: {error}. Give the same command again to go on."
        ) from error
    with path.open("rb") as opened:
      found = hashlib.file_digest(opened, "md5").hexdigest()
    if found == file.md5:
      return path
    path.unlink()
  raise http_answers.FetchError(
    f"{file.url}: expected MD5 {file.md5}, found {found}. Try again later."
  )


def read_catalog(path: pathlib.Path) -> pd.DataFrame:
  """Reads galaxies.csv as text, named as in `columns.COLUMNS`.

  Raises:
    DataError: if it is no CSV file.
  """
  try:
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
  except (ValueError, UnicodeDecodeError) as error:
    raise DataError(f"{path}: expected CSV: {error}") from error
  known = {name.lower(): name for name in columns.ZENODO}
  names = {name: known.get(name.lower()) for name in frame.columns}
  found = {name: ours for name, ours in names.items() if ours}
  return frame[list(found)].rename(columns=found)


def is_settled(
  entry: staging.Entry | None, origin: File, folder: staging.Staging
) -> bool:
  """Whether a galaxy's image has been taken out of this very archive."""
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
  """Takes the catalogue's images out of the archive.

  Only plain files named OBJID.jpg are read, and they are written where the
  staging folder wants them: no name in the archive becomes a path.

  Args:
    archive: the downloaded file.
    origin: what it is, for the manifest.
    objids: of the catalogue; images of others are passed over.
    folder: where images and manifest go.
    on_entry: called with each entry, after it has been written.

  Raises:
    FetchError: if the archive is damaged.
  """
  known = folder.read_manifest()
  left = set(objids)
  with folder.manifest() as manifest:

    def settle(entry: staging.Entry) -> None:
      if known.get(entry.objid) != entry:
        manifest.append(entry)
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
          settle(_unpack_one(packed, member, int(name.stem), url, folder))
    except (tarfile.TarError, EOFError, OSError) as error:
      if isinstance(error, OSError) and error.errno is not None:
        raise  # such as a full disk
      raise http_answers.FetchError(
        f"{archive} is damaged: {error}. Delete it and fetch again."
      ) from error
    for objid in sorted(left):
      settle(
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
  except (http_answers.PermanentError, http_answers.TransientError) as error:
    # The archive will not change, as a server may.
    return staging.Entry(
      objid, url, reason=error.reason, permanent=True, detail=str(error)
    )
  digest = hashlib.sha256(data).hexdigest()
  entry = staging.Entry(objid, url, sha256=digest, zeros=zeros)
  if not folder.has_image(entry):
    folder.write_image(objid, data)
  return entry
