import json

from astropy import time
from astropy import units
from astropy.coordinates import SkyCoord
import astropy.table
from astropy.table import MaskedColumn
from astropy.table import Table
import numpy as np
import pytest

from galmet_jax import errors
from galmet_jax.tables import new_columns
from galmet_jax.tables import writer
from tests.galmet_jax.tables import predicted


@pytest.mark.parametrize("suffix", predicted.FORMATS)
def test_all_types_of_an_input_are_written(tmp_path, suffix):
  table = Table()
  table["uint8"] = MaskedColumn(
    np.array([0, 255, 1, 2], np.uint8), mask=predicted.MISSING
  )
  table["int8"] = np.array([-128, 127, 0, 1], np.int8)
  table["uint16"] = np.array([0, 2**16 - 1, 1, 2], np.uint16)
  table["uint64"] = np.array([predicted.OBJID, 1, 2, 3], np.uint64)
  table["int16"] = MaskedColumn(
    np.array([-(2**15), 0, 2**15 - 1, 999], np.int16), mask=predicted.MISSING
  )
  table["bool"] = MaskedColumn(
    [True, False, False, True], mask=predicted.MISSING
  )
  table["float16"] = np.array([1.5, np.inf, -2, 0], np.float16)
  table["swapped"] = np.array([1, 2, 3, 4], ">i4")
  table["bytes"] = [b"a", "é".encode(), "é".encode("latin-1"), b""]
  if suffix == "fits":
    table["bytes"] = [b"a", b"b", b"c", b""]
  table["objects"] = np.array(["x", None, "yz", ""], object)
  table["blank"] = MaskedColumn(["a", "b", "", ""], mask=predicted.MISSING)
  predicted.write(tmp_path / f"out.{suffix}", table)
  found = predicted.read(tmp_path / f"out.{suffix}")
  for name in ("uint8", "int8", "uint16", "uint64", "int16", "bool", "swapped"):
    assert found[name].tolist() == table[name].tolist(), name
  np.testing.assert_array_equal(found["float16"], table["float16"])
  texts = {
    name: np.ma.filled(found[name].astype(object), "").tolist()
    for name in ("bytes", "objects", "blank")
  }
  assert texts == {
    "bytes": ["a", "b", "c", ""] if suffix == "fits" else ["a", "é", "é", ""],
    "objects": ["x", "", "yz", ""],
    "blank": ["a", "", "", ""],
  }


@pytest.mark.parametrize("suffix", predicted.FORMATS)
def test_arrays_are_kept_or_become_json(tmp_path, suffix):
  table = Table()
  table["flux"] = np.arange(8, dtype=np.float32).reshape(4, 2)
  table["cube"] = np.arange(16.0).reshape(4, 2, 2)
  table["ids"] = MaskedColumn(
    np.array([[1, 2]] * 4),
    mask=[[False, missing] for missing in predicted.MISSING],
  )
  table["text"] = [["a", "bc"]] * 4
  predicted.write(tmp_path / f"out.{suffix}", table)
  found = predicted.read(tmp_path / f"out.{suffix}")
  for name in table.colnames:
    values = found[name].tolist()
    if found[name].dtype.kind == "U" and found[name].ndim == 1:
      values = [json.loads(value) for value in values]
    assert values == table[name].tolist(), name
  assert (found["flux"].ndim == 2) == (suffix != "csv")


@pytest.mark.parametrize("suffix", predicted.FORMATS)
def test_quantities_times_and_positions_become_columns(tmp_path, suffix):
  table = astropy.table.QTable()
  table["size"] = [1.0, 2.0] * units.arcsec
  table["sky"] = SkyCoord([1.0, 2.0], [3.0, 4.0], unit="deg")
  table["when"] = time.Time(["2026-01-01", "2026-01-02"])
  joined = writer.join(table, [])
  writer.check_table(tmp_path / f"out.{suffix}", joined)
  predicted.write(tmp_path / f"out.{suffix}", joined)
  found = predicted.read(tmp_path / f"out.{suffix}")
  assert found.colnames == ["size", "sky.ra", "sky.dec", "when"]
  assert found["size"].tolist() == [1, 2]
  assert found["sky.dec"].tolist() == [3, 4]
  assert suffix == "csv" or found["size"].unit == units.arcsec


@pytest.mark.parametrize("suffix", predicted.FORMATS)
def test_an_empty_table_is_written(tmp_path, suffix):
  columns = new_columns.for_target("oh_p50", "dex", {"pred": []})
  columns += new_columns.for_galaxies({"flag_text": [], "flags": []})
  table = writer.join(predicted.make_input()[:0], columns)
  predicted.write(tmp_path / f"out.{suffix}", table)
  found = predicted.read(tmp_path / f"out.{suffix}")
  assert (found.colnames, len(found)) == (table.colnames, 0)


@pytest.mark.parametrize(
  ("suffix", "text"),
  [
    ("fits", "café"),
    ("fits", "two\nlines"),
    ("vot", "bell\a"),
    ("vot", "a null\0character"),
    # A file name that is not UTF-8.
    ("csv", "\udce9.jpg"),
    ("ecsv", "\udce9.jpg"),
    ("parquet", "\udce9.jpg"),
  ],
)
def test_text_that_a_format_lacks_is_refused_before_work(
  tmp_path, suffix, text
):
  path = tmp_path / f"out.{suffix}"
  table = predicted.make_input()
  writer.check_table(path, table)
  table["notes"] = ["", "good", text, ""]
  with pytest.raises(errors.ConfigError, match=r"'notes', row 3.*Give a"):
    writer.check_table(path, table)
  if suffix in ("fits", "vot"):
    for other in ("ecsv", "parquet", "csv"):
      writer.check_table(tmp_path / f"out.{other}", table)
  # Nothing is lost if a text comes up during the work.
  predicted.write(path, table)
  assert predicted.read(path)["notes"][2] == ascii(text)[1:-1]
  table.rename_column("notes", text)
  table[text] = ""
  with pytest.raises(errors.ConfigError, match="column name"):
    writer.check_table(path, table)


@pytest.mark.parametrize(
  ("values", "message"),
  [
    (np.array([1j, 2j]), "complex128"),
    (np.array([np.arange(2), np.arange(3)], object), "row 1.*found ndarray"),
  ],
)
def test_columns_without_a_form_are_refused(tmp_path, values, message):
  table = Table({"odd": values})
  with pytest.raises(errors.ConfigError, match=message):
    writer.check_table(tmp_path / "out.csv", table)


@pytest.mark.parametrize("names", [["mask"], ["data"], ["id", "id.mask"]])
def test_names_that_parquet_cannot_hold_are_refused(tmp_path, names):
  table = Table({name: [1, 2] for name in names})
  writer.check_table(tmp_path / "out.parquet", table)
  table[names[0]] = MaskedColumn([1, 2], mask=[True, False])
  writer.check_table(tmp_path / "out.ecsv", table)
  with pytest.raises(errors.ConfigError, match="Rename it"):
    writer.check_table(tmp_path / "out.parquet", table)
