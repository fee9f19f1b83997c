"""Tables of predictions: equal to the evaluation, flagged, and resumed."""

import os
import pathlib
import pickle
import shutil

from astropy.table import Table
import numpy as np
import pandas as pd
import pytest

from galmet_jax import errors
from galmet_jax import results
from galmet_jax.predict import chunks
from galmet_jax.predict import command
from galmet_jax.predict.flags import Flag
from galmet_jax.predict_flags import Request
from tests import odd_images
from tfds_sdss import beam_shards
from tfds_sdss import user_tables


def predict(run, folder, output="out.ecsv", **changes):
  """Predicts mine.csv; returns the table."""
  request = {
    "input": str(folder / "mine.csv"),
    "images": str(folder / "images"),
    "output": str(folder / output),
  }
  path = command.predict(run, Request(**{**request, **changes}))
  assert not path.with_name(f"{path.name}.chunks").exists()
  return user_tables.read(path)


def values(table):
  names = [name for name in table.colnames if name.startswith("oh_p50_")]
  return np.stack([np.ma.filled(table[name], np.nan) for name in names])


def test_predictions_are_those_of_the_evaluation(run, mine, mock_data_dir):
  table = predict(run, mine)
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
  split = predict(
    *(run, mine),
    input="tfds:sdss_metallicity/mock:test",
    data_dir=str(mock_data_dir),
    output="split.fits",
  )
  np.testing.assert_array_equal(split["oh_p50_pred"], table["oh_p50_pred"])
  assert split["modelMag_r"].unit == "mag"
  files = predict(run, mine, input=str(mine / "images"), output="files.vot")
  np.testing.assert_array_equal(files["oh_p50_pred"], table["oh_p50_pred"])
  assert files["file"].tolist() == sorted(table["file"].tolist())


def test_run_is_moved_without_its_data_and_not_changed(run, mine, tmp_path):
  expected = values(predict(run, mine))
  moved = tmp_path / "moved run"
  shutil.copytree(run, moved)
  config = moved / "config.json"
  assert "data_dir" in config.read_text()
  before = {
    path: path.stat().st_mtime_ns for path in moved.rglob("*") if path.is_file()
  }
  for path in (*moved.rglob("*"), moved):
    path.chmod(0o555 if path.is_dir() else 0o444)
  found = values(predict(moved, mine, output="again.ecsv"))
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
  clean = predict(run, mine)
  expected = clean["flags"].data.copy()
  planted = plant_faults(mine)
  changed = planted != 0
  expected[changed] = planted[changed]
  table = predict(run, mine, output="faults.ecsv")
  without = Flag(1023 + Flag.DUPLICATE) & ~Flag.EXTRAPOLATES
  np.testing.assert_array_equal(
    table["flags"].data & without, expected & without
  )
  np.testing.assert_array_equal(
    values(table)[:, ~changed], values(clean)[:, ~changed]
  )
  absent = (planted & 127) != 0
  assert np.isnan(values(table)[:, absent]).all()
  assert np.isfinite(values(table)[0, ~absent]).all()
  text = table["flag_text"].tolist()
  assert text[1] == "no image"
  assert "broken JPEG" in text[3]
  assert "HTML" in text[4]
  assert "BAD_IMAGE (2): 4 rows" in capsys.readouterr().out


def test_galaxies_of_the_training_are_flagged(run, mine, mock_data_dir):
  request = {"data_dir": str(mock_data_dir), "output": "train.parquet"}
  table = predict(
    run, mine, input="tfds:sdss_metallicity/mock:train", **request
  )
  assert (table["flags"].data & Flag.IN_TRAINING).all()
  table = predict(run, mine)
  assert not (table["flags"].data & Flag.IN_TRAINING).any()


