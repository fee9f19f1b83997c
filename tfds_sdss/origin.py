"""Records what a sample was built from, and compares it with a folder."""

from __future__ import annotations

from collections.abc import Mapping
import hashlib
import pathlib
from typing import Any

import pandas as pd
from pandas.api import types

from tfds_sdss import files
from tfds_sdss.errors import DataError

FILE = "built_from.json"


class AnotherSourceError(DataError):
  """A sample exists, but was built from other galaxies than those given."""


def digest(frame: pd.DataFrame) -> str:
  """Returns the SHA-256 of a table's columns, their names and their order.

  Args:
    frame: galaxies in the order of the shards, with columns of numbers and
      strings, among them the SHA-256 of each image.
  """
  whole = hashlib.sha256()
  for name, values in frame.items():
    is_number = types.is_numeric_dtype(values)
    data = (
      values.to_numpy().tobytes() if is_number else "\n".join(values).encode()
    )
    whole.update(f"{name} {len(values)}\n".encode())
    whole.update(hashlib.sha256(data).digest())
  return whole.hexdigest()


def digest_of_examples(examples_of: Mapping[str, list[dict[str, Any]]]) -> str:
  """Returns the `digest` of the splits, ids, labels and images of a sample.

  Args:
    examples_of: the examples of each split, in the order of the shards.
  """
  rows = [
    (
      split,
      example["objid"],
      example["oh_p50"],
      hashlib.sha256(example["image"]).hexdigest(),
    )
    for split, examples in examples_of.items()
    for example in examples
  ]
  names = ["split", "objid", "oh_p50", "image_sha256"]
  return digest(pd.DataFrame(rows, columns=names))


def write(folder: pathlib.Path, source: str, found: str) -> None:
  """Writes the name of a source and the digest of its galaxies."""
  files.write_json(folder / FILE, {"source": source, "galaxies_sha256": found})


def read(folder: pathlib.Path) -> dict[str, str] | None:
  """Returns `source` and `galaxies_sha256`; None for a sample without them.

  A sample built before this record existed has none.

  Raises:
    DamagedFileError: if the record is not as it was written.
  """
  remedy = f"Delete {folder} and build again."
  try:
    content = files.read_json(folder / FILE, remedy)
  except FileNotFoundError:
    return None
  if not all(
    isinstance(content.get(key), str) for key in ("source", "galaxies_sha256")
  ):
    raise files.DamagedFileError(
      f"{folder / FILE}: expected the texts source and galaxies_sha256, found "
      f"{', '.join(content) or 'nothing'}. {remedy}"
    )
  return content


def check(
  folder: pathlib.Path, source: pathlib.Path | str, expected: str
) -> None:
  """Compares a built sample with the source that it should be built from.

  Args:
    folder: folder of the built sample.
    source: folder or catalogue whose galaxies are expected.
    expected: digest of these galaxies.

  Raises:
    AnotherSourceError: if the sample has other galaxies, or no record.
  """
  record = read(folder)
  if record and record["galaxies_sha256"] == expected:
    return
  found = "no record of its source"
  if record:
    found = f"those of {record['source']} at the time of the build"
  raise AnotherSourceError(
    f"{folder} is built, but not from this source: expected the galaxies of "
    f"{source}, found {found}. Delete {folder} and build again, or give "
    "another data_dir. To use the sample as it is, give no folder."
  )
