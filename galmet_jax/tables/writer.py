"""Tables of predictions: the input's columns, then those of the prediction."""

from __future__ import annotations

from collections.abc import Sequence
import gzip
import os
import pathlib
import re

from astropy import units
import astropy.table
import numpy as np

from galmet_jax import errors
from galmet_jax.tables import formats
from galmet_jax.tables import plain_values
from galmet_jax.tables.new_columns import Column
from tfds_sdss import files

# Comments of the header's keywords. FITS limits a keyword to 8 characters, and
# other programs do not read astropy's longer ones (HIERARCH).
COMMENTS = {
  "RUN": "folder of the run",
  "CKPTSHA": "SHA-256 of the checkpoint",
  "CFGSHA": "SHA-256 of the config",
  "SWNAME": "program",
  "SWVER": "version of the program",
  "JAXVER": "version of JAX",
  "DATE": "time of the prediction, UTC",
  "DATASET": "data set of the training",
  "FIELD": "field of view of the images",
  "TARGET": "predicted quantities",
  "VIEWS": "views averaged for each image",
  "NMEMBER": "networks averaged",
  "NCAL": "galaxies that calibrate the intervals",
  "NBINS": "bins of the calibration",
  "OODLEVEL": "ood_p at and below which OOD is flagged",
  "LCCA": "intercept of the linear calibration",
  "LCCB": "slope of the linear calibration",
}
_SUFFIXES = {
  ".csv": "csv",
  ".ecsv": "ecsv",
  ".fits": "fits",
  ".fit": "fits",
  ".vot": "votable",
  ".votable": "votable",
  ".xml": "votable",
  ".parquet": "parquet",
}


def check_path(path: pathlib.Path) -> None:
  """Checks, before any work, that a table can be written to a path.

  Raises:
    ConfigError: if the suffix is unknown, or the file or its folder cannot be
      written.
  """
  kind = _format(path)
  if path.is_dir():
    raise errors.ConfigError(
      f"{path}: expected a file, found a folder. Give a file in it."
    )
  if not path.parent.is_dir():
    raise errors.ConfigError(
      f"{path}: its folder does not exist. Create it: mkdir -p {path.parent}"
    )
  beside = [columns_path(path)] if kind == "csv" else []
  for place in (path.parent, path, *beside):
    if place.exists() and not os.access(place, os.W_OK):
      raise errors.ConfigError(
        f"{place} cannot be written. Change its permissions, or give another "
        "file."
      )


def columns_path(path: pathlib.Path) -> pathlib.Path:
  """Returns the path of the description beside a CSV file."""
  stem = path.name.removesuffix(".gz")
  return path.with_name(f"{stem.rpartition('.')[0]}.columns.md")


def check_table(path: pathlib.Path, table: astropy.table.Table) -> None:
  """Checks, before any work, that a format can hold the columns of an input.

  Raises:
    ConfigError: if a column is no array of numbers, truth values or text; if a
      text or a name has characters that FITS (ASCII) or VOTable (XML) lacks.
  """
  kind = _format(path)
  plain = plain_values.plain(table, kind)
  names = np.array(plain.colnames, str)
  for name in names[plain_values.has_unwritable(names, kind)]:
    raise errors.ConfigError(
      f"{path.name} cannot hold the characters of the column name {name!r}. "
      "Rename it, or give a file .ecsv or .parquet."
    )
  for column in plain.columns.values():
    if column.dtype.kind != "U":
      continue
    bad = np.argwhere(plain_values.has_unwritable(column.data, kind))
    if len(bad):
      text = column.data[tuple(bad[0])]
      raise errors.ConfigError(
        f"{path.name} cannot hold all characters of {text[:40]!r} (column "
        f"{column.name!r}, row {bad[0][0] + 1}). Give a file .ecsv or "
        ".parquet, or leave the column out."
      )


