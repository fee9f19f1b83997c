"""From a staging folder to the galaxies of a sample, and to their examples."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import hashlib
import logging
import pathlib
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from tfds_sdss import columns
from tfds_sdss import shards
from tfds_sdss import splits
from tfds_sdss import staging
from tfds_sdss.errors import DataError

# What a catalogue must have; of the others, Zenodo's may lack some.
_REQUIRED = ("objid", "oh_p50", "sky_group")
# The reason of a galaxy which the fetch has not come to.
NOT_FETCHED = "not_fetched"
# The catalogue in the built folder.
CATALOG = "catalog.parquet"

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Sample:
  """The galaxies of a staging folder.

  Attributes:
    name: `dr17`, `dr14` or `zenodo`.
    frame: those with an image, in the order in which they are stored: the
      catalogue's columns and those of `columns.DERIVED`.
    num_asked: number of rows of the staged catalogue.
    lost: number of galaxies without an image, by reason.
    cleaning: counts of what the fetch did to the catalogue.
  """

  name: str
  frame: pd.DataFrame
  num_asked: int
  lost: collections.Counter[str]
  cleaning: dict[str, Any]

  def first(self, number: int | None) -> Sample:
    """Returns it with up to so many galaxies per split; None for all."""
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
  """Reads a staging folder's catalogue and what became of each image.

  Args:
    root: the staging folder.
    name: the sample, which has to be the folder's source.
    names: columns of the sample.
    size: width and height of its images, pixels.
    max_loss: largest part of the galaxies that may lack an image.

  Raises:
    DataError: if the folder is absent, damaged or of another source, a column
      is absent, an objID comes twice, or too many galaxies lack an image.
  """
  folder = staging.Staging(root)
  source = folder.read_source()
  command = f"python -m tfds_sdss fetch --source={name} --out={folder.root}"
  if source.get("source") != name:
    found = source.get("source")
    raise staging.StagingError(
      f"{folder.root}: expected galaxies of the source {name}, found {found}. "
      f"Build sdss_metallicity/{found}, or fetch {name} into another folder: "
      f"python -m tfds_sdss fetch --source={name} --out=STAGING"
    )
  if source.get("image_size") != size:
    raise staging.StagingError(
      f"{folder.root}: expected images of {size} pixels, found "
      f"{source.get('image_size')}. Fetch into another folder: "
      f"python -m tfds_sdss fetch --source={name} --out=STAGING"
    )
  frame = _columns(folder, name, names)
  entries = folder.read_manifest()
  lost: collections.Counter[str] = collections.Counter()
  digests, black = [], []
  for objid in frame["objid"].tolist():
    entry = entries.get(objid)
    if entry is None or not entry.is_image:
      lost[entry.reason if entry else NOT_FETCHED] += 1
    digests.append(entry.sha256 if entry and entry.is_image else "")
    black.append(np.nan if entry is None else entry.zeros)
  num_asked = len(frame)
  _check_loss(lost, num_asked, max_loss, command)
  frame["image_sha256"] = digests
  frame["black_fraction"] = np.array(black, np.float32)
  frame = frame[frame["image_sha256"] != ""]
  _log.info(
    "%s: %d galaxies, %d of them with an image",
    *(folder.root, num_asked, len(frame)),
  )
  cleaning = source.get("report") or {}
  return Sample(name, _divide(frame), num_asked, lost, cleaning)


def _columns(
  folder: staging.Staging, name: str, names: Sequence[str]
) -> pd.DataFrame:
  """Returns the staged catalogue with exactly the sample's columns."""
  frame = folder.read_catalog()
  required = _REQUIRED if name == "zenodo" else (*names, "sky_group")
  absent = [column for column in required if column not in frame]
  if absent:
    raise staging.StagingError(
      f"{folder.catalog_path}: expected the columns {', '.join(absent)}, found "
      f"{', '.join(frame)}. Delete it and give the fetch command again; the "
      "images that are there are kept."
    )
  frame = frame.reindex(columns=[*names, "sky_group"])
  for column in frame:
    dtype = columns.BY_NAME[column].dtype if column in names else np.int64
    found = frame[column].dtype
    if np.issubdtype(dtype, np.integer) and found.kind != "i":
      raise staging.StagingError(
        f"{folder.catalog_path}: expected integers in {column}, found {found}. "
        "Ids that went through a float are lost: fetch the catalogue again."
      )
    frame[column] = frame[column].astype(dtype)
  twice = frame["objid"][frame["objid"].duplicated()].tolist()
  if twice:
    raise DataError(
      f"{folder.catalog_path}: objID {shorten_list(twice)} comes twice. "
      "Delete the "
      "file and give the fetch command again; the images are kept."
    )
  return frame


