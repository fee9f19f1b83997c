"""Tables as the bytes of CSV, ECSV, FITS, VOTable and Parquet files.

The writers take a table of `plain_values.plain`, a header, and comments on its
keywords. The same arguments give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
import io
import pathlib
import re
import tempfile
import warnings

from astropy import units
from astropy.io import fits
from astropy.io import votable
import astropy.io.votable.tree as votable_tree
import astropy.table
from astropy.utils.exceptions import AstropyWarning
import numpy as np

Header = Mapping[str, str | int | float]

# Characters between the quotes of a FITS card.
_CARD = 68


def to_csv(table: astropy.table.Table, header: Header, comments) -> bytes:
  """Returns CSV without units or header; missing values are empty."""
  del header, comments
  # astropy's writer gives float32 the digits of float64, and strips spaces.
  frame = table.to_pandas(index=False)
  return frame.to_csv(index=False, lineterminator="\n").encode()


def to_ecsv(table: astropy.table.Table, header: Header, comments) -> bytes:
  """Returns ECSV; astropy strips spaces around texts."""
  del comments
  text = io.StringIO()
  table = astropy.table.Table(table, copy=False, meta=dict(header))
  table.write(text, format="ascii.ecsv")
  return text.getvalue().encode()


def to_fits(
  table: astropy.table.Table, header: Header, comments: Mapping[str, str]
) -> bytes:
  """Returns FITS: units, UCDs and descriptions as TUNIT, TUCD and TCOMM.

  astropy writes the unit dex, UCDs and descriptions as YAML in comments, which
  other programs do not read.
  """
  bare = astropy.table.Table()
  for old in table.columns.values():
    bare[_ascii(old.name)] = np.ma.filled(old.data)
  hdu = fits.table_to_hdu(bare)
  for number, old in enumerate(table.columns.values(), start=1):
    if isinstance(old, astropy.table.MaskedColumn):
      hdu.columns[number - 1].null = old.fill_value
    for key, text in (
      ("TUNIT", _fits_unit(old.unit)),
      ("TUCD", (old.meta or {}).get("ucd")),
      ("TCOMM", old.description),
    ):
      if text:
        hdu.header[f"{key}{number}"] = _ascii(text)
  for key, value in header.items():
    value = _card(value) if isinstance(value, str) else value
    comment = comments.get(key, "")
    card = fits.Card(key, value, comment)
    # astropy would warn that it cuts the comment.
    length = len(fits.Card(key, value).image.rstrip()) + len(f" / {comment}")
    hdu.header.append(card if length <= 80 else fits.Card(key, value))
  file = io.BytesIO()
  fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(file)
  return file.getvalue()


def to_votable(
  table: astropy.table.Table, header: Header, comments: Mapping[str, str]
) -> bytes:
  """Returns VOTable with the header as INFO elements."""
  with warnings.catch_warnings():
    # Of units that the standard lacks, such as dex, and of generated IDs.
    warnings.simplefilter("ignore", AstropyWarning)
    file = votable.from_table(table)
    content = file.get_first_table()
    for field in content.fields:
      column = table[field.name]
      if isinstance(column, astropy.table.MaskedColumn):
        field.values.null = int(column.fill_value)
    for key, value in header.items():
      info = votable_tree.Info(name=key, value=str(value))
      info.content = comments.get(key)
      content.infos.append(info)
    # Booleans in BINARY2 stop STILTS 3.4.
    buffer = io.BytesIO()
    file.to_xml(buffer, tabledata_format="tabledata")
  # astropy's spelling of infinity is not the standard's.
  return re.sub(rb"<TD>([+-])InF</TD>", rb"<TD>\1Inf</TD>", buffer.getvalue())


def to_parquet(table: astropy.table.Table, header: Header, comments) -> bytes:
  """Returns Parquet; as in astropy, NAME.mask is True where NAME is missing."""
  del comments
  table = astropy.table.Table(table, copy=False, meta=dict(header))
  # astropy writes to paths only.
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, "table.parquet")
    table.write(path, format="parquet")
    return path.read_bytes()


WRITERS = {
  "csv": to_csv,
  "ecsv": to_ecsv,
  "fits": to_fits,
  "votable": to_votable,
  "parquet": to_parquet,
}


def _fits_unit(unit: units.UnitBase | None) -> str:
  try:
    return "" if unit is None else unit.to_string("fits")
  except ValueError:  # such as dex, which other programs show all the same
    return str(unit)


def _ascii(text: str) -> str:
  """Returns one line, with escapes for characters that are not ASCII."""
  return " ".join(text.encode("ascii", "backslashreplace").decode().split())


def _card(text: str) -> str:
  """Returns a text that fits one card: STILTS does not read CONTINUE."""
  text = _ascii(text).replace("'", '"')
  return text if len(text) <= _CARD else f"{text[:20]}...{text[-_CARD + 23 :]}"
