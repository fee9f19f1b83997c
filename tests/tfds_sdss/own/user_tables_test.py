"""Tests of tables of other people's galaxies."""

import gzip
import pathlib
import warnings

from astropy.io import fits
from astropy.table import MaskedColumn
from astropy.table import Table
import numpy as np
import pandas as pd
import pytest

from tfds_sdss import tables
from tfds_sdss.errors import DataError
from tfds_sdss.own import user_tables

_IDS = [1237665024900858129, 1237665024900858130, 9223372036854775807]
_FORMATS = {
  "csv": "csv",
  "ecsv": "ascii.ecsv",
  "fits": "fits",
  "vot": "votable",
  "xml": "votable",
  "parquet": "parquet",
}


def _galaxies() -> Table:
  return Table(
    {
      "ID": _IDS,
      "File": ["a b.jpg", "b.jpg", "c.jpg"],
      "mass": MaskedColumn(
        [10.5, 9.0, 0.0],
        mask=[False, False, True],
        unit="kpc",
        description="Size",
      ),
      "count": MaskedColumn([3, 0, 5], mask=[False, True, False]),
    }
  )


def _write(folder: pathlib.Path, suffix: str) -> pathlib.Path:
  path = folder / f"table.{suffix}"
  kind = _FORMATS[suffix.removesuffix(".gz")]
  plain = path.with_name(path.name.removesuffix(".gz"))
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    _galaxies().write(plain, format=kind)
  if plain != path:
    path.write_bytes(gzip.compress(plain.read_bytes()))
  return path


@pytest.mark.parametrize(
  "suffix", [*_FORMATS, "csv.gz", "ecsv.gz", "fits.gz", "vot.gz"]
)
def test_every_format_is_read_back(tmp_path, suffix):
  """Ids, texts, missing values, and units where the format has them."""
  table = user_tables.read(_write(tmp_path, suffix))

  assert table.colnames == ["ID", "File", "mass", "count"]
  ids, names = user_tables.ids(table, "ID")
  assert ids.tolist() == _IDS
  assert ids.dtype == np.int64
  assert names is None
  assert user_tables.texts(table, "File") == ["a b.jpg", "b.jpg", "c.jpg"]
  np.testing.assert_array_equal(
    user_tables.numbers(table, "mass"), [10.5, 9.0, np.nan]
  )
  np.testing.assert_array_equal(
    user_tables.numbers(table, "count"), [3, np.nan, 5]
  )
  if not suffix.startswith("csv"):
    assert str(table["mass"].unit) == "kpc"
    assert table["mass"].description == "Size"


def test_parquet_of_pandas_keeps_ids_beside_missing_ones(tmp_path):
  """Its integers with a missing value, texts with None, and booleans."""
  path = tmp_path / "table.parquet"
  pd.DataFrame(
    {
      "id": pd.array([_IDS[0], None], dtype="Int64"),
      "name": ["a", None],
      "ok": [True, False],
    }
  ).to_parquet(path)

  table = user_tables.read(path)

  assert table["id"].tolist() == [_IDS[0], None]
  assert user_tables.texts(table, "id") == [str(_IDS[0]), ""]
  assert user_tables.texts(table, "name") == ["a", ""]
  assert user_tables.numbers(table, "ok").tolist() == [1, 0]


def test_catalogues_of_built_samples_keep_their_units(tmp_path):
  path = tmp_path / "catalog.parquet"
  tables.write(path, pd.DataFrame({"objid": _IDS, "ra": [1.0, 2.0, 3.0]}))

  table = user_tables.read(path)

  assert str(table["ra"].unit) == "deg"
  assert table["ra"].description == "Right ascension, J2000"


def test_a_unit_that_astropy_does_not_know_is_kept(tmp_path):
  path = tmp_path / "table.fits"
  column = fits.Column("oh", "E", unit="blobs", array=[8.5])
  fits.BinTableHDU.from_columns([column]).writeto(path)

  assert str(user_tables.read(path)["oh"].unit) == "blobs"