def join(
  table: astropy.table.Table,
  columns: Sequence[Column],
  prefix: str = "",
) -> astropy.table.Table:
  """Returns a table with columns after those of the input.

  Args:
    table: the input of N rows; neither changed nor copied. Its rows, columns,
      units, descriptions, UCDs and masks are kept, its header is not.
    columns: what prediction adds, N values each.
    prefix: what the names of the new columns begin with.

  Raises:
    ConfigError: if two columns have one name; upper and lower case are the
      same, as in FITS.
  """
  joined = astropy.table.Table(table, copy=False)
  for number, old in enumerate(joined.columns.values(), start=1):
    # astropy reads a FITS column's UCD and comment into the table's header.
    for key, attribute in (("TUCD", "ucd"), ("TCOMM", "description")):
      text = table.meta.get(f"{key}{number}")
      if text and attribute == "ucd":
        old.info.meta = {"ucd": text, **(old.info.meta or {})}
      elif text and not old.info.description:
        old.info.description = text
  joined.meta = {}
  taken = {name.casefold() for name in joined.colnames}
  for new in columns:
    name = f"{prefix}{new.name}"
    if name.casefold() in taken:
      raise errors.ConfigError(
        f"the input has a column {name!r} already; expected a new name. Add "
        "--prefix=galmet_, or another prefix."
      )
    taken.add(name.casefold())
    kind = (
      astropy.table.MaskedColumn
      if isinstance(new.values, np.ma.MaskedArray)
      else astropy.table.Column
    )
    joined[name] = kind(
      new.values,
      unit=units.Unit(new.unit, parse_strict="silent") if new.unit else None,
      description=new.description,
      meta={"ucd": new.ucd} if new.ucd else {},
    )
  return joined


def write(
  path: pathlib.Path, table: astropy.table.Table, header: formats.Header
) -> None:
  r"""Writes a table of `join`; an interruption leaves the old file.

  Beside a CSV file, which has neither units nor a header, it writes
  `NAME.columns.md`.

  Args:
    path: the file, checked by `check_path`. Its suffix gives the format; a
      further .gz compresses all but Parquet.
    table: the table. `check_table` refuses an input with characters that the
      format lacks; any others become escapes, such as \xe9.
    header: by keywords of at most 8 characters. NaN is left out: FITS has no
      such header.

  Raises:
    ConfigError: if a column has no form in a file.
    OSError: if the file cannot be written.
    ValueError: if a keyword is too long for FITS.
  """
  kind = _format(path)
  for key in header:
    if not re.fullmatch("[A-Z0-9_-]{1,8}", key):
      raise ValueError(f"expected a keyword of FITS, found {key!r}")
  header = {key: value for key, value in header.items() if value == value}
  plain = plain_values.escaped(plain_values.plain(table, kind), kind)
  data = formats.WRITERS[kind](plain, header, COMMENTS)
  if path.suffix.lower() == ".gz":
    data = gzip.compress(data, mtime=0)
  if kind == "csv":
    text = _description(path.name, plain, header)
    files.write_atomically(columns_path(path), text.encode())
  files.write_atomically(path, data)


def _format(path: pathlib.Path) -> str:
  suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
  if suffixes[-1:] == [".gz"] and ".parquet" not in suffixes:
    suffixes.pop()
  if not suffixes or suffixes[-1] not in _SUFFIXES:
    raise errors.ConfigError(
      f"{path}: expected a file {', '.join(_SUFFIXES)} or, but for Parquet, "
      "one of these with .gz. Change its name."
    )
  return _SUFFIXES[suffixes[-1]]


def _description(
  name: str, table: astropy.table.Table, header: formats.Header
) -> str:
  """Returns what a CSV file lacks, as Markdown."""
  columns = [
    (old.name, old.unit or "", (old.meta or {}).get("ucd", ""), old.description)
    for old in table.columns.values()
  ]
  settings = [(key, value, COMMENTS.get(key)) for key, value in header.items()]
  return "\n".join(
    [
      f"# Columns of {name}",
      "",
      *_markdown(("column", "unit", "UCD", "description"), columns),
      "",
      "# Header",
      "",
      *_markdown(("keyword", "value", "meaning"), settings),
      "",
    ]
  )


def _markdown(head: Sequence, rows: Sequence[Sequence]) -> list[str]:
  return [
    "| "
    + " | ".join(
      re.sub(r"\s+", " ", str(cell or "")).replace("|", "\\|") for cell in row
    )
    + " |"
    for row in (head, ["---"] * len(head), *rows)
  ]
