"""Reads the galaxies of a staging folder and divides them into splits."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import logging
import pathlib
from typing import Any

import numpy as np
import pandas as pd

from tfds_sdss import columns
from tfds_sdss import images
from tfds_sdss import shards
from tfds_sdss import splits
from tfds_sdss import staging
from tfds_sdss.errors import DataError

# Required columns of a Zenodo catalogue; the others may be absent.
_REQUIRED = ("objid", "oh_p50", "sky_group")
# Reason for a missing image that the fetch has not requested yet.
NOT_FETCHED = "not_fetched"
# Catalogue of a built sample.
CATALOG = "catalog.parquet"

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Sample:
  """Galaxies of a staging folder, or of a catalogue of one's own.

  Attributes:
    name: `dr17`, `dr14`, `zenodo`, or the user's name.
    frame: galaxies with an image, in the order of the shards: the columns of
      the catalogue and those of `columns.DERIVED`.
    num_requested: number of rows in the staged catalogue.
    lost: number of galaxies without an image, by reason.
    cleaning: counts of the rows that the fetch dropped from the catalogue.
    out_of_range: number of values in the staged catalogue outside the valid
      range of their column, by column. They are missing in `frame`.
    described: descriptions of the columns, by name.
    pixel_scale: scale of all images as they were requested, arcsec; None if it
      differs or is unknown.
  """

  name: str
  frame: pd.DataFrame
  num_requested: int
  lost: collections.Counter[str]
  cleaning: dict[str, Any]
  out_of_range: dict[str, int] = dataclasses.field(default_factory=dict)
  described: Mapping[str, columns.Column] = dataclasses.field(
    default_factory=lambda: columns.BY_NAME
  )
  pixel_scale: float | None = None

  def first(self, number: int | None) -> Sample:
    """Returns up to `number` galaxies per split; None for all."""
    if number is None:
      return self
    frame = self.frame.groupby("split", sort=False).head(number)
    return dataclasses.replace(self, frame=frame.reset_index(drop=True))


def read(
  root: str | pathlib.Path,
  name: str,
  names: Sequence[str],
  size: int,
  max_loss: float,
) -> Sample:
  """Reads the catalogue and the manifest of a staging folder.

  Args:
    root: staging folder.
    name: sample, which must be the source of the folder.
    names: columns of the sample.
    size: width and height of its images, pixels.
    max_loss: largest accepted fraction of galaxies without an image.

  Raises:
    DataError: if the folder is absent, damaged or of another source, a column
      is absent, an objID is repeated, or too many galaxies lack an image.
  """
  folder = staging.Staging(root)
  source = folder.read_source()
  for key, expected in (("source", name), ("image_size", size)):
    if source.get(key) != expected:
      raise staging.StagingError(
        f"{folder.root}/source.json: expected {key} {expected}, found "
        f"{source.get(key)}. Build the sample that was fetched, or fetch into "
        "another folder: "
        f"python -m tfds_sdss fetch --source={name} --out=STAGING"
      )
  frame, out_of_range = _read_columns(folder, name, names)
  entries = folder.read_manifest()
  found = [entries.get(objid) for objid in frame["objid"].tolist()]
  lost = collections.Counter(
    entry.reason if entry else NOT_FETCHED
    for entry in found
    if entry is None or not entry.is_image
  )
  _check_loss(
    lost,
    len(frame),
    max_loss,
    f"python -m tfds_sdss fetch --source={name} --out={folder.root}",
  )
  frame["image_sha256"] = [
    entry.sha256 if entry and entry.is_image else "" for entry in found
  ]
  frame["black_fraction"] = np.array(
    [entry.zeros if entry else None for entry in found], np.float32
  )
  complete = frame[frame["image_sha256"] != ""]
  _check_copies(complete, folder.root, name)
  counts = len(complete), len(frame)
  _log.info("%s: %d of %d galaxies have an image", folder.root, *counts)
  if out_of_range:
    _log.warning(
      "%s: values outside the range of their column are missing: %s",
      folder.catalog_path,
      ", ".join(f"{count} {column}" for column, count in out_of_range.items()),
    )
  report = source.get("report", {})
  return Sample(
    name,
    assign_splits(complete),
    len(frame),
    lost,
    report,
    out_of_range,
    pixel_scale=staging.common_scale(entries.values()),
  )


def _read_columns(
  folder: staging.Staging, name: str, names: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, int]]:
  """Returns `names` and sky_group, and the number of values out of range."""
  frame = folder.read_catalog()
  remedy = "Delete it and repeat the fetch command, which keeps the images."
  required = _REQUIRED if name == "zenodo" else (*names, "sky_group")
  absent = [column for column in required if column not in frame]
  if absent:
    raise staging.StagingError(
      f"{folder.catalog_path}: expected the columns {', '.join(absent)}, found "
      f"{', '.join(frame)}. {remedy}"
    )
  missing = {n: columns.BY_NAME[n].missing for n in names if n not in frame}
  frame = frame.assign(**missing)[[*names, "sky_group"]]
  out_of_range = {}
  for column in frame:
    dtype = columns.BY_NAME[column].dtype if column in names else np.int64
    found = frame[column].dtype
    # A float may have lost the last digits of an id.
    is_integer = np.issubdtype(dtype, np.integer)
    if found.kind not in ("i" if is_integer else "iuf"):
      expected = "integers" if is_integer else "numbers"
      raise staging.StagingError(
        f"{folder.catalog_path}: expected {expected} in {column}, found "
        f"{found}. {remedy}"
      )
    if column in names and column not in _REQUIRED:
      frame[column], number = _without_outliers(column, frame[column])
      if number:
        out_of_range[column] = number
    frame[column] = frame[column].astype(dtype)
  repeated = frame["objid"][frame["objid"].duplicated()].tolist()
  if repeated:
    raise DataError(
      f"{folder.catalog_path}: objID {shorten_list(repeated)} is repeated. "
      f"{remedy}"
    )
  return frame, out_of_range


def _without_outliers(name: str, values: pd.Series) -> tuple[pd.Series, int]:
  """Replaces values out of range by the missing value, and counts them."""
  column = columns.BY_NAME[name]
  is_valid = columns.in_range(name, values.to_numpy())
  is_missing = values.isna() | (values == column.missing)
  number = int((~is_valid & ~is_missing).sum())
  return values.where(is_valid, column.missing), number


def _check_loss(
  lost: collections.Counter[str], total: int, max_loss: float, command: str
) -> None:
  reasons = ", ".join(f"{count} {name}" for name, count in lost.most_common())
  found = f"{lost.total()} of {total} galaxies have no image"
  if lost.total() == total:
    found += f" ({reasons})" if reasons else ""
    raise DataError(f"{found}; expected some with one. Fetch them: {command}")
  if lost.total() > max_loss * total:
    raise DataError(
      f"{found} ({reasons}), more than the {max_loss:.1%} allowed. Fetch them: "
      f"{command} . Or build without them, with a larger --max_loss."
    )


def _check_copies(frame: pd.DataFrame, root: pathlib.Path, name: str) -> None:
  """Raises DataError if many galaxies have the same image."""
  objids = frame["objid"].tolist()
  groups = frame["sky_group"].tolist()
  copies = images.Copies(dict(zip(objids, groups, strict=True)))
  for objid, digest in zip(objids, frame["image_sha256"], strict=True):
    copies.add(objid, digest)
  same = frame["objid"][frame["image_sha256"].isin(copies.refused())].tolist()
  if same:
    raise DataError(
      f"{root}: expected an image of each galaxy, found the same one for "
      f"{len(same)} galaxies: objID {shorten_list(same)}. Fetch them again: "
      f"python -m tfds_sdss fetch --source={name} --out={root}"
    )


def assign_splits(frame: pd.DataFrame) -> pd.DataFrame:
  """Adds `split` and `fold` and sorts the galaxies into the shards' order.

  The galaxies of a sky group, mostly one galaxy observed twice, are in one
  split and one fold.
  """
  frame = frame.assign(
    split=frame["sky_group"].map(splits.split_of).astype("str"),
    fold=frame["sky_group"].map(splits.fold_of).astype(np.int64),
  )
  order = list(splits.SPLIT_PARTS)
  keys = [
    (order.index(split), *shards.sort_key(objid))
    for split, objid in zip(frame["split"], frame["objid"], strict=True)
  ]
  ranks = sorted(range(len(keys)), key=keys.__getitem__)
  return frame.iloc[ranks].reset_index(drop=True)


def shorten_list(items: Sequence[object]) -> str:
  """Returns up to ten items as text, and the number of further ones."""
  rest = f" and {len(items) - 10} more" if len(items) > 10 else ""
  return ", ".join(str(item) for item in items[:10]) + rest
