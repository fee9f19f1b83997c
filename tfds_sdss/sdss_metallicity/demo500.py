"""Reads the 500 real galaxies of the GitHub repository convnet-demo.

Wu & Boada published them with their demonstration. They are read from the
archive of one commit or from an unpacked folder, and compared with the SHA-256
digests in `demo500.sha256`.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator
import contextlib
import errno
import hashlib
import logging
import lzma
import pathlib
import socket
from typing import NamedTuple
import urllib.parse
import urllib.request
import zipfile
import zlib

import pandas as pd
import tqdm

from tfds_sdss import catalog
from tfds_sdss import images
from tfds_sdss import sample
from tfds_sdss import splits
from tfds_sdss.errors import DataError

COMMIT = "3469bbceb7d38b531ad16779d71f9f50627f76b6"
ARCHIVE_URL = f"https://github.com/jwuphysics/convnet-demo/archive/{COMMIT}.zip"
HASHES = pathlib.Path(__file__).with_name("demo500.sha256")

# Fraction of upstream's training set in the validation split.
VALIDATION_FRACTION = 0.2

# Errors of zipfile for an archive that is damaged, encrypted, or compressed by
# an unknown method.
ARCHIVE_ERRORS = (
  zipfile.BadZipFile,
  zlib.error,
  lzma.LZMAError,
  EOFError,
  RuntimeError,
)

# A file manager or a camera program may have renamed the images.
_SUFFIXES = (".jpg", ".JPG", ".jpeg", ".JPEG")

_log = logging.getLogger(__name__)

Root = pathlib.Path | zipfile.Path


class Upstream(NamedTuple):
  """A file that upstream published in `catalogs`, `train` or `test`."""

  folder: str
  sha256: str


def read_hashes() -> dict[str, Upstream]:
  """Returns {file name: folder and digest} of upstream's 502 files."""
  listed = {}
  for line in HASHES.read_text(encoding="ascii").splitlines():
    digest, path = line.split()
    folder, name = path.split("/")
    listed[name] = Upstream(folder, digest)
  return listed


def check_network(downloads: pathlib.Path) -> None:
  """Checks that the archive's host can be reached, unless TFDS has the archive.

  TFDS would repeat its attempts for three minutes.

  Args:
    downloads: folder of TFDS, with a file *.INFO for each download.

  Raises:
    OSError: if there is no network.
  """
  url = urllib.parse.urlsplit(ARCHIVE_URL)
  if urllib.request.getproxies() or any(
    ARCHIVE_URL in path.read_text(encoding="utf-8", errors="replace")
    for path in downloads.rglob("*.INFO")
  ):
    return
  port = url.port or (443 if url.scheme == "https" else 80)
  try:
    socket.create_connection((url.hostname, port), timeout=10).close()
  except OSError as error:
    raise OSError(f"no connection to {url.hostname}: {error}") from error


@contextlib.contextmanager
def open_archive(path: pathlib.Path) -> Iterator[zipfile.Path]:
  """Yields the top folder of GitHub's archive, without unpacking it.

  Raises:
    zipfile.BadZipFile: if the file is not a complete zip archive.
    DataError: if its top level is not exactly one folder.
  """
  with zipfile.ZipFile(path) as archive:
    top = list(zipfile.Path(archive).iterdir())
    if len(top) != 1 or not top[0].is_dir():
      found = sample.shorten_list(sorted(entry.name for entry in top))
      raise DataError(
        f"{path}: expected one folder at the top of the archive, found "
        f"{found}. Build again to download it again."
      )
    yield top[0]


def read(root: Root, complete: bool) -> dict[str, list[dict]]:
  """Reads and checks the galaxies.

  Args:
    root: folder with `catalogs/{train,test}.csv` and `{train,test}/OBJID.jpg`.
    complete: whether the catalogues must be upstream's. Otherwise they may list
      fewer galaxies or divide them differently. The images must always be
      upstream's.

  Returns:
    The examples {image, objid, oh_p50} of each split. `test` is the test
    catalogue. A hash of objID divides the training catalogue into `train` and
    `validation`, so that a galaxy's split does not depend on other galaxies.

  Raises:
    DataError: if a file is absent, differs from its digest or is not a valid
      catalogue, or if a galaxy is in both catalogues.
    ARCHIVE_ERRORS: if root is in an archive that is damaged.
  """
  try:
    return _read(root, complete)
  except OSError as error:
    # zipfile seeks to any position that a damaged archive names.
    if error.errno != errno.EINVAL or isinstance(root, pathlib.Path):
      raise
    raise zipfile.BadZipFile(f"a wrong position: {error}") from error


