"""Readers of table files that keep every digit, for `user_tables`.

They raise any error for a damaged file.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import csv
import gzip
import io
import pathlib
import re
from typing import Any

from astropy.io import votable
from astropy.table import Column
from astropy.table import MaskedColumn
from astropy.table import Table
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

# Python's int() accepts spaces, underscores and the digits of all scripts, and
# an id with leading zeros would lose them.
_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]{0,18})")


def read_fits(path: pathlib.Path) -> Table:
  """Reads the first table of a FITS file."""
  # NaN and empty texts stay as they are.
  table = Table.read(path, format="fits", mask_invalid=False)
  table.convert_bytestring_to_unicode()
  return table


def read_ecsv(path: pathlib.Path) -> Table:
  """Reads ECSV."""
  return Table.read(path, format="ascii.ecsv")


def read_votable(path: pathlib.Path) -> Table:
  """Reads the first table of a VOTable."""
  table = votable.parse_single_table(path)
  # astropy would rename the second column of a name.
  _check_names([field.name for field in table.fields])
  # Programs make up the ids of columns.
  found = table.to_table(use_names_over_ids=True)
  found.convert_bytestring_to_unicode()
  return found


def read_csv(path: pathlib.Path) -> Table:
  """Reads CSV text in UTF-8, also compressed; see `user_tables.read`."""
  data = path.read_bytes()
  if path.suffix.lower() == ".gz":
    data = gzip.decompress(data)
  text = io.StringIO(data.decode("utf-8-sig"), newline=None)
  rows = [
    [field.strip() for field in fields]
    for fields in csv.reader(text, strict=True)
    if any(field.strip() for field in fields)
  ]
  # SkyServer's CSV files start with the line #Table1.
  if rows and len(rows[0]) == 1 and rows[0][0].startswith("#"):
    rows = rows[1:]
  # Spreadsheets add empty columns.
  while rows and len(rows[0]) > 1 and not any(row[-1] for row in rows):
    rows = [row[:-1] for row in rows]
  header = rows[0] if rows else []
  _check_names(header)
  for number, fields in enumerate(rows[1:], start=1):
    if len(fields) != len(header):
      raise ValueError(
        f"expected {len(header)} fields as in the header, found {len(fields)} "
        f"in row {number} below it"
      )
  if len(rows) < 2:
    return Table(names=header)
  fields_of = zip(*rows[1:], strict=True)
  return Table([_typed(fields) for fields in fields_of], names=header)


def _typed(fields: tuple[str, ...]) -> Column:
  """Returns a CSV column as integers, numbers or text."""
  present = [field for field in fields if field]
  mask = [not field for field in fields]
  kinds: tuple[tuple[type[np.generic], Callable[[str], Any]], ...] = (
    (np.int64, _integer),
    (np.float64, _number),
  )
  for dtype, parse in kinds:
    try:
      values = np.array([parse(field or "0") for field in fields], dtype)
    except (ValueError, OverflowError):
      continue
    if not present:
      return MaskedColumn(values, mask=mask, dtype=np.float64)
    if any(mask):
      return MaskedColumn(values, mask=mask)
    return Column(values)
  return Column(list(fields))


def _integer(text: str) -> int:
  if not _INTEGER.fullmatch(text):
    raise ValueError(text)
  return int(text)


def _number(text: str) -> float:
  if "_" in text or not text.isascii():
    raise ValueError(text)
  if re.match(r"[+-]?0[0-9]", text):  # an id with leading zeros
    raise ValueError(text)
  return float(text)


def read_parquet(path: pathlib.Path) -> Table:
  """Reads Parquet with any metadata of units that it has."""
  schema = pq.read_schema(path)
  if b"table_meta_yaml" in (schema.metadata or {}):
    return Table.read(path, format="parquet")
  # astropy's reader turns integers with missing values into floats, fails for
  # missing texts, and ignores the units of this project's catalogues.
  with pq.ParquetFile(path) as file:
    arrow = file.read()
  _check_names(arrow.column_names)
  table = Table()
  for field, chunks in zip(arrow.schema, arrow.columns, strict=True):
    table[field.name] = _from_arrow(chunks.combine_chunks())
    metadata = field.metadata or {}
    for key in ("unit", "description"):
      if value := metadata.get(key.encode(), b"").decode():
        setattr(table[field.name], key, value)
  return table


def _from_arrow(values: pa.Array) -> Column:
  if pa.types.is_boolean(values.type):
    values = values.cast(pa.int8())
  if not (
    pa.types.is_integer(values.type) or pa.types.is_floating(values.type)
  ):
    found = values.to_pylist()
    if all(isinstance(item, str | None) for item in found):
      return Column([item or "" for item in found], dtype=str)
    return Column(found, dtype=object)
  mask = values.is_null().to_numpy(zero_copy_only=False)
  filled = values.fill_null(0).to_numpy(zero_copy_only=False)
  if mask.any():
    return MaskedColumn(filled, mask=mask)
  return Column(filled)


def _check_names(names: Sequence[str]) -> None:
  for name in names:
    if not name or names.count(name) > 1:
      raise ValueError(
        f"expected distinct names of columns, found {name!r} "
        f"{names.count(name)} times"
      )


# Readers by suffix.
BY_SUFFIX = {
  ".csv": read_csv,
  ".ecsv": read_ecsv,
  ".fits": read_fits,
  ".fit": read_fits,
  ".vot": read_votable,
  ".votable": read_votable,
  ".xml": read_votable,
  ".parquet": read_parquet,
}
