"""Ensembles: held-out galaxies, tables of predictions, resuming."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from galmet_jax import ensemble
from galmet_jax import errors
from galmet_jax import predict
from galmet_jax import results
from galmet_jax import train
from galmet_jax.calibration import calibration
from galmet_jax.calibration import image_statistics
from galmet_jax.data import dataset
from tests import shrunk
from tests.galmet_jax.page import page_data


def make_config(mock_data_dir, **changes):
  fields = {
    "data__num_folds": 2,
    "data__resolution": 16,
    "optim__all_sgdr__cycle_len": 1,
    "eval__tta": "none",
  }
  return shrunk.config(mock_data_dir, **{**fields, **changes})


@pytest.fixture(scope="module")
def finished(mock_data_dir, tmp_path_factory):
  """Trains an ensemble of two; returns (config, workdir, summary)."""
  config = make_config(mock_data_dir)
  workdir = tmp_path_factory.mktemp("ensemble")
  with shrunk.without_figures("fold_"):
    return config, workdir, ensemble.train_and_evaluate(config, workdir)


def read(path):
  return pd.read_csv(path, dtype={"objid": np.int64})


def test_out_of_fold_predictions_come_from_held_out_members(finished):
  config, workdir, summary = finished
  table = read(workdir / "predictions_out_of_fold.csv")
  test = read(workdir / "predictions_test.csv")
  # Each of the 120 galaxies is either held out once or in the test split.
  assert len(table) + len(test) == 120
  assert len(set(table.objid) | set(test.objid)) == 120
  assert summary["out_of_fold"]["n"] == len(table)
  for fold in range(2):
    member = read(workdir / f"fold_{fold}" / "predictions_validation.csv")
    rows = table[table.fold == fold].set_index("objid")
    pd.testing.assert_series_equal(
      rows.oh_p50_pred, member.set_index("objid").oh_p50_pred
    )
    fields = json.loads((workdir / f"fold_{fold}/config.json").read_text())
    assert fields["data"]["fold"] == fold
  assert config.data.fold is None


def test_predictions_are_the_mean_of_the_members(finished):
  _, workdir, summary = finished
  table = read(workdir / "predictions_test.csv")
  members = [
    read(workdir / f"fold_{fold}" / "predictions_test.csv").oh_p50_pred
    for fold in range(2)
  ]
  one, two = (member.to_numpy() for member in members)
  np.testing.assert_array_equal(table.oh_p50_pred_0, one)
  np.testing.assert_array_equal(table.oh_p50_pred_1, two)
  np.testing.assert_allclose(table.oh_p50_pred, (one + two) / 2, rtol=1e-7)
  # The standard deviation of two numbers is their distance over √2.
  np.testing.assert_allclose(
    table.oh_p50_member_std, np.abs(one - two) / np.sqrt(2), atol=1e-6
  )
  assert (table.oh_p50_member_std > 0).all()
  true = table.oh_p50_true
  expected = np.sqrt(np.mean((table.oh_p50_pred - true) ** 2))
  assert summary["test"]["rmse"] == pytest.approx(expected)
  for member, values in zip(members, summary["members"], strict=True):
    expected = np.sqrt(np.mean((member - true) ** 2))
    assert values["rmse"] == pytest.approx(expected)
  figures = {path.name for path in (workdir / "figures").iterdir()}
  assert figures == {
    "predicted_against_true_out_of_fold.png",
    "predicted_against_true_test.png",
    "calibration_test.png",
  }


def test_page_shows_the_out_of_fold_and_test_galaxies(finished):
  config, workdir, summary = finished
  shown = page_data.read(workdir / "report.html")
  tables = [
    results.read_predictions(workdir, name) for name in ("out_of_fold", "test")
  ]
  expected = pd.concat(tables, ignore_index=True)
  assert shown["id"] == expected.objid.astype(str).tolist()
  np.testing.assert_allclose(shown["pred"], expected.oh_p50_pred, rtol=1e-6)
  # The images are those of the galaxies.
  splits = dataset.read(config).values()
  images = {
    objid: image
    for split in splits
    for objid, image in zip(split.objid, split.images, strict=True)
  }
  found = np.stack([images[objid] for objid in expected.objid])
  statistics = image_statistics.compute(found)
  fitted = calibration.Calibration.load(workdir)
  np.testing.assert_allclose(
    shown["ood_p"], fitted.images.p_values(statistics), rtol=1e-6
  )
  text = (workdir / "report.html").read_text(encoding="utf-8")
  assert f"RMSE {summary['test']['rmse']:.4f} dex" in text
  assert "The maps are those of the network fold_0 for the image" in text


def test_calibration_is_out_of_fold(finished):
  _, workdir, summary = finished
  found = calibration.Calibration.load(workdir)
  table = results.read_predictions(workdir, "out_of_fold")
  assert found.facts["source"] == "out_of_fold"
  assert list(found.facts["members"]) == ["fold_0", "fold_1"]
  assert len(found.targets[0].residuals) == len(table)
  assert found.training.objid.tolist() == sorted(table.objid)
  block = summary["test"]["calibration"]
  assert block["n_calibration"] == len(table)


def test_predictor_is_the_mean_of_the_members(finished):
  _, workdir, _ = finished
  images = np.random.default_rng(0).integers(0, 99, (5, 128, 128, 3), np.uint8)
  table = predict.Predictor.load(workdir).predict(images)
  members = [
    predict.Predictor.load(workdir / f"fold_{fold}").predict(images)
    for fold in range(2)
  ]
  one, two = (member["oh_p50_pred"].data for member in members)
  np.testing.assert_allclose(table["oh_p50_pred"], (one + two) / 2, rtol=1e-6)
  np.testing.assert_allclose(
    table["oh_p50_member_std"], np.abs(one - two) / np.sqrt(2), atol=1e-6
  )
  assert "oh_p50_member_std" not in members[0].colnames
  found = calibration.Calibration.load(workdir)
  low, high = found.targets[0].residuals.bounds(table["oh_p50_pred"], 0.68)
  np.testing.assert_allclose(table["oh_p50_pred_p16"], low, rtol=1e-6)
  np.testing.assert_allclose(table["oh_p50_pred_p84"], high, rtol=1e-6)


def test_finished_members_are_skipped(finished, tmp_path, monkeypatch):
  config, workdir, summary = finished
  copy = tmp_path / "copy"
  shutil.copytree(workdir, copy)
  trained = []

  def record(config, folder):
    trained.append(folder)
    shutil.copy(workdir / folder.name / "summary.json", folder)

  monkeypatch.setattr(train, "train_and_evaluate", record)
  assert ensemble.train_and_evaluate(config, copy) == summary
  assert not trained
  (copy / "fold_1" / "summary.json").unlink()
  ensemble.train_and_evaluate(config, copy)
  assert trained == [copy / "fold_1"]


def test_finished_members_are_refused_for_other_galaxies(
  finished, tmp_path, monkeypatch
):
  config, workdir, _ = finished
  copy = tmp_path / "copy"
  shutil.copytree(workdir, copy)
  before = (copy / "summary.json").read_bytes()
  data = dataset.read(config)
  labels = data["validation"].targets.copy()
  labels[0] += 0.01
  columns = {**data["validation"].columns, "oh_p50": labels[:, 0]}
  changed = dataclasses.replace(
    data["validation"], targets=labels, columns=columns
  )
  monkeypatch.setattr(
    dataset, "read", lambda _: {**data, "validation": changed}
  )
  monkeypatch.setattr(train, "train_and_evaluate", None)
  with pytest.raises(errors.ConfigError, match=r"fold_0 holds .*\n.*galaxies"):
    ensemble.train_and_evaluate(config, copy)
  assert (copy / "summary.json").read_bytes() == before


def test_is_finished_requires_full_training_and_evaluation(finished, tmp_path):
  config, workdir, _ = finished
  member = config.copy_and_resolve_references()
  member.data.fold = 0
  folder = tmp_path / "fold_0"
  assert not results.is_finished(member, folder)
  shutil.copytree(workdir / "fold_0", folder)
  assert results.is_finished(member, folder)
  member.eval.tta = "dihedral"
  assert not results.is_finished(member, folder)
  # A run that was killed between writing config.json and summary.json.
  (folder / "config.json").write_text(member.to_json())
  assert not results.is_finished(member, folder)
  member.eval.tta = "none"
  (folder / "config.json").write_text(member.to_json())
  assert results.is_finished(member, folder)
  # An interrupted run, evaluated with --mode=evaluate.
  summary = json.loads((folder / "summary.json").read_text())
  summary["checkpoint"]["trained_steps"] -= 1
  results.write_summary(folder, summary, config.eval.splits)
  assert not results.is_finished(member, folder)


def write_member(folder, split, objid):
  folder.mkdir(exist_ok=True)
  values = np.full(len(objid), 8.9)
  columns = {"objid": objid, "oh_p50_true": values, "oh_p50_pred": values}
  results.write_predictions(folder, split, pd.DataFrame(columns))
  names = [path.stem[12:] for path in folder.glob("predictions_*.csv")]
  results.write_summary(folder, {}, names)


def test_members_with_inconsistent_galaxies_are_refused(tmp_path):
  folders = [tmp_path / "a", tmp_path / "b"]
  for folder, objid in zip(folders, ([1, 2], [2, 3]), strict=True):
    write_member(folder, "validation", objid)
    write_member(folder, "test", objid)
  with pytest.raises(errors.ConfigError, match="objid 2 is in two folds"):
    ensemble.out_of_fold(folders)
  with pytest.raises(errors.ConfigError, match="b predicts other galaxies"):
    ensemble.mean_of_members(folders, ("oh_p50",))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"data__fold": 1}, "data.fold is 1; expected None"),
    ({"eval__splits": ("test",)}, "an ensemble needs validation and test"),
  ],
)
def test_unsuitable_configs_are_refused(
  mock_data_dir, tmp_path, changes, message
):
  with pytest.raises(errors.ConfigError, match=message):
    ensemble.train_and_evaluate(make_config(mock_data_dir, **changes), tmp_path)
