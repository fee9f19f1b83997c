"""Tables of predictions: equal to the evaluation, and flagged."""

import pathlib
import shutil

from astropy.table import Table
import numpy as np
import pandas as pd
import pytest

from galmet_jax import errors
from galmet_jax import results
from galmet_jax.predict.flags import Flag
from tests import odd_images
from tests.galmet_jax.page import page_data
from tests.galmet_jax.predict import predicted_tables as tables


def test_predictions_are_those_of_the_evaluation(run, mine, mock_data_dir):
  table = tables.predict(run, mine)
  expected = results.read_predictions(run, "test")
  assert table["objid"].tolist() == expected.objid.tolist()
  # The evaluation averages the views in single precision.
  np.testing.assert_allclose(
    table["oh_p50_pred"], expected.oh_p50_pred, rtol=0, atol=2e-6
  )
  np.testing.assert_allclose(
    table["oh_p50_tta_std"].data, expected.oh_p50_tta_std, rtol=1e-4
  )
  assert (table["oh_p50_tta_std"] > 0).all()
  assert table["note"][0] == "<script>, =1+1"
  assert table["oh_p50_pred"].unit == "dex"
  assert (table["oh_p50_pred_p16"] < table["oh_p50_pred_p84"]).all()
  half = (table["oh_p50_pred_p84"] - table["oh_p50_pred_p16"]) / 2
  np.testing.assert_allclose(table["oh_p50_pred_err"], half, rtol=1e-6)
  split = tables.predict(
    *(run, mine),
    input="tfds:sdss_metallicity/mock:test",
    data_dir=str(mock_data_dir),
    output="split.fits",
  )
  np.testing.assert_array_equal(split["oh_p50_pred"], table["oh_p50_pred"])
  assert split["modelMag_r"].unit == "mag"
  files = tables.predict(
    run, mine, input=str(mine / "images"), output="files.vot"
  )
  np.testing.assert_array_equal(files["oh_p50_pred"], table["oh_p50_pred"])
  assert files["file"].tolist() == sorted(table["file"].tolist())


def test_run_is_moved_without_its_data_and_not_changed(run, mine, tmp_path):
  expected = tables.values(tables.predict(run, mine))
  moved = tmp_path / "moved run"
  shutil.copytree(run, moved)
  config = moved / "config.json"
  assert "data_dir" in config.read_text()
  before = {
    path: path.stat().st_mtime_ns for path in moved.rglob("*") if path.is_file()
  }
  for path in (*moved.rglob("*"), moved):
    path.chmod(0o555 if path.is_dir() else 0o444)
  found = tables.values(tables.predict(moved, mine, output="again.ecsv"))
  np.testing.assert_array_equal(found, expected)
  for path in (moved, *moved.rglob("*")):
    path.chmod(0o755 if path.is_dir() else 0o644)
  after = {
    path: path.stat().st_mtime_ns for path in moved.rglob("*") if path.is_file()
  }
  assert after == before


def plant_faults(folder):
  """Plants a fault of each kind; returns the expected flags by row."""
  table = Table.read(folder / "mine.csv")
  images = folder / "images"
  paths = [images / name for name in table["file"]]
  expected = dict.fromkeys(range(len(table)), 0)
  paths[1].unlink()
  expected[1] = Flag.NO_IMAGE
  table["file"][2] = "../mine.csv"
  expected[2] = Flag.NO_IMAGE
  paths[3].write_bytes(paths[3].read_bytes()[:-400])
  expected[3] = Flag.BAD_IMAGE
  paths[4].write_bytes(b"<html>")
  expected[4] = Flag.BAD_IMAGE
  rng = np.random.default_rng(0)
  empty = np.zeros((1, 128, 128, 3), np.uint8)
  for row, size in ((5, 64), (6, 1)):
    save(paths[row], empty[0, :size, :size])
    expected[row] = Flag.BAD_IMAGE
  save(paths[7], empty[0])
  expected[7] = Flag.BLACK
  save(paths[8], odd_images.star(empty, rng)[0])
  expected[8] = Flag.OOD
  shutil.copy(paths[10], paths[9])
  expected[9] = expected[10] = Flag.DUPLICATE
  table.write(folder / "mine.csv", overwrite=True)
  return np.array(list(expected.values()))


def save(path, pixels):
  from PIL import Image

  Image.fromarray(pixels).save(path, "JPEG", quality=95)


