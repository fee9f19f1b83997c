"""Calibration of runs and ensembles: content, files, and their damage."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from galmet_jax import errors
from galmet_jax import report
from galmet_jax import results
from galmet_jax import train
from galmet_jax.baselines import gp_svr
from galmet_jax.calibration import calibration
from galmet_jax.calibration import conformal
from galmet_jax.calibration import judgement
from galmet_jax.calibration import outliers
from tests import shrunk
from tfds_sdss import files


def small(rng):
  predicted = rng.normal(9, 0.2, 400)
  true = predicted + rng.normal(0, 0.1, 400)
  true[:7] = np.nan
  training = calibration.Training.of(
    np.array([1237665024900858129, 5]),
    {"ra": np.array([359.99999, 0.25]), "dec": np.array([-89.5, np.nan])},
  )
  return calibration.Calibration(
    {"checkpoint": "abc", "step": 3},
    (calibration.Target.fit("oh_p50", predicted, true, true),),
    outliers.ImageModel.fit(rng.normal(size=(50, 4))),
    training,
    (
      gp_svr.GpSvr.fit(rng.normal(size=(30, 45)), rng.normal(9, 0.2, 30), 0),
      gp_svr.GpSvr.fit(rng.normal(size=(20, 45)), rng.normal(9, 0.2, 20), 0),
    ),
  )


def test_files_keep_everything(tmp_path):
  before = small(np.random.default_rng(0))
  before.save(tmp_path)
  after = calibration.Calibration.load(tmp_path)
  assert after.facts == before.facts
  np.testing.assert_equal(dataclasses.asdict(after), dataclasses.asdict(before))
  assert after.training.objid.tolist() == [5, 1237665024900858129]
  np.testing.assert_allclose(after.training.degrees, [[359.99999, -89.5]])
  written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
  before.save(tmp_path)
  assert written == {
    path.name: path.read_bytes() for path in tmp_path.iterdir()
  }


def test_unknown_labels_do_not_calibrate():
  target = small(np.random.default_rng(0)).targets[0]
  assert len(target.residuals) == 393
  assert target.residuals.counts.tolist() == [131] * 3


def test_line_is_inverted():
  true = np.linspace(8, 9, 100)
  target = calibration.Target.fit("oh_p50", 2 + 0.75 * true, true, true)
  np.testing.assert_allclose(target.line, (2, 0.75), rtol=1e-9)
  np.testing.assert_allclose(target.unshrink(2 + 0.75 * true), true)
  np.testing.assert_allclose(target.label_range, (8.005, 8.995))


@pytest.mark.parametrize("name", ["calibration.json", "calibration.npz"])
def test_damage_and_absence_are_named(tmp_path, name):
  small(np.random.default_rng(0)).save(tmp_path)
  path = tmp_path / name
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)
  with pytest.raises(files.DamagedFileError, match=f"{name} is damaged"):
    calibration.Calibration.load(tmp_path)
  path.unlink()
  with pytest.raises(errors.ConfigError, match=rf"no {name}.*mode=evaluate"):
    calibration.Calibration.load(tmp_path)


def test_arrays_of_another_evaluation_are_refused(tmp_path):
  small(np.random.default_rng(0)).save(tmp_path)
  data = (tmp_path / "calibration.npz").read_bytes()
  small(np.random.default_rng(1)).save(tmp_path)
  (tmp_path / "calibration.npz").write_bytes(data)
  with pytest.raises(files.DamagedFileError):
    calibration.Calibration.load(tmp_path)


def judge(target, predicted, true):
  return judgement.judge(target, predicted, true, {}, true, 50, 0)


def test_judgement_of_calibrated_and_of_too_narrow_intervals():
  rng = np.random.default_rng(0)
  predicted = rng.normal(9, 0.2, 6_000)
  true = predicted + rng.normal(0, 0.1, 6_000)
  target = calibration.Target.fit(
    "oh_p50", predicted[:4_000], true[:4_000], true[:4_000]
  )
  block = judge(target, predicted[4_000:], true[4_000:])
  assert block["n"], block["n_calibration"] == (2_000, 4_000)
  for _, measured, low, high in block["coverage"]:
    assert low <= measured <= high
  assert block["pit_ks_p"] > 0.01
  assert sum(block["pit"]) == 2_000
  assert block["half_width_68"] == pytest.approx(0.0994, abs=0.006)
  # A Gaussian's CRPS is σ / √π.
  assert block["crps"] == pytest.approx(0.1 / np.sqrt(np.pi), rel=0.04)
  assert block["crps_gaussian"] == pytest.approx(block["crps"], rel=0.01)
  assert block["crps_training"] == pytest.approx(
    np.sqrt(0.05 / np.pi), rel=0.04
  )
  assert block["slope_true"] == pytest.approx(1, abs=0.05)
  assert block["slope"] == pytest.approx(0.8, abs=0.05)
  # Interval score of a Gaussian at 95 %: 2 z + (2 / α) · 2 (φ(z) − z α / 2).
  assert block["interval_score_95"] == pytest.approx(0.4674, rel=0.05)

  narrow = calibration.Target.fit(
    "oh_p50", predicted[:4_000], (true + predicted)[:4_000] / 2, true[:4_000]
  )
  block = judge(narrow, predicted[4_000:], true[4_000:])
  assert all(row[1] < row[2] for row in block["coverage"])
  assert block["pit_ks_p"] < 1e-6


def test_judgement_of_few_galaxies_has_no_false_numbers():
  one = np.ones(1)
  target = calibration.Target.fit("oh_p50", np.ones(5), np.ones(5), np.ones(5))
  block = judge(target, one, one)
  assert np.isnan(block["coverage"][-1]).tolist() == [False, True, True, True]
  assert judge(target, one, one * np.nan) == {
    "n": 0,
    "n_calibration": 5,
    "bins": 1,
  }


@pytest.fixture(scope="module")
def config(mock_data_dir):
  return shrunk.config(mock_data_dir, eval__tta="dihedral")


@pytest.fixture(scope="module")
def trained(config, trained_run, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("run") / "run"
  shutil.copytree(trained_run[1], workdir)
  # It only evaluates, since the evaluation alone differs.
  with shrunk.without_figures("examples"):
    return workdir, train.train_and_evaluate(config, workdir)


def test_training_writes_the_calibration(trained):
  workdir, summary = trained
  found = calibration.Calibration.load(workdir)
  table = results.read_predictions(workdir, "validation")
  expected = conformal.Residuals.fit(table.oh_p50_pred, table.oh_p50_true)
  np.testing.assert_allclose(
    found.targets[0].residuals.values, expected.values, atol=1e-6
  )
  assert found.facts["eval"]["tta"] == "dihedral"
  assert found.facts["source"] == "validation"
  assert found.facts["sample"]["image_size"] == 128
  block = summary["test"]["calibration"]
  assert block["n_calibration"] == len(table)
  assert "calibration" not in summary["validation"]
  assert (workdir / "figures" / "calibration_test.png").exists()
  stored = json.loads((workdir / "summary.json").read_text())
  assert stored["test"]["calibration"]["n"] == block["n"]


@pytest.mark.usefixtures("without_figures")
def test_other_views_are_calibrated_anew(trained, config):
  workdir, _ = trained
  before = calibration.Calibration.load(workdir)
  other = config.copy_and_resolve_references()
  other.eval.tta, other.eval.splits = "none", ("test",)
  report.evaluate_only(other, workdir)
  after = calibration.Calibration.load(workdir)
  assert after.facts["eval"]["tta"] == "none"
  assert after.facts["checkpoint"] == before.facts["checkpoint"]
  assert not np.array_equal(
    after.targets[0].residuals.values, before.targets[0].residuals.values
  )
  report.evaluate_only(config, workdir)


def test_files_of_another_version_are_refused(tmp_path):
  small(np.random.default_rng(0)).save(tmp_path)
  path = tmp_path / "calibration.json"
  content = json.loads(path.read_bytes())
  del content["sha256"]
  path.write_text(json.dumps(content))
  with pytest.raises(files.DamagedFileError, match="SHA-256"):
    calibration.Calibration.load(tmp_path)
  for change in ({"targets": [{}]}, {"targets": 3}, {"targets": [3]}):
    files.write_json(path, content | change)
    with pytest.raises(files.DamagedFileError, match=r"content: .*evaluate"):
      calibration.Calibration.load(tmp_path)
