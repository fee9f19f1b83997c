"""Tables of other people's galaxies: CSV, ECSV, FITS, VOTable, Parquet."""

from __future__ import annotations

import collections
from collections.abc import Sequence
import difflib
import hashlib
import math
import pathlib
import re
from typing import Any
import warnings

from astropy.table import Column
from astropy.table import Table
import numpy as np

from tfds_sdss import catalog
from tfds_sdss import columns
from tfds_sdss.errors import DataError
from tfds_sdss.own import table_files

_MISSING_TEXTS = frozenset(("", "nan", "null", "none", "na", "n/a", "--"))
_NUM_NAMED = 10


def read(path: pathlib.Path) -> Table:
  """Reads a table with the units and the descriptions of its columns.

  Integers of up to 64 bits are exact in every format. A CSV column of integers
  is int64, of other numbers float64, and of anything else text; empty fields
  are masked in a column of numbers.

  Args:
    path: a file whose suffix is one of csv, ecsv, fits, fit, vot, votable, xml
      and parquet; all but Parquet also with `.gz` after it.

  Returns:
    A table with at least one row and columns of distinct names.

  Raises:
    DataError: if the file is absent, damaged, empty, not in UTF-8, or of an
      unknown format. One line.
  """
  if path.is_dir() or not path.exists():
    found = "a folder" if path.is_dir() else "no such file"
    raise DataError(f"{path}: expected a table, found {found}.")
  suffixes = [suffix.lower() for suffix in path.suffixes]
  is_compressed = suffixes[-1:] == [".gz"]
  suffix = "".join(suffixes[-2:-1] if is_compressed else suffixes[-1:])
  read_file = table_files.BY_SUFFIX.get(suffix)
  if read_file is None or (suffix == ".parquet" and is_compressed):
    known = ", ".join(table_files.BY_SUFFIX)
    raise DataError(
      f"{path}: expected a name that ends in {known} (or, except for Parquet, "
      f"one of these and .gz), found {''.join(suffixes[-2:]) or 'no suffix'}. "
      "Convert or rename the file."
    )
  try:
    with warnings.catch_warnings():
      # About units and names that a standard does not know, and the like.
      warnings.simplefilter("ignore")
      table = read_file(path)
  except UnicodeDecodeError as error:
    raise DataError(
      f"{path}: expected text in UTF-8, found {error.reason} at byte "
      f"{error.start}. Save the table again as UTF-8."
    ) from error
  # The parsers raise many kinds of errors, without a common class.
  except Exception as error:
    reason = " ".join(str(error).split())[:300].rstrip(".")
    raise DataError(
      f"{path} cannot be read as a {suffix} table: "
      f"{reason or type(error).__name__}. Export it again."
    ) from error
  if not table.columns or not len(table):
    raise DataError(
      f"{path}: expected at least one row, found "
      f"{len(table)} rows of {len(table.columns)} columns."
    )
  return table


def parse_columns(text: str) -> dict[str, str]:
  """Parses `id=NAME,image=FILE`: {role: name of a column}.

  Raises:
    DataError: if a part has no `=`, one side is empty or a role is repeated.
  """
  found: dict[str, str] = {}
  for part in text.split(","):
    role, equals, name = (item.strip() for item in part.partition("="))
    if not (role and equals and name):
      raise DataError(
        f"--columns: expected ROLE=COLUMN, such as id=NAME, found {part!r}. "
        "Separate them by commas."
      )
    if role in found:
      raise DataError(f"--columns: {role} is given twice. Remove one of them.")
    found[role] = name
  return found


def find(table: Table, name: str) -> str:
  """Returns a column's own name; upper and lower case may differ.

  Raises:
    DataError: if no column has the name, or several differ only in case.
  """
  names = table.colnames
  if name in names:
    return name
  same = [other for other in names if other.lower() == name.lower()]
  if len(same) == 1:
    return same[0]
  lower = {other.lower(): other for other in reversed(names)}
  close = same or [
    lower[match] for match in difflib.get_close_matches(name.lower(), lower)
  ]
  hint = f" Did you mean {' or '.join(close)}?" if close else ""
  rest = len(names) - _NUM_NAMED
  more = f" and {rest} more" if rest > 0 else ""
  raise DataError(
    f"the table has no column {name}; found {', '.join(names[:_NUM_NAMED])}"
    f"{more}.{hint}"
  )


