"""Reads the galaxies of a sample from the disk, as the shards need them."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import hashlib
import pathlib
from typing import Any

import pyarrow.parquet as pq

from tfds_sdss import sample as sample_lib
from tfds_sdss import splits
from tfds_sdss import staging
from tfds_sdss.errors import DataError
from tfds_sdss.own import image_files


@dataclasses.dataclass(frozen=True)
class Examples:
  """Consecutive galaxies of a sample, read from the disk by each iteration.

  Attributes:
    catalog_path: catalog.parquet in the folder that is being built.
    root: staging folder; for a catalogue with the column image_file, the folder
      of these files.
    rows: rows of the catalogue.
  """

  catalog_path: str
  root: str
  rows: range

  def __len__(self) -> int:
    return len(self.rows)

  def __getitem__(self, part: slice, /) -> Examples:
    return dataclasses.replace(self, rows=self.rows[part])

  def __iter__(self) -> Iterator[dict[str, Any]]:
    """Compares all images with their digests, then yields the galaxies.

    Raises:
      DataError: if an image is absent or differs from the manifest's digest.
    """
    table = pq.read_table(self.catalog_path).slice(self.rows.start, len(self))
    rows = table.to_pandas().to_dict("records")
    folder = staging.Staging(self.root)
    is_staged = "image_file" not in table.column_names
    damaged = []
    for row in rows:
      if is_staged:
        row["image"] = folder.read_image(row["objid"])
      else:
        row["image"] = image_files.read(folder.root, row["image_file"])
      if "id" in row:
        row["id"] = row["id"].encode()
      if hashlib.sha256(row["image"]).hexdigest() != row["image_sha256"]:
        damaged.append(row["objid"] if is_staged else row["image_file"])
    if damaged:
      found = sample_lib.shorten_list(damaged)
      raise DataError(
        f"{folder.root}: the images of objID {found} are absent or differ from "
        "those fetched (SHA-256 in manifest.jsonl). Run fetch again, which "
        "fetches only these."
        if is_staged
        else f"{folder.root}: the images {found} have changed since the build "
        "began. Build again."
      )
    yield from rows


def examples_by_split(
  sample: sample_lib.Sample,
  catalog_path: pathlib.Path,
  root: str | pathlib.Path,
) -> dict[str, Examples]:
  """Returns the examples of each split.

  Args:
    sample: the sample, whose frame is stored in `catalog_path`.
    catalog_path: Parquet file.
    root: folder of the images, see `Examples`.
  """
  # Beam's workers have another working directory.
  whole = Examples(
    str(catalog_path.absolute()),
    str(pathlib.Path(root).expanduser().absolute()),
    range(len(sample.frame)),
  )
  start, by_split = 0, {}
  for split in splits.SPLIT_PARTS:
    stop = start + int((sample.frame["split"] == split).sum())
    by_split[split] = whole[start:stop]
    start = stop
  return by_split
