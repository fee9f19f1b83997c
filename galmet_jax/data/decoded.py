"""Decoded splits on the disk, so that they are decoded once.

They lie in CACHE/decoded/NAME-DIGEST, with 49 kB for a galaxy of 128×128
pixels: 7 GB for 142,000. Any of these folders may be deleted at any time.
"""

from collections.abc import Iterable
from collections.abc import Mapping
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import pathlib
import shutil
import tempfile
import time
from typing import Any

import numpy as np
import simplejpeg
import tensorflow_datasets as tfds

SPLITS = ("train", "validation", "test")
_MANIFEST = "manifest.json"
# To be raised when other arrays are made of the same records.
_FORMAT = 1
# What is being written for longer has been left behind by a killed process.
_DAY = 86_400


@dataclasses.dataclass(frozen=True)
class Galaxies:
  """What there is of a split, whatever the config; in order of objid.

  Attributes:
    objid: int64 `[N]`.
    images: uint8 `[N, S, S, 3]`; from the disk it cannot be written to.
    columns: all of the catalogue, float32 `[N]` each.
  """

  objid: np.ndarray
  images: np.ndarray
  columns: Mapping[str, np.ndarray]


def folder(
  cache: pathlib.Path, builder: tfds.core.DatasetBuilder
) -> pathlib.Path:
  """Returns where the decoded splits of a data set belong.

  Args:
    cache: see `caches.directory`.
    builder: the prepared data set. Its shards are read for their digest: the
      same name and version may have been built from other galaxies.
  """
  files = [pathlib.Path(builder.data_dir) / "features.json"]
  for split in SPLITS:
    files += map(pathlib.Path, builder.info.splits[split].filepaths)
  digests = _digests(files)
  # Another decoder may give other pixels.
  made_by = f"{_FORMAT} simplejpeg {simplejpeg.__version__}"
  lines = [made_by, *(f"{digests[path]} {path.name}" for path in files)]
  digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
  name = builder.info.full_name.replace("/", "-")
  return cache / "decoded" / f"{name}-{digest}"


def read(kept: pathlib.Path) -> dict[str, Galaxies] | None:
  """Reads decoded splits, after a check of every byte.

  Args:
    kept: their `folder`.

  Returns:
    The splits by name; None if there are none. Damaged ones are deleted, which
    is told in a line.
  """
  if not kept.is_dir():
    return None
  try:
    expected = json.loads((kept / _MANIFEST).read_text())
    paths = {name: kept / name for name in _names()}
    found = _digests(paths.values())
    for name, path in paths.items():
      if found[path] != expected[name]:
        raise ValueError(
          f"{name}: expected SHA-256 {expected[name]}, found {found[path]}"
        )
    return {split: _read_split(kept, split) for split in SPLITS}
  except (OSError, ValueError, LookupError, TypeError) as error:
    print(f"{kept} is damaged ({error!r}): decoding again.", flush=True)
    shutil.rmtree(kept, ignore_errors=True)
    return None


def write(kept: pathlib.Path, splits: Mapping[str, Galaxies]) -> None:
  """Writes decoded splits, whole or not at all.

  A disk that is full, or cannot be written, is told in a line.

  Args:
    kept: their `folder`.
    splits: by name.
  """
  parent = kept.parent
  try:
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _sweep(parent)
    with tempfile.TemporaryDirectory(
      dir=parent, suffix=".partial", ignore_cleanup_errors=True
    ) as temporary:
      whole = pathlib.Path(temporary) / kept.name
      whole.mkdir()
      for name, split in splits.items():
        np.save(whole / f"{name}-images.npy", split.images)
        columns: dict[str, Any] = {"objid": split.objid, **split.columns}
        np.savez(whole / f"{name}-columns.npz", **columns)
      digests = _digests(whole / name for name in _names())
      manifest = {path.name: digest for path, digest in digests.items()}
      (whole / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
      size = sum(path.stat().st_size for path in whole.iterdir())
      whole.rename(kept)
  except OSError as error:
    # Another process may have been quicker.
    if not kept.is_dir():
      print(f"The decoded images cannot be kept: {error}.", flush=True)
    return
  print(
    f"The decoded images are kept in {kept} ({size / 1e9:.1f} GB).", flush=True
  )


def _sweep(parent: pathlib.Path) -> None:
  """Deletes what a killed process has left half-written."""
  for left in parent.glob("*.partial"):
    # Another process may be sweeping too.
    with contextlib.suppress(FileNotFoundError):
      if time.time() - left.stat().st_mtime > _DAY:
        shutil.rmtree(left)


def _names() -> list[str]:
  parts = ("images.npy", "columns.npz")
  return [f"{split}-{part}" for split in SPLITS for part in parts]


def _read_split(kept: pathlib.Path, split: str) -> Galaxies:
  with np.load(kept / f"{split}-columns.npz") as arrays:
    columns = dict(arrays)
  images = np.load(kept / f"{split}-images.npy", mmap_mode="r")
  return Galaxies(columns.pop("objid"), np.asarray(images), columns)


def _digests(paths: Iterable[pathlib.Path]) -> dict[pathlib.Path, str]:
  """Returns the SHA-256 of each file."""

  def digest(path: pathlib.Path) -> str:
    with path.open("rb") as file:
      return hashlib.file_digest(file, "sha256").hexdigest()

  paths = list(paths)
  # Hashing is done without Python's lock.
  with concurrent.futures.ThreadPoolExecutor() as pool:
    return dict(zip(paths, pool.map(digest, paths), strict=True))
