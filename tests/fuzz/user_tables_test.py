"""Damaged tables of users, and descriptions of their samples."""

import contextlib
import gzip
import json

from astropy import units
from astropy.table import MaskedColumn
from astropy.table import Table
import numpy as np
import pytest

from tests import mutations
from tests.tfds_sdss import fake_layout
from tfds_sdss import columns
from tfds_sdss import files
from tfds_sdss import sample_info
from tfds_sdss.errors import DataError
from tfds_sdss.own import user_tables

_FORMATS = {
  "csv": "ascii.csv",
  "csv.gz": "ascii.csv",
  "ecsv": "ascii.ecsv",
  "fits": "fits",
  "vot": "votable",
  "parquet": "parquet",
}


def table():
  return Table(
    {
      "id": fake_layout.OBJID + np.arange(4),
      "name": ["a, b", "M 31", "", "é"],
      "mass": MaskedColumn(
        [9.5, np.nan, -9999, 11], mask=[0, 0, 0, 1], unit="arcsec"
      ),
    }
  )


def values(path):
  """Returns all that the project reads from a table."""
  found = user_tables.read(path)
  whole = {}
  for name in found.colnames:
    for read in (user_tables.texts, user_tables.numbers, user_tables.ids):
      with contextlib.suppress(DataError):
        whole[name, read.__name__] = read(found, name)
    assert len(whole.get((name, "texts"), found)) == len(found)
  return whole


def write(folder, suffix):
  path = folder / f"mine.{suffix}"
  contents = table()
  if suffix == "fits":
    contents["name"] = [b"a, b", b"M 31", b"", b"e"]
  contents.write(path, format=_FORMATS[suffix])
  if suffix == "csv.gz":
    path.write_bytes(gzip.compress(path.read_bytes()))
  return path


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("suffix", _FORMATS)
def test_tables(root, suffix):
  path = write(root, suffix)
  mutations.fuzz(lambda data: values(path), path.read_bytes(), path=path)


@pytest.mark.parametrize("suffix", ["csv.gz", "fits", "vot", "parquet"])
def test_incomplete_table_is_refused(root, suffix):
  path = write(root, suffix)
  data = path.read_bytes()
  expected = values(path)
  for stop in np.linspace(0, len(data) - 1, 60).astype(int):
    path.write_bytes(data[:stop])
    with contextlib.suppress(DataError):
      np.testing.assert_equal(values(path), expected)


def described():
  mass = columns.Column("logm", "", "dex", "Mass", (7.0, 13.0))
  number = columns.Column("n", "", "", "Number", (0, 2**53 + 1), np.int64)
  return sample_info.Info(
    label="logm",
    columns=(mass, number),
    image_size=24,
    bands=("r", "g", "u"),
    pixel_scale=0.4,
  )


def test_description(root):
  before = described()
  sample_info.write(root, before)
  path = root / sample_info.FILE

  def read(data):
    assert sample_info.read(root) == before

  mutations.fuzz(read, path.read_bytes(), path=path)


def test_description_by_others(root):
  """The digest is right, as another version of the program writes it."""

  def read(data):
    files.write_json(root / sample_info.FILE, mutations.json_object(data))
    info = sample_info.read(root)
    assert info.describe_images()
    assert np.zeros((info.image_size,) * 2).size
    for column in info.columns:
      columns.is_valid(column, np.zeros(2, column.dtype))
      units.Unit(column.unit, parse_strict="silent")
    assert not info.differences(info)

  mutations.fuzz(read, json.dumps(sample_info.as_json(described())).encode())
