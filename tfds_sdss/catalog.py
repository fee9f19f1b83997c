"""Catalogues of galaxies: read them, check them, split them."""

from __future__ import annotations

import csv
import io
import pathlib
import re
import zipfile

import pandas as pd

from tfds_sdss.errors import DataError
from tfds_sdss.errors import LabelError

# 12 + log(O/H) in dex. SDSS's oh_p50 spans 7.85 to 9.47; what lies outside
# this range is a mistake of units or a marker, not a galaxy.
LABEL_RANGE = (7.0, 10.0)
# SDSS writes -9999 where the MPA-JHU pipeline has no value.
MISSING = -9990.0

_INT64_MAX = 2**63 - 1
_COLUMNS = ("objID", "oh_p50")


def parse_objid(text: str) -> int:
  """Returns an SDSS objID written as decimal digits.

  Args:
    text: 1 to 19 digits whose value fits a signed 64-bit integer.

  Raises:
    DataError: if `text` is anything else, such as the `1.23765E+18` that a
      spreadsheet or a float column makes of an id. Its last digits are lost
      then and cannot be recovered: a float holds 53 bits, an objID needs 61.
  """
  if re.fullmatch(r"[0-9]{1,19}", text) and int(text) <= _INT64_MAX:
    return int(text)
  raise DataError(
    f"objID {text!r} is not an integer of at most 19 digits. Export the "
    "catalogue again with ids as text or 64-bit integers, never as floats."
  )


def check_label(objid: int, oh_p50: float, row: int | None = None) -> None:
  """Checks one metallicity.

  Args:
    objid: SDSS objID, for the message.
    oh_p50: 12 + log(O/H), dex.
    row: line of the catalogue, for the message.

  Raises:
    LabelError: if the label is NaN, SDSS's marker of a missing value
      (<= -9990), or outside 7 to 10 dex.
  """
  low, high = LABEL_RANGE
  if low <= oh_p50 <= high:
    return
  where = f"objID {objid}" + ("" if row is None else f" (row {row})")
  if oh_p50 <= MISSING:
    found = f"{oh_p50:g}, the SDSS marker of a missing value"
  else:
    found = f"{oh_p50:g}"
  raise LabelError(
    f"{where}: oh_p50 must be within {low:g} to {high:g} dex, found {found}. "
    "Remove the row from the catalogue."
  )


def read_catalog(path: str | pathlib.Path | zipfile.Path) -> pd.DataFrame:
  """Reads a catalogue of ids and metallicities.

  Everything is read as text first, so that no id passes through a float.

  Args:
    path: CSV file in UTF-8 with a header line and, among others, the columns
      `objID` and `oh_p50`.

  Returns:
    A frame in the file's order with the columns `objid` (int64) and `oh_p50`
    (float64, dex).

  Raises:
    DataError: if a column is absent, a row has too few or too many fields, an
      id is no integer, a label is impossible or an objID comes twice. The
      message gives the line in the file; the header is line 1.
    FileNotFoundError: if there is no such file.
  """
  if isinstance(path, str):
    path = pathlib.Path(path)
  try:
    text = path.read_bytes().decode("utf-8-sig")
  except UnicodeDecodeError as error:
    raise DataError(
      f"{path}: expected a CSV file in UTF-8, found {error.reason} at byte "
      f"{error.start}. Export the catalogue again as UTF-8 text."
    ) from error
  reader = csv.reader(io.StringIO(text))
  header = next(reader, [])
  absent = [name for name in _COLUMNS if name not in header]
  if absent:
    raise DataError(
      f"{path}: expected the columns objID,oh_p50 in the header line, found "
      f"{','.join(header) or 'an empty file'}. Add {', '.join(absent)}."
    )
  id_field, label_field = (header.index(name) for name in _COLUMNS)
  first_row: dict[int, int] = {}
  labels = []
  for fields in reader:
    row = reader.line_num
    if len(fields) != len(header):
      raise DataError(
        f"{path}, row {row}: expected {len(header)} fields, found "
        f"{len(fields)}. The file may be cut short: export it again."
      )
    try:
      objid = parse_objid(fields[id_field])
      label = _parse_label(objid, fields[label_field])
      check_label(objid, label, row)
    except DataError as error:
      raise type(error)(f"{path}, row {row}: {error}") from None
    if objid in first_row:
      raise DataError(
        f"{path}: objID {objid} comes twice, in rows {first_row[objid]} and "
        f"{row}. Keep one of them."
      )
    first_row[objid] = row
    labels.append(label)
  return pd.DataFrame(
    {
      "objid": pd.Series(list(first_row), dtype="int64"),
      "oh_p50": pd.Series(labels, dtype="float64"),
    }
  )


def _parse_label(objid: int, text: str) -> float:
  """Returns a label as a number; an empty field is a missing one, NaN."""
  if not text:
    return float("nan")
  try:
    return float(text)
  except ValueError:
    raise LabelError(
      f"objID {objid}: oh_p50 must be a number, found {text!r}. Correct the "
      "row or remove it."
    ) from None
