"""A table of predictions, written and read back."""

import pathlib
import warnings

from astropy import units
from astropy.io import votable
from astropy.table import MaskedColumn
from astropy.table import Table
import numpy as np

from galmet_jax.tables import new_columns
from galmet_jax.tables import writer

# More digits than a float64 has.
OBJID = 1237665024900858129
FORMATS = ("csv", "ecsv", "fits", "vot", "parquet")
ASTROPY = {
  "csv": {"format": "ascii.csv"},
  "ecsv": {"format": "ascii.ecsv"},
  "fits": {"format": "fits"},
  # IDs lack the spaces of names.
  "vot": {"format": "votable", "use_names_over_ids": True},
  "parquet": {"format": "parquet"},
}
HEADER = {
  "RUN": "runs/first",
  "CKPTSHA": "0123456789abcdef" * 4,
  "CFGSHA": "fedcba9876543210" * 4,
  "SWNAME": "galmet_jax",
  "SWVER": "1.0",
  "JAXVER": "0.10.2",
  "DATE": "2026-01-02T03:04:05",
  "DATASET": "sdss_metallicity/mock:1.0.0",
  "FIELD": "4 R90",
  "TARGET": "oh_p50",
  "VIEWS": 8,
  "NMEMBER": 1,
  "NCAL": 302,
  "NBINS": 3,
  "OODLEVEL": 0.01,
  "LCCA": 1.25,
  "LCCB": 0.75,
}
MISSING = np.array([False, True, False, False])


def make_input() -> Table:
  table = Table()
  table["objID"] = np.array([OBJID, 2, 3, -(2**63) + 1])
  table["other id"] = MaskedColumn(
    [OBJID, 2, 3, 4], mask=MISSING, description="An id, if there is one"
  )
  table["name"] = ["NGC 99", "=1+2", "", 'a, "b"|c']
  table["ra"] = np.array([1.5, 1 / 3, 359.9999999999, 0.0])
  table["ra"].unit = "deg"
  table["ra"].description = "Right ascension"
  table["ra"].meta["ucd"] = "pos.eq.ra"
  table["mag"] = MaskedColumn(
    np.array([17.1, 0, 18.2, 1 / 3], np.float32), mask=MISSING, unit="mag"
  )
  return table


def make_columns() -> list[new_columns.Column]:
  value = np.array([8.7, np.nan, 1 / 3, 9], np.float32)
  return [
    *new_columns.for_target(
      "oh_p50", "dex", dict.fromkeys(new_columns.OF_TARGET, value)
    ),
    *new_columns.for_galaxies(
      {
        "ood_p": value,
        "flags": [0, 1, 128, 2048],
        "flag_text": ["", "NO_IMAGE", "OOD", "DUPLICATE"],
        "sdss_objid": [OBJID, 0, 3, 4],
        "match_sep": value,
        "petroR90_r_used": value,
      }
    ),
  ]


def write(path: pathlib.Path, table: Table | None = None, **header) -> bytes:
  if table is None:
    table = writer.join(make_input(), make_columns())
  writer.write(path, table, HEADER | header)
  return path.read_bytes()


def read(path: pathlib.Path) -> Table:
  options = ASTROPY[path.name.split(".")[1]]
  with warnings.catch_warnings():
    # The standards of FITS and VOTable lack the unit dex.
    warnings.simplefilter("ignore", units.UnitsWarning)
    warnings.simplefilter("ignore", votable.exceptions.W50)
    table = Table.read(path, **options)
  table.convert_bytestring_to_unicode()
  return table


def expect_same(found: Table, expected: Table):
  for old in expected.columns.values():
    new = found[old.name]
    is_missing = np.ma.getmaskarray(np.ma.array(new.data))
    if old.dtype.kind == "U":
      assert np.ma.filled(new.data.astype(object), "").tolist() == list(old)
    elif old.dtype.kind == "f":
      values = np.ma.filled(new.data.astype(np.float64), np.nan)
      wanted = np.ma.filled(old.data.astype(np.float64), np.nan)
      np.testing.assert_array_equal(
        values.astype(old.dtype), wanted.astype(old.dtype)
      )
    else:
      assert new.dtype.kind == "i"
      assert new.tolist() == old.tolist()
      assert is_missing.tolist() == np.ma.getmaskarray(old.data).tolist()