def numbers(table: Table, name: str) -> np.ndarray:
  """Returns a column of numbers, float64 `[N]`; NaN where one is missing.

  A value is missing if it is masked, NaN, None, an empty text, a word such as
  `null`, or one of `columns.MARKERS`.

  Raises:
    DataError: if a row has several values, or a value that is no number.
  """
  values, mask = _values(table, name)
  if values.dtype.kind in "biuf":
    found = values.astype(np.float64)
  else:
    found = np.array(
      [
        math.nan if mask[row] else _parse(name, row, value)
        for row, value in enumerate(values)
      ],
      np.float64,
    )
  found[mask | np.isin(found, columns.MARKERS)] = np.nan
  return found


def texts(table: Table, name: str) -> list[str]:
  """Returns a column as text, without spaces around; empty where missing.

  Raises:
    DataError: if a row has several values.
  """
  values, mask = _values(table, name)
  return [
    "" if hidden or value is None else str(value).strip()
    for value, hidden in zip(values.tolist(), mask, strict=True)
  ]


def ids(table: Table, name: str) -> tuple[np.ndarray, list[str] | None]:
  """Returns a column of ids.

  Returns:
    ids, int64 `[N]`, not negative and distinct; and None, or the ids as text if
    one of them is not an integer. The integers are then the first 63 bits of
    BLAKE2b over each text in UTF-8.

  Raises:
    DataError: if an id is missing, repeated, a floating-point number or
      negative, or two texts have the same hash.
  """
  values, _ = _values(table, name)
  if values.dtype.kind == "f":
    catalog.parse_objid(str(values[0]))  # its error says why
  found = texts(table, name)
  for row, text in enumerate(found):
    if re.fullmatch(r"|-[0-9]+", text):
      raise DataError(
        f"column {name}, row {row + 1}: expected an id, found "
        f"{text or 'none'}. Remove the row, or give it an id."
      )
    if re.fullmatch(r"[0-9]+\.?[0-9]*[eE][+]?[0-9]+", text):
      catalog.parse_objid(text)
  repeated = [t for t, count in collections.Counter(found).items() if count > 1]
  if repeated:
    raise DataError(
      f"column {name}: expected distinct ids, found {len(repeated)} of several "
      f"rows: {', '.join(repeated[:10])}. Remove their other rows."
    )
  numbers = numbers_of_ids(found)
  if are_integers(found):
    return numbers, None
  if len(set(numbers.tolist())) < len(found):
    raise DataError(
      f"column {name}: two ids have the same 63-bit hash. Name a column of "
      "other ids."
    )
  return numbers, found


def are_integers(texts: Sequence[str]) -> bool:
  """Whether all ids are decimal integers."""
  return all(re.fullmatch(r"0|[1-9][0-9]*", text) for text in texts)


def numbers_of_ids(texts: Sequence[str]) -> np.ndarray:
  """Returns ids as int64 `[N]`: hashes, unless all are integers.

  Raises:
    DataError: if an integer has more than 63 bits.
  """
  convert = catalog.parse_objid if are_integers(texts) else hash_id
  return np.array([convert(text) for text in texts], np.int64)


def hash_id(text: str) -> int:
  """Returns the integer, 0 to 2**63 - 1, that stands for an id of text."""
  return hash_bytes(text.encode())


def hash_bytes(data: bytes) -> int:
  """Returns the first 63 bits of BLAKE2b."""
  digest = hashlib.blake2b(data, digest_size=8).digest()
  return int.from_bytes(digest, "big") >> 1


def _values(table: Table, name: str) -> tuple[np.ndarray, np.ndarray]:
  """Returns the bare values of a column and a mask of the missing ones."""
  column = table[name]
  if not isinstance(column, Column):
    # A quantity or a time, which ECSV can store.
    column = getattr(column, "value", column)
  masked = np.ma.asarray(column)
  if masked.ndim != 1:
    raise DataError(
      f"column {name}: expected one value in a row, found an array of "
      f"{' x '.join(map(str, masked.shape[1:]))}. Name another column."
    )
  return np.asarray(masked.data), np.ma.getmaskarray(masked)


def _parse(name: str, row: int, value: Any) -> float:
  text = str(value).strip()
  if text.lower() in _MISSING_TEXTS:
    return math.nan
  try:
    number = catalog.parse_number(text)
  except ValueError:
    number = math.nan
  if math.isnan(number):
    raise DataError(
      f"column {name}, row {row + 1}: expected a number, found {text[:40]!r}. "
      "Correct it, or leave it empty."
    )
  return number
