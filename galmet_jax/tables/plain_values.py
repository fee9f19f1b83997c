"""Columns of any table in the few types that all file formats have.

All formats get the same values: a missing number is NaN, a missing text is
empty, and missing integers are masked.
"""

from __future__ import annotations

import json
from typing import Any

import astropy.table
import astropy.table.serialize
from astropy.utils import data_info
import numpy as np

from galmet_jax import errors

# Types that FITS or VOTable lack, and those that hold all their values.
_WIDER: dict[type, type] = {
  np.float16: np.float32,
  np.longdouble: np.float64,
  np.int8: np.int16,
  np.uint16: np.int32,
  np.uint32: np.int64,
}
# Characters that XML 1.0 lacks.
_NOT_XML = (*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF)


def plain(table: astropy.table.Table, kind: str) -> astropy.table.Table:
  """Returns columns of the types that a format has, with the same values.

  Args:
    table: any table of N rows.
    kind: csv, ecsv, fits, votable or parquet. Arrays become JSON texts where
      the format lacks them: in CSV; of text in VOTable; of several dimensions
      a row in Parquet.

  Raises:
    ConfigError: if a column has neither numbers, truth values nor text, or
      its name cannot be in Parquet.
  """
  # Such as times and positions of an ECSV file.
  with data_info.serialize_context_as("ecsv"):
    table = astropy.table.serialize.represent_mixins_as_columns(table)
  result = astropy.table.Table()
  for old in table.columns.values():
    values = _values(old)
    if values.ndim > 1 and (
      kind == "csv"
      or (kind == "votable" and values.dtype.kind == "U")
      or (kind == "parquet" and values.ndim > 2)
    ):
      rows = [json.dumps(row.tolist(), ensure_ascii=False) for row in values]
      values = np.array(rows, str)
    if values.dtype == "U1":
      # STILTS takes single characters for another type, without empty values.
      values = values.astype("U2")
    # astropy stops at these names.
    if (
      kind == "parquet"
      and isinstance(values, np.ma.MaskedArray)
      and (old.name in ("data", "mask") or f"{old.name}.mask" in table.colnames)
    ):
      raise errors.ConfigError(
        f"column {old.name!r}: missing integers in Parquet need another name, "
        "and a name with .mask that is free. Rename it, or give a file .ecsv."
      )
    result[old.name] = _like(old, values)
  return result


def has_unwritable(texts: np.ndarray, kind: str) -> np.ndarray:
  """Returns which texts have characters that a format lacks, bool.

  Args:
    texts: texts of any shape.
    kind: as in `plain`. FITS is ASCII, and VOTable's XML lacks control
      characters.
  """
  texts = np.ascontiguousarray(texts)
  codes = texts.view(np.uint32)
  codes = codes.reshape(*texts.shape, texts.dtype.itemsize // 4)
  # Python's substitutes for bytes of file names that are not UTF-8.
  bad = (codes >= 0xD800) & (codes < 0xE000)
  if kind == "fits":
    bad |= (codes < 32) | (codes > 126)
  elif kind == "votable":
    bad |= np.isin(codes, _NOT_XML)
  is_padding = (
    np.arange(codes.shape[-1]) >= np.strings.str_len(texts)[..., None]
  )
  return np.any(bad & ~is_padding, axis=-1)


def escaped(table: astropy.table.Table, kind: str) -> astropy.table.Table:
  """Returns a table with escapes for characters that the format lacks."""
  table = table.copy(copy_data=False)
  for old in table.columns.values():
    if old.dtype.kind != "U":
      continue
    bad = has_unwritable(old.data, kind)
    if bad.any():
      texts = old.data.astype(object)
      for index in map(tuple, np.argwhere(bad)):
        texts[index] = ascii(texts[index])[1:-1]
      table[old.name] = _like(old, texts.astype(str))
  return table


def _like(
  column: astropy.table.Column, values: np.ndarray
) -> astropy.table.Column:
  """Returns a column with other values."""
  ucd = (column.meta or {}).get("ucd")
  settings = {
    "name": column.name,
    "unit": column.unit,
    "description": column.description,
    "meta": {"ucd": ucd} if ucd else {},
  }
  if isinstance(values, np.ma.MaskedArray):
    return astropy.table.MaskedColumn(
      values, fill_value=values.fill_value, **settings
    )
  return astropy.table.Column(values, **settings)


def _values(column: astropy.table.Column) -> np.ndarray:
  """Returns values of a common type; masked if an integer is missing."""
  values: Any = np.ma.MaskedArray(column.data)
  if values.dtype.kind in "OS":
    values = _text(column.name, values)
  if values.dtype.kind not in "biufU":
    raise errors.ConfigError(
      f"column {column.name!r} has the type {values.dtype}; expected numbers, "
      "truth values or text. Leave the column out."
    )
  if values.dtype == np.uint64:
    is_small = values.compressed().max(initial=0) < 2**63
    values = values.astype(np.int64 if is_small else str)
  values = values.astype(_WIDER.get(values.dtype.type, values.dtype))
  values = values.astype(values.dtype.newbyteorder("="))
  is_missing = np.ma.getmaskarray(values)
  if not is_missing.any():
    return values.data
  if values.dtype.kind in "fU":
    return values.filled(np.nan if values.dtype.kind == "f" else "")
  # FITS and STILTS cannot mark a missing truth value or byte.
  if values.dtype.itemsize == 1:
    values = values.astype(np.int16)
  null = _absent(values)
  return np.ma.MaskedArray(values.filled(null), is_missing, fill_value=null)


def _text(name: str, values: np.ma.MaskedArray) -> np.ma.MaskedArray:
  """Returns text for bytes and objects; None is missing."""
  is_missing = np.ma.getmaskarray(values).copy()
  texts = np.full(values.shape, "", object)
  for index, value in np.ndenumerate(values.data):
    if isinstance(value, bytes):
      try:
        texts[index] = value.decode()
      except UnicodeDecodeError:
        texts[index] = value.decode("latin-1")
    elif isinstance(value, str):
      texts[index] = value
    elif value is None:
      is_missing[index] = True
    elif not is_missing[index]:
      raise errors.ConfigError(
        f"column {name!r}, row {index[0] + 1}: expected text or arrays "
        f"of one size, found {type(value).__name__}. Leave the column out."
      )
  return np.ma.MaskedArray(texts.astype(str), is_missing)


def _absent(values: np.ma.MaskedArray) -> int:
  """Returns an integer that is not among the values, for missing ones."""
  limits = np.iinfo(values.dtype)
  present = set(np.unique(values.compressed()).tolist())
  return next(
    value for value in range(limits.min, limits.max) if value not in present
  )