def test_csv_of_skyserver_and_of_spreadsheets(tmp_path):
  """A line before the header, a byte-order mark, old line ends, blank lines."""
  path = tmp_path / "table.csv"
  path.write_bytes(
    b"\xef\xbb\xbf#Table1\robjID, oh\r1237665024900858129,8.5\r\r"
  )

  table = user_tables.read(path)

  assert table.colnames == ["objID", "oh"]
  assert table["objID"].tolist() == [_IDS[0]]


def test_csv_with_empty_columns_of_a_spreadsheet(tmp_path):
  path = tmp_path / "table.csv"
  path.write_text("id,oh,,\n1,8.5,,\n2,8.6,,\n")

  assert user_tables.read(path).colnames == ["id", "oh"]


def test_csv_ids_with_leading_zeros_stay_text(tmp_path):
  path = tmp_path / "table.csv"
  path.write_text("id\n0012\n0013\n")

  ids, names = user_tables.ids(user_tables.read(path), "id")

  assert names == ["0012", "0013"]
  assert ids.tolist() == [user_tables.hash_id(text) for text in names]
  assert (ids > 0).all()


@pytest.mark.parametrize(
  ("name", "data", "message"),
  [
    ("absent.csv", None, "no such file"),
    (".", None, "found a folder"),
    ("a.txt", b"x", "expected a name that ends in .csv, .ecsv, .fits"),
    ("a", b"x", "found no suffix"),
    ("a.parquet.gz", b"x", "found .parquet.gz"),
    ("a.csv", b"", "at least one row, found 0 rows"),
    ("a.csv", b"id,oh\n", "at least one row, found 0 rows of 2 columns"),
    ("a.csv", b"id,id\n1,2\n", "distinct names of columns, found 'id' 2"),
    ("a.csv", b"id,\n1,2\n", "distinct names of columns, found ''"),
    ("a.csv", b"id,oh\n1,2\n3\n", "found 1 in row 2 below it"),
    ("a.csv", b'id,oh\n"1,2\n3', "cannot be read as a .csv table"),
    ("a.csv", "id,né\n1,2\n".encode("latin-1"), "again as UTF-8"),
    ("a.csv.gz", b"no gzip", "cannot be read as a .csv table"),
    ("a.ecsv", b"id,oh\n1,2\n", "cannot be read as a .ecsv table"),
    ("a.fits", b"", "cannot be read as a .fits table"),
    ("a.fits", b"SIMPLE  = no", "cannot be read as a .fits table"),
    ("a.vot", b"<VOTABLE>", "cannot be read as a .vot table"),
    ("a.xml", b"<html></html>", "cannot be read as a .xml table"),
    ("a.parquet", b"PAR1", "cannot be read as a .parquet table"),
  ],
)
def test_bad_files_are_refused_in_one_line(tmp_path, name, data, message):
  path = tmp_path / name
  if data is not None:
    path.write_bytes(data)

  with pytest.raises(DataError) as error:
    user_tables.read(path)

  assert message in str(error.value)
  assert "\n" not in str(error.value)
  assert str(path) in str(error.value)