def _check_loss(
  lost: collections.Counter[str], total: int, max_loss: float, command: str
) -> None:
  # A folder without any image makes no sample, whatever may be lost.
  if lost.total() <= max_loss * total and lost.total() < total:
    return
  reasons = ", ".join(f"{count} {name}" for name, count in lost.most_common())
  raise DataError(
    f"{lost.total()} of {total} galaxies have no image ({reasons or 'none'}), "
    f"more than the {max_loss:.1%} allowed. Fetch them: {command} . Or, if the "
    "sample may lack them, build with a larger --max_loss."
  )


def _divide(frame: pd.DataFrame) -> pd.DataFrame:
  """Adds `split` and `fold`, and puts the galaxies in the order of storage.

  Galaxies at one position of the sky, mostly one galaxy observed twice, share
  their split and their fold.
  """
  groups = dict.fromkeys(frame["sky_group"].tolist())
  split_of = {group: splits.split_of(group) for group in groups}
  folds = {group: splits.fold_of(group) for group in groups}
  frame = frame.assign(
    split=frame["sky_group"].map(split_of).astype("str"),
    fold=frame["sky_group"].map(folds).astype(np.int64),
  )
  order = {name: number for number, name in enumerate(splits.SPLIT_PARTS)}
  keys = [
    (order[split], *shards.sort_key(objid))
    for split, objid in zip(frame["split"], frame["objid"], strict=True)
  ]
  ranks = sorted(range(len(keys)), key=keys.__getitem__)
  return frame.iloc[ranks].reset_index(drop=True)


@dataclasses.dataclass(frozen=True)
class Examples:
  """Examples of a staging folder: rows of the built set's catalogue.

  Attributes:
    catalog_path: catalog.parquet in the folder that is being built.
    root: the staging folder.
    start: first row.
    stop: the row after the last one.
  """

  catalog_path: str
  root: str
  start: int
  stop: int

  def __len__(self) -> int:
    return self.stop - self.start

  def part(self, start: int, stop: int) -> Examples:
    """Returns the examples from start to stop."""
    return dataclasses.replace(
      self, start=self.start + start, stop=self.start + stop
    )

  def examples(self) -> Iterator[dict[str, Any]]:
    """Yields the galaxies, after all their images have been compared.

    Raises:
      DataError: if an image is not there or not the one of the manifest.
    """
    table = pq.read_table(self.catalog_path).slice(self.start, len(self))
    frame = table.to_pandas()
    folder = staging.Staging(self.root)
    data, damaged = [], []
    for objid, digest in zip(
      frame["objid"].tolist(), frame["image_sha256"].tolist(), strict=True
    ):
      image = folder.read_image(objid)
      if hashlib.sha256(image).hexdigest() != digest:
        damaged.append(objid)
      data.append(image)
    if damaged:
      raise DataError(
        f"{folder.root}: the images of objID {shorten_list(damaged)} are gone "
        "or not "
        "the ones that were fetched (SHA-256 in manifest.jsonl). Run fetch "
        "again: it fetches just these."
      )
    # Lists of Python's own numbers, which protobuf takes fastest.
    values = {name: frame[name].tolist() for name in frame}
    names = list(values)
    for image, row in zip(
      data, zip(*values.values(), strict=True), strict=True
    ):
      yield {"image": image, **dict(zip(names, row, strict=True))}


def sources(
  sample: Sample, catalog_path: pathlib.Path, root: str | pathlib.Path
) -> dict[str, Examples]:
  """Returns the splits' examples.

  Args:
    sample: the galaxies.
    catalog_path: where `sample.frame` has been written.
    root: the staging folder.
  """
  # A worker of Apache Beam has another working directory.
  catalog_path = catalog_path.absolute()
  root = pathlib.Path(root).expanduser().absolute()
  start, sources = 0, {}
  for name in splits.SPLIT_PARTS:
    stop = start + int((sample.frame["split"] == name).sum())
    sources[name] = Examples(str(catalog_path), str(root), start, stop)
    start = stop
  return sources


def shorten_list(objids: Sequence[int]) -> str:
  """Lists up to ten objids and how many more there are."""
  rest = f" and {len(objids) - 10} more" if len(objids) > 10 else ""
  return ", ".join(str(objid) for objid in objids[:10]) + rest
