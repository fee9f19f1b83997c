"""Inputs and outputs that cannot be used are one line."""

from astropy.table import Table
import numpy as np
import pytest

from galmet_jax import errors
from tests.galmet_jax.predict import predicted_tables as tables


def no_output_folder(folder, run):
  return {"output": str(folder / "absent" / "out.csv")}, "does not exist"


def unknown_suffix(folder, run):
  return {"output": str(folder / "out.xlsx")}, "expected a file .csv"


def output_is_input(folder, run):
  return {"output": str(folder / "mine.csv")}, "would be overwritten"


def absent_input(folder, run):
  return {"input": str(folder / "absent.csv")}, "no such file"


def empty_folder(folder, run):
  (folder / "empty").mkdir()
  return {"input": str(folder / "empty")}, "expected images"


def no_images(folder, run):
  return {"images": str(folder / "absent")}, "expected a folder, found none"


def neither_images_nor_positions(folder, run):
  (folder / "other.csv").write_text("a,b\n1,2\n")
  return {"input": str(folder / "other.csv"), "images": ""}, "--images=FOLDER"


def unknown_column(folder, run):
  return {"columns": "id=objd"}, "Did you mean objid"


def unknown_role(folder, run):
  return {"columns": "key=objid"}, "expected the roles id"


def name_in_use(folder, run):
  table = Table.read(folder / "mine.csv")
  table["OH_p50_pred"] = 1.0
  table.write(folder / "mine.csv", overwrite=True)
  return {}, "--prefix=galmet_"


def empty_table(folder, run):
  (folder / "mine.csv").write_text("objid,file\n")
  return {}, "mine.csv"


def ids_as_floats(folder, run):
  (folder / "mine.csv").write_text("objid,file\n1.2e18,a.jpg\n")
  return {}, "never as floats"


def sexagesimal(folder, run):
  (folder / "mine.csv").write_text("objid,file,ra,dec\n1,a.jpg,12:30:00,5\n")
  return {}, "expected degrees|row 1"


def latin1(folder, run):
  (folder / "mine.csv").write_bytes("objid,file\n1,é.jpg\n".encode("latin-1"))
  return {}, "UTF-8"


def unknown_split(folder, run):
  return {"input": "tfds:sdss_metallicity/mock"}, "tfds:NAME:SPLIT"


@pytest.mark.parametrize(
  "make",
  [
    *(no_output_folder, unknown_suffix, output_is_input, absent_input),
    *(empty_folder, no_images, neither_images_nor_positions, unknown_column),
    *(unknown_role, name_in_use, empty_table, ids_as_floats, sexagesimal),
    *(latin1, unknown_split),
  ],
)
def test_bad_requests_are_one_line(run, mine, make):
  before = sorted(path.name for path in mine.iterdir())
  changes, match = make(mine, run)
  with pytest.raises(Exception, match=f"(?i){match}") as caught:
    tables.predict(run, mine, **changes)
  assert errors.describe(caught.value) == str(caught.value)
  assert "\n" not in str(caught.value)
  left = {path.name for path in mine.iterdir()} - set(before)
  assert left <= {"empty", "other.csv"}


@pytest.mark.parametrize(
  ("row", "expected"),
  [
    ("7,a.jpg,12:30:00,-5", [187.5, -5]),
    ("7,a.jpg,00:00:01,5", [1 / 240, 5]),
  ],
)
def test_sexagesimal_positions_with_a_unit(tmp_path, row, expected):
  from galmet_jax.predict import inputs

  path = tmp_path / "mine.ecsv"
  table = Table(
    [[7], ["a.jpg"], [row.split(",")[2]], [float(row.split(",")[3])]],
    names=["objid", "file", "ra", "dec"],
  )
  table["ra"].unit = "hourangle"
  table.write(path)
  rows = inputs.read(str(path), "", str(tmp_path), None, needs_images=True)
  np.testing.assert_allclose(rows.positions, [expected])