@pytest.mark.parametrize("suffix", ["ecsv", "fits", "vot", "parquet"])
def test_truncated_files_are_refused(tmp_path, suffix):
  path = _write(tmp_path, suffix)
  path.write_bytes(path.read_bytes()[: -len(path.read_bytes()) // 3])

  with pytest.raises(DataError, match="cannot be read"):
    user_tables.read(path)


def test_votable_with_two_columns_of_one_name_is_refused(tmp_path):
  path = _write(tmp_path, "vot")
  path.write_text(path.read_text().replace('name="count"', 'name="mass"'))

  with pytest.raises(DataError, match="found 'mass' 2 times"):
    user_tables.read(path)


def test_columns_are_parsed():
  assert user_tables.parse_columns("id=ID, image=File,oh_p50=O/H") == {
    "id": "ID",
    "image": "File",
    "oh_p50": "O/H",
  }


@pytest.mark.parametrize("text", ["", "id", "id=", "=ID", "id=A,", "id=A,id=B"])
def test_bad_columns_are_refused(text):
  with pytest.raises(DataError, match="--columns"):
    user_tables.parse_columns(text)


def test_columns_are_found_without_regard_to_case():
  table = Table({"objID": [1], "RA": [1], "ra": [2]})

  assert user_tables.find(table, "OBJID") == "objID"
  assert user_tables.find(table, "ra") == "ra"
  assert user_tables.find(table, "RA") == "RA"
  with pytest.raises(DataError, match="Did you mean RA or ra"):
    user_tables.find(table, "Ra")


def test_an_absent_column_names_those_that_look_alike():
  table = Table({f"column{number}": [1] for number in range(12)})
  table["oh_p50"] = [1]

  with pytest.raises(DataError) as error:
    user_tables.find(table, "oh_50")

  assert "found column0, column1" in str(error.value)
  assert "column9 and 3 more. Did you mean oh_p50?" in str(error.value)


def test_every_marker_of_a_missing_value_is_nan():
  values = ["1.5", "", " ", "nan", "NULL", "None", "N/A", "--", "-99", "-9999"]

  found = user_tables.numbers(Table({"oh": values}), "oh")

  np.testing.assert_array_equal(found, [1.5] + [np.nan] * 9)
  numbers = [1.5, np.nan, -99, -999, -9999, -99999, -1, -9998]
  np.testing.assert_array_equal(
    user_tables.numbers(Table({"oh": numbers}), "oh"),
    [1.5, *[np.nan] * 5, -1, -9998],
  )
  objects = Table({"oh": np.array([1.5, None, "2"], dtype=object)})
  np.testing.assert_array_equal(
    user_tables.numbers(objects, "oh"), [1.5, np.nan, 2]
  )


@pytest.mark.parametrize("text", ["high", "8,5", "1_0", "<8.5"])
def test_a_text_that_is_no_number_is_refused(text):
  with pytest.raises(DataError, match="column oh, row 2: expected a number"):
    user_tables.numbers(Table({"oh": ["1", text]}), "oh")


def test_a_column_of_arrays_may_exist_but_not_be_named(tmp_path):
  path = tmp_path / "table.ecsv"
  Table({"id": [1, 2], "spectrum": [[1, 2, 3], [4, 5, 6]]}).write(path)

  table = user_tables.read(path)

  assert user_tables.numbers(table, "id").tolist() == [1, 2]
  for function in (user_tables.numbers, user_tables.texts, user_tables.ids):
    with pytest.raises(DataError, match="found an array of 3"):
      function(table, "spectrum")


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ([1.237665e18, 2.0], "never as floats"),
    (["1.237665E+18", "5"], "never as floats"),
    ([5, -9999], "row 2: expected an id, found -9999"),
    (["5", "-1"], "row 2: expected an id, found -1"),
    (["a", ""], "row 2: expected an id, found none"),
    (MaskedColumn([5, 6], mask=[True, False]), "row 1: expected an id"),
    (["a", "b", "a"], "expected distinct ids, found 1 of several rows: a"),
    (np.array([2**63], np.uint64), "at most 19 digits"),
  ],
)
def test_bad_ids_are_refused(values, message):
  with pytest.raises(DataError, match=message):
    user_tables.ids(Table({"id": values}), "id")


def test_ids_of_digits_in_text_are_integers():
  ids, names = user_tables.ids(Table({"id": [str(i) for i in _IDS]}), "id")

  assert ids.tolist() == _IDS
  assert names is None


def test_the_hash_of_an_id_does_not_change():
  """Splits and folds depend on it; from b2sum -l 64, without its last bit."""
  assert user_tables.hash_id("NGC 1300") == 2852234294306194620
