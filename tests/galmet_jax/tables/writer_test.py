import os
import pathlib

import pytest

from galmet_jax import errors
from galmet_jax.tables import writer
from tests.galmet_jax.tables import predicted
from tfds_sdss import files


def test_join_keeps_the_input_unchanged():
  table = predicted.make_input()
  table.meta["TCOMM1"] = "An id"
  table.meta["TUCD1"] = "meta.id"
  joined = writer.join(table, predicted.make_columns(), prefix="new_")
  assert (
    joined.colnames[:5] == table.colnames == predicted.make_input().colnames
  )
  assert joined.colnames[5] == "new_oh_p50_pred"
  assert joined["objID"].description == "An id"
  assert joined["objID"].meta == {"ucd": "meta.id"}
  assert table["objID"].description is None
  assert table["objID"].meta == {}
  assert joined.meta == {}
  assert "TCOMM1" in table.meta
  predicted.expect_same(joined, table)


@pytest.mark.parametrize("name", ["flags", "FLAGS", "Oh_P50_pred"])
def test_a_name_of_the_input_is_refused(name):
  table = predicted.make_input()
  table[name] = 1
  with pytest.raises(errors.ConfigError, match="Add --prefix=galmet_"):
    writer.join(table, predicted.make_columns())
  joined = writer.join(table, predicted.make_columns(), prefix="galmet_")
  assert "galmet_flags" in joined.colnames


def test_two_new_columns_of_one_name_are_refused():
  with pytest.raises(errors.ConfigError, match="'flags'"):
    writer.join(predicted.make_input(), 2 * predicted.make_columns()[-5:])


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("out.txt", "expected a file .csv"),
    ("out", "expected a file .csv"),
    ("out.gz", "expected a file .csv"),
    ("out.parquet.gz", "expected a file .csv"),
    ("folder.csv", "found a folder"),
    ("none/out.csv", "mkdir -p"),
  ],
)
def test_a_path_is_refused_before_work(tmp_path, name, message):
  (tmp_path / "folder.csv").mkdir()
  with pytest.raises(errors.ConfigError, match=message) as caught:
    writer.check_path(tmp_path / name)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("locked", ["", "out.csv", "out.columns.md"])
def test_a_place_without_permission_is_refused(tmp_path, locked, monkeypatch):
  (tmp_path / "out.csv").touch()
  (tmp_path / "out.columns.md").touch()
  # The tests may run as root, who may write everywhere.
  monkeypatch.setattr(os, "access", lambda path, _: path != tmp_path / locked)
  with pytest.raises(errors.ConfigError, match="cannot be written"):
    writer.check_path(tmp_path / "out.csv")


@pytest.mark.parametrize(
  "name", ["a.csv", "a.FITS", "b.c.vot", "a.xml.gz", "a.votable", "a.ecsv"]
)
def test_a_path_is_accepted(tmp_path, name):
  writer.check_path(tmp_path / name)


@pytest.mark.parametrize("suffix", predicted.FORMATS)
def test_a_failed_write_leaves_the_old_file(tmp_path, suffix, monkeypatch):
  path = tmp_path / f"out.{suffix}"
  first = predicted.write(path)
  monkeypatch.setattr(pathlib.Path, "replace", _disk_full)
  with pytest.raises(OSError, match="No space left"):
    predicted.write(path, DATE="2027")
  assert path.read_bytes() == first
  assert not list(tmp_path.glob("*.part"))


def _disk_full(self, target):
  raise OSError(28, "No space left on device")


def test_a_keyword_too_long_for_fits_is_refused(tmp_path):
  with pytest.raises(ValueError, match="CHECKPOINT"):
    predicted.write(tmp_path / "out.ecsv", CHECKPOINT=1)


def test_files_that_are_written_have_the_usual_permissions(tmp_path):
  predicted.write(tmp_path / "out.parquet")
  files.write_atomically(tmp_path / "other", b"")
  modes = [
    (tmp_path / name).stat().st_mode for name in ("out.parquet", "other")
  ]
  assert modes[0] == modes[1]


@pytest.mark.parametrize("suffix", predicted.FORMATS)
@pytest.mark.parametrize("again", predicted.FORMATS)
def test_a_table_of_predictions_can_be_the_input(tmp_path, suffix, again):
  first = writer.join(predicted.make_input(), predicted.make_columns())
  predicted.write(tmp_path / f"first.{suffix}", first)
  table = predicted.read(tmp_path / f"first.{suffix}")
  writer.check_table(tmp_path / f"second.{again}", table)
  second = writer.join(table, predicted.make_columns(), prefix="new_")
  predicted.write(tmp_path / f"second.{again}", second)
  found = predicted.read(tmp_path / f"second.{again}")
  predicted.expect_same(found, first)
  if "csv" not in (suffix, again):
    found = writer.join(found, [])
    assert str(found["ra"].unit) == "deg"
    assert found["ra"].description == "Right ascension"
    assert found["new_flags"].meta.get("ucd") == "meta.code.qual"