def _read(root: Root, complete: bool) -> dict[str, list[dict]]:
  listed = read_hashes()
  train = _read_catalog(root, "train", listed, complete)
  test = _read_catalog(root, "test", listed, complete)
  both = sorted(set(train.objid) & set(test.objid))
  if both:
    raise DataError(
      f"{root}: objID {sample.shorten_list(both)} is in both train.csv and "
      "test.csv of catalogs/. Keep each galaxy in one of them."
    )
  examples: dict[str, list[dict]] = {"train": [], "validation": []}
  for example in _read_images(root, "train", train, listed):
    fraction = splits.hash_fraction(example["objid"], "validation")
    split = "validation" if fraction < VALIDATION_FRACTION else "train"
    examples[split].append(example)
  examples["test"] = _read_images(root, "test", test, listed)
  return examples


def _read_catalog(
  root: Root, name: str, listed: dict[str, Upstream], complete: bool
) -> pd.DataFrame:
  """Reads `catalogs/NAME.csv` and logs how it differs from upstream's."""
  file = f"{name}.csv"
  data = _read_file(root, f"catalogs/{file}")
  if complete:
    _check_hash(file, data, listed)
  frame = catalog.read_catalog(root / "catalogs" / file)
  if hashlib.sha256(data).hexdigest() != listed[file].sha256:
    folders = collections.Counter(
      listed[image].folder
      for objid in frame.objid
      if (image := f"{objid}.jpg") in listed
    )
    _log.warning(
      "catalogs/%s differs from upstream's: it has %d galaxies, of which "
      "upstream has %d in train and %d in test",
      *(file, len(frame), folders["train"], folders["test"]),
    )
  return frame


def _read_images(
  root: Root, name: str, frame: pd.DataFrame, listed: dict[str, Upstream]
) -> list[dict]:
  """Returns the examples of one folder, in the catalogue's order."""
  folder = root / name
  files = {
    objid: next(
      (file for file in _names(objid) if (folder / file).is_file()), None
    )
    for objid in frame.objid.tolist()
  }
  absent = [objid for objid, file in files.items() if file is None]
  if absent:
    raise DataError(
      f"{folder}: expected one OBJID.jpg for each row of catalogs/{name}.csv, "
      f"found none for objID {sample.shorten_list(absent)}. Fetch these "
      "images, or remove the rows."
    )
  examples = []
  for objid, oh_p50 in tqdm.tqdm(
    list(zip(frame.objid.tolist(), frame.oh_p50.tolist(), strict=True)),
    desc=f"Checking {name}",
    unit=" images",
    disable=None,
  ):
    image = _read_file(root, f"{name}/{files[objid]}")
    _check_hash(f"{objid}.jpg", image, listed)
    examples.append({"objid": objid, "oh_p50": oh_p50, "image": image})
  return examples


def _names(objid: int) -> list[str]:
  return [f"{objid}{suffix}" for suffix in _SUFFIXES]


def _read_file(root: Root, path: str) -> bytes:
  """Reads a small file; the limit stops a zip bomb."""
  if not (root / path).is_file():
    raise DataError(
      f"{root}: expected a file {path}, found none. The folder must contain "
      "catalogs/{train,test}.csv, train/OBJID.jpg and test/OBJID.jpg."
    )
  with (root / path).open("rb") as file:
    data = file.read(images.MAX_BYTES + 1)
  if len(data) > images.MAX_BYTES:
    raise DataError(
      f"{root}: {path} has more than the {images.MAX_BYTES} bytes allowed. "
      "Delete it and fetch it again."
    )
  return data


def _check_hash(file: str, data: bytes, listed: dict[str, Upstream]) -> None:
  """Compares a file with upstream's file of the same name, if there is one."""
  found = hashlib.sha256(data).hexdigest()
  if file in listed and found != listed[file].sha256:
    raise DataError(
      f"{file}: expected SHA-256 {listed[file].sha256}, found {found}. The "
      "file differs from upstream's: fetch it again."
    )
