"""Checks the images of a user's catalogue."""

from __future__ import annotations

import collections
import concurrent.futures
import hashlib
import os
import pathlib
from typing import NamedTuple

import numpy as np
import pandas as pd
import tqdm

from tfds_sdss import images
from tfds_sdss.errors import DataError

# A name without one of these is also looked up with each.
_SUFFIXES = ("", ".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
# A header may promise images that do not fit into memory.
_MAX_SIZE = 8192
_NUM_NAMED = 10


class _Image(NamedTuple):
  """One image: its file in the folder, or the reason why it is none."""

  file: str
  sha256: str = ""
  black: float = np.nan
  size: int = 0
  png: bool = False
  reason: str = ""


class Checked(NamedTuple):
  """Result of `check`.

  Attributes:
    frame: galaxies with an image, with `image_file` as found, `image_sha256`
      and `black_fraction`.
    lost: number of the other galaxies, by reason.
    size: width and height of the images, pixels: those of most of them.
    png: whether some images are PNG files.
  """

  frame: pd.DataFrame
  lost: collections.Counter[str]
  size: int
  png: bool


def read(root: pathlib.Path, file: str) -> bytes:
  """Returns an image; empty if it cannot be read."""
  try:
    return (root / file).read_bytes()
  except OSError:
    return b""


def check(root: pathlib.Path, frame: pd.DataFrame, max_loss: float) -> Checked:
  """Reads and decodes all images.

  Args:
    root: folder of the images.
    frame: `objid`, `sky_group` and `image_file`, a path in `root`; the suffix
      may be missing.
    max_loss: largest accepted fraction of galaxies without an image.

  Raises:
    DataError: if too many galaxies have no usable image.
  """
  if not root.is_dir():
    raise DataError(f"--images={root}: expected a folder, found none.")
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    found = list(
      tqdm.tqdm(
        pool.map(
          lambda pair: _check(root, *pair),
          zip(frame["objid"].tolist(), frame["image_file"], strict=True),
        ),
        total=len(frame),
        desc="Checking images",
        unit=" images",
        disable=None,
      )
    )
  sizes = collections.Counter(image.size for image in found if image.size)
  # In a tie the smaller size, whatever the order of the catalogue.
  size = min(sizes, key=lambda size: (-sizes[size], size), default=0)
  copies = images.Copies(
    dict(zip(frame["objid"], frame["sky_group"], strict=True))
  )
  for objid, image in zip(frame["objid"], found, strict=True):
    if image.sha256:
      copies.add(objid, image.sha256)
  refused = copies.refused()
  reasons = [_reason(image, size, refused) for image in found]
  lost: dict[str, list[str]] = collections.defaultdict(list)
  for file, reason in zip(frame["image_file"], reasons, strict=True):
    if reason:
      lost[reason].append(" ".join(file.split()) or "no name")
  _check_loss(root, lost, len(frame), max_loss)
  frame = frame.assign(
    image_file=[image.file for image in found],
    image_sha256=[image.sha256 for image in found],
    black_fraction=np.array([image.black for image in found], np.float32),
  )
  counts = {reason: len(files) for reason, files in lost.items()}
  is_good = np.array([not reason for reason in reasons])
  png = any(i.png and not r for i, r in zip(found, reasons, strict=True))
  return Checked(frame[is_good], collections.Counter(counts), size, png)


def _check(root: pathlib.Path, objid: int, name: str) -> _Image:
  file = locate(root, name)
  data = read(root, file)
  if not file:
    return _Image(name, reason="no such file")
  try:
    width, height = images.size_of(data)
  except ValueError as error:
    return _Image(file, reason=f"found {error}")
  if width != height or width > _MAX_SIZE:
    fault = "not square" if width != height else "too large"
    return _Image(file, reason=f"{fault}: {width} x {height} pixels")
  try:
    pixels = images.decode(objid, data, width, png=True)
  except images.ImageError as error:
    # Without the details in brackets, which differ from file to file.
    return _Image(file, reason=f"found {error.found.partition(' (')[0]}")
  digest = hashlib.sha256(data).hexdigest()
  reason = "one colour only" if images.is_one_colour(pixels) else ""
  black = images.black_fraction(pixels)
  is_png = images.is_png(data)
  return _Image(file, digest, black, width, is_png, reason)


def locate(root: pathlib.Path, name: str) -> str:
  """Returns the path in a folder of a name, whose suffix may be missing.

  It is empty if there is no such file, or the name leads out of the folder.
  """
  if not name or "\0" in name or ".." in pathlib.PurePath(name).parts:
    return ""
  if pathlib.PurePath(name).is_absolute():
    return ""
  files = (f"{name}{suffix}" for suffix in _SUFFIXES)
  return next((file for file in files if (root / file).is_file()), "")


def _reason(image: _Image, size: int, refused: set[str]) -> str:
  if image.reason:
    return image.reason
  if image.size != size:
    return f"not {size} pixels wide, as most are, but {image.size}"
  if image.sha256 in refused:
    return f"the same image as more than {images.MAX_COPIES - 1} others"
  return ""


def _check_loss(
  root: pathlib.Path, lost: dict[str, list[str]], total: int, max_loss: float
) -> None:
  number = sum(map(len, lost.values()))
  # A folder without any image is refused even if max_loss is 1.
  if number <= max_loss * total and number < total:
    return
  remaining = _NUM_NAMED
  parts = []
  for reason, files in sorted(lost.items(), key=lambda item: -len(item[1])):
    named = files[:remaining]
    remaining -= len(named)
    more = ", ..." if named and len(files) > len(named) else ""
    names = f" ({', '.join(named)}{more})" if named else ""
    parts.append(f"{len(files)} {reason}{names}")
  advice = (
    " Or build without them, with a larger --max_loss."
    if number < total
    else ""
  )
  raise DataError(
    f"{number} of {total} galaxies have no usable image in {root}, more than "
    f"the {max_loss:.1%} allowed: {'; '.join(parts)}. Expected RGB images, "
    "JPEG or PNG of 8 bits, square and of one size. Correct "
    f"them.{advice}"
  )