def test_planted_faults_are_flagged_and_the_others_are_equal(run, mine, capsys):
  clean = tables.predict(run, mine)
  expected = clean["flags"].data.copy()
  planted = plant_faults(mine)
  changed = planted != 0
  expected[changed] = planted[changed]
  table = tables.predict(run, mine, output="faults.ecsv")
  without = Flag(1023 + Flag.DUPLICATE) & ~Flag.EXTRAPOLATES
  np.testing.assert_array_equal(
    table["flags"].data & without, expected & without
  )
  np.testing.assert_array_equal(
    tables.values(table)[:, ~changed], tables.values(clean)[:, ~changed]
  )
  absent = (planted & 127) != 0
  assert np.isnan(tables.values(table)[:, absent]).all()
  assert np.isfinite(tables.values(table)[0, ~absent]).all()
  text = table["flag_text"].tolist()
  assert text[1] == "no image"
  assert "broken JPEG" in text[3]
  assert "HTML" in text[4]
  assert "BAD_IMAGE (2): 4 rows" in capsys.readouterr().out


def test_galaxies_of_the_training_are_flagged(run, mine, mock_data_dir):
  request = {"data_dir": str(mock_data_dir), "output": "train.parquet"}
  table = tables.predict(
    run, mine, input="tfds:sdss_metallicity/mock:train", **request
  )
  assert (table["flags"].data & Flag.IN_TRAINING).all()
  table = tables.predict(run, mine)
  assert not (table["flags"].data & Flag.IN_TRAINING).any()


def test_unshrunk_predictions_and_prefix(run, mine):
  table = tables.predict(run, mine, unshrink=True, prefix="galmet_")
  from galmet_jax.calibration import calibration

  a, b = calibration.Calibration.load(run).targets[0].line
  expected = (table["galmet_oh_p50_pred"].data.astype(float) - a) / b
  np.testing.assert_allclose(
    table["galmet_oh_p50_pred_unshrunk"].data, expected, rtol=1e-4
  )


def test_page_has_each_galaxy_and_the_table_is_the_same(run, mine):
  expected = tables.predict(run, mine)
  page = mine / "page.html"
  table = tables.predict(run, mine, output="second.ecsv", page=str(page))
  np.testing.assert_array_equal(tables.values(table), tables.values(expected))
  shown = page_data.read(page)
  assert shown["id"] == [str(objid) for objid in table["objid"]]
  for name in ("pred", "pred_p16", "pred_p97p5"):
    np.testing.assert_array_equal(shown[name], table[f"oh_p50_{name}"])
  np.testing.assert_array_equal(shown["flags"], table["flag_text"].astype(str))
  assert "true" not in shown


def test_page_of_a_split_has_true_values(run, mine, mock_data_dir):
  page = mine / "page.html"
  table = tables.predict(
    *(run, mine),
    input="tfds:sdss_metallicity/mock:test",
    data_dir=str(mock_data_dir),
    page=str(page),
  )
  shown = page_data.read(page)
  np.testing.assert_array_equal(shown["true"], table["oh_p50"])


@pytest.mark.parametrize("name", ["page.htm", "absent/page.html", "."])
def test_page_that_cannot_be_written_is_refused_at_the_start(run, mine, name):
  with pytest.raises(errors.ConfigError, match=r"--page=.* ends in \.html"):
    tables.predict(run, mine, page=str(mine / name))
  assert not (mine / "out.ecsv").exists()


def test_repeated_ids_are_flagged(run, mine):
  table = Table.read(mine / "mine.csv")
  table["objid"][1] = table["objid"][0]
  table.write(mine / "mine.csv", overwrite=True)
  flags = tables.predict(run, mine)["flags"].data
  assert (flags[:2] & Flag.DUPLICATE).all()
  assert not (flags[2:] & Flag.DUPLICATE).any()


def test_pandas_reads_the_table(run, mine):
  tables.predict(run, mine, output="out.csv")
  frame = pd.read_csv(mine / "out.csv", dtype={"objid": np.int64})
  assert frame.objid.tolist() == Table.read(mine / "mine.csv")["objid"].tolist()
  text = pathlib.Path(mine / "out.columns.md").read_text()
  for keyword in ("CKPTSHA", "NCAL", "LCCB", "stat.percentile"):
    assert keyword in text
