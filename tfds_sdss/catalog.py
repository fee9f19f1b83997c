"""CSV catalogues of galaxies: objIDs, labels and their checks."""

from __future__ import annotations

from collections.abc import Iterator
import csv
import io
import math
import pathlib
import re
import zipfile

import numpy as np
import pandas as pd

from tfds_sdss import columns
from tfds_sdss.errors import DataError
from tfds_sdss.errors import LabelError

# 12 + log(O/H) in dex. SDSS's oh_p50 spans 7.85 to 9.47; a value outside this
# range has a wrong unit or marks a missing value.
LABEL_RANGE = columns.BY_NAME["oh_p50"].valid
# SDSS writes -9999 for a missing MPA-JHU value.
MISSING = -9990.0

_INT64_MAX = 2**63 - 1


def parse_objid(text: str) -> int:
  """Returns an SDSS objID written as 1 to 19 decimal digits.

  Raises:
    DataError: if `text` is anything else, such as the `1.23765E+18` that a
      spreadsheet or a float column writes. The last digits of such an id are
      lost: a float has 53 bits, an objID needs 61.
  """
  if re.fullmatch(r"[0-9]{1,19}", text) and int(text) <= _INT64_MAX:
    return int(text)
  raise DataError(
    f"objID {text!r} is not an integer of at most 19 digits. Export the "
    "catalogue again with ids as text or 64-bit integers, never as floats."
  )


def parse_number(text: str) -> float:
  """Returns a decimal number; NaN for an empty text or `null`.

  Python's float() also accepts `1_0` and digits of other scripts. They are NaN
  as well: nobody knows which number was meant.

  Raises:
    ValueError: if the text is not a number.
  """
  text = text.strip()
  if not text or text.lower() == "null" or "_" in text or not text.isascii():
    return math.nan
  return float(text)


def check_label(
  objid: int,
  value: float,
  column: columns.Column = columns.BY_NAME["oh_p50"],
) -> None:
  """Raises LabelError unless a label is in the range of its column.

  Args:
    objid: for the error message.
    value: label, by default 12 + log(O/H) in dex.
    column: column of the label.
  """
  low, high = column.valid
  # Shards store float32, which may round a value at a limit beyond it.
  if (
    min(low, float(np.float32(low)))
    <= value
    <= max(high, float(np.float32(high)))
  ):
    return
  marker = ", the SDSS marker of a missing value" if value <= MISSING else ""
  article = "an" if column.name[0] in "aeiou" else "a"
  unit = f" {column.unit}" if column.unit else ""
  raise LabelError(
    f"objID {objid}: expected {article} {column.name} from {low:g} to "
    f"{high:g}{unit}, found {value:g}{marker}. Remove the galaxy from the "
    "catalogue."
  )


def read_catalog(path: pathlib.Path | zipfile.Path) -> pd.DataFrame:
  """Reads a catalogue of ids and metallicities.

  All fields are read as text, so that no id is converted to a float.

  Args:
    path: CSV file in UTF-8 with a header line and, among others, the columns
      `objID` and `oh_p50`. Any line ends are accepted; blank lines are skipped.

  Returns:
    A frame in the file's order with the columns `objid` (int64) and `oh_p50`
    (float64, dex).

  Raises:
    DataError: if a column is absent or repeated, a row has too few or too many
      fields, an id is not an integer, a label is impossible, an objID is
      repeated or there is no row. The message gives the line in the file; the
      header is line 1.
  """
  try:
    text = path.read_bytes().decode("utf-8-sig")
  except UnicodeDecodeError as error:
    raise DataError(
      f"{path}: expected a CSV file in UTF-8, found {error.reason} at byte "
      f"{error.start}. Export the catalogue again as UTF-8 text."
    ) from error
  rows = _rows(path, text)
  _, header = next(rows, (0, []))
  header = [name.strip() for name in header]
  if not {"objID", "oh_p50"} <= set(header):
    raise DataError(
      f"{path}: expected the columns objID and oh_p50 in the header line, "
      f"found {','.join(header)[:200] or 'an empty file'}. Add them."
    )
  for name in ("objID", "oh_p50"):
    if header.count(name) > 1:
      raise DataError(
        f"{path}: expected one column {name}, found {header.count(name)}. "
        "Remove the others."
      )
  labels: dict[int, float] = {}
  for number, fields in rows:
    line = f"{path}, row {number}"
    if len(fields) != len(header):
      raise DataError(
        f"{line}: expected {len(header)} fields as in the header, found "
        f"{len(fields)}. The file may be truncated: export it again."
      )
    row = dict(zip(header, fields, strict=True))
    try:
      objid = parse_objid(row["objID"])
      if objid in labels:
        raise DataError(f"objID {objid} is repeated. Remove one of its rows.")
      labels[objid] = _parse_label(objid, row["oh_p50"])
    except DataError as error:
      raise type(error)(f"{line}: {error}") from None
  if not labels:
    raise DataError(
      f"{path}: expected at least one galaxy below the header, found none. "
      "Export the catalogue again."
    )
  return pd.DataFrame(
    {
      "objid": pd.Series(list(labels), dtype="int64"),
      "oh_p50": pd.Series(list(labels.values()), dtype="float64"),
    }
  )


def _rows(
  path: pathlib.Path | zipfile.Path, text: str
) -> Iterator[tuple[int, list[str]]]:
  """Yields the line number and the fields of each row that is not blank."""
  # Without newline=None, a file with the line ends of old Macs is an error.
  reader = csv.reader(io.StringIO(text, newline=None), strict=True)
  try:
    for fields in reader:
      if any(field.strip() for field in fields):
        yield reader.line_num, fields
  except csv.Error as error:
    raise DataError(
      f"{path}, row {reader.line_num}: expected comma-separated values, found "
      f"an error: {error}. A quote may not be closed. Export it again."
    ) from error


def _parse_label(objid: int, text: str) -> float:
  try:
    label = parse_number(text)
  except ValueError:
    raise LabelError(
      f"objID {objid}: expected a number as oh_p50, found {text!r}. Correct or "
      "remove the row."
    ) from None
  check_label(objid, label)
  return label