def test_interrupted_prediction_continues(run, mine, monkeypatch, capsys):
  predict(run, mine, output="whole.csv")
  compute, done = chunks.compute, []

  def stop_at_the_second(task):
    if len(done) == 1:
      raise KeyboardInterrupt
    done.append(task.start)
    return compute(task)

  monkeypatch.setattr(chunks, "compute", stop_at_the_second)
  with pytest.raises(KeyboardInterrupt):
    predict(run, mine, output="out.csv")
  assert not (mine / "out.csv").exists()
  left = []
  monkeypatch.setattr(
    chunks, "compute", lambda task: left.append(task.start) or compute(task)
  )
  predict(run, mine, output="out.csv")
  assert left == [16]
  assert "Continuing: 16 of 22 rows" in capsys.readouterr().out
  assert (mine / "out.csv").read_bytes() == (mine / "whole.csv").read_bytes()


def test_chunks_of_other_images_are_computed_again(run, mine, monkeypatch):
  compute, count = chunks.compute, []

  def fail_at_the_end(task):
    count.append(task.start)
    if task.start:
      raise KeyboardInterrupt
    return compute(task)

  monkeypatch.setattr(chunks, "compute", fail_at_the_end)
  for _ in range(2):
    with pytest.raises(KeyboardInterrupt):
      predict(run, mine)
  assert count == [0, 16, 16]
  folder = mine / "out.ecsv.chunks"
  (chunk,) = folder.glob("*.chunk")
  data = bytearray(chunk.read_bytes())
  data[-5] ^= 1
  chunk.write_bytes(data)
  with pytest.raises(KeyboardInterrupt):
    predict(run, mine)
  assert count[3:] == [0, 16]
  first = min((mine / "images").iterdir())
  os.utime(first, ns=(1, 1))
  with pytest.raises(KeyboardInterrupt):
    predict(run, mine)
  assert count[5:] == [0, 16]


def test_other_processes_predict_the_same(run, mine, monkeypatch, tmp_path):
  expected = values(predict(run, mine))
  seen = []

  def run_tasks(write, tasks, runner, options):
    chunks._load.cache_clear()
    chunks._rows.cache_clear()
    # As Beam's workers do, in another working directory.
    monkeypatch.chdir(tmp_path)
    for task in pickle.loads(pickle.dumps(tasks)):
      write(task)
      seen.append((runner, task.start))

  monkeypatch.setattr(beam_shards, "run", run_tasks)
  monkeypatch.chdir(mine)
  table = predict(
    pathlib.Path(os.path.relpath(run)),
    mine,
    input="mine.csv",
    images="images",
    output="beam.ecsv",
    beam_runner="DirectRunner",
  )
  np.testing.assert_array_equal(values(table), expected)
  assert seen == [("DirectRunner", 0), ("DirectRunner", 16)]


def test_unshrunk_predictions_and_prefix(run, mine):
  table = predict(run, mine, unshrink=True, prefix="galmet_")
  from galmet_jax.calibration import calibration

  a, b = calibration.Calibration.load(run).targets[0].line
  expected = (table["galmet_oh_p50_pred"].data.astype(float) - a) / b
  np.testing.assert_allclose(
    table["galmet_oh_p50_pred_unshrunk"].data, expected, rtol=1e-4
  )


def test_repeated_ids_are_flagged(run, mine):
  table = Table.read(mine / "mine.csv")
  table["objid"][1] = table["objid"][0]
  table.write(mine / "mine.csv", overwrite=True)
  flags = predict(run, mine)["flags"].data
  assert (flags[:2] & Flag.DUPLICATE).all()
  assert not (flags[2:] & Flag.DUPLICATE).any()


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
    predict(run, mine, **changes)
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


def test_pandas_reads_the_table(run, mine):
  predict(run, mine, output="out.csv")
  frame = pd.read_csv(mine / "out.csv", dtype={"objid": np.int64})
  assert frame.objid.tolist() == Table.read(mine / "mine.csv")["objid"].tolist()
  text = pathlib.Path(mine / "out.columns.md").read_text()
  for keyword in ("CKPTSHA", "NCAL", "LCCB", "stat.percentile"):
    assert keyword in text
