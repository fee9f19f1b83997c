"""Runs and ensembles as predictors."""

import dataclasses
import json
import shutil

from astropy.table import Table
import numpy as np
import pytest

from galmet_jax import errors
from galmet_jax import predict
from galmet_jax import report
from galmet_jax import results
from galmet_jax import summary_text
from galmet_jax.baselines import image_features
from galmet_jax.baselines import on_features
from galmet_jax.calibration import calibration
from galmet_jax.data import dataset
from galmet_jax.data import galaxies
from galmet_jax.export import export
from galmet_jax.predict import command
from galmet_jax.predict import inputs
from galmet_jax.predict import predictor
from galmet_jax.predict.flags import Flag
from galmet_jax.predict_flags import Request
from tfds_sdss import build
from tfds_sdss import files
from tfds_sdss import images as images_lib
from tfds_sdss.errors import DataError


@pytest.fixture(scope="module")
def model(run):
  return predict.Predictor.load(run)


@pytest.fixture(scope="module")
def images(mock_data_dir):
  builder = build.load("mock", str(mock_data_dir))
  _, _, jpegs = galaxies.read_split(builder, "test")
  return np.stack([images_lib.decode(0, data) for data in jpegs])


def test_rows_do_not_depend_on_each_other(model, images):
  table = model.predict(images)
  order = np.random.default_rng(0).permutation(len(images))
  permuted = model.predict(images[order])
  for name in ("oh_p50_pred", "ood_p", "oh_p50_pred_p84"):
    np.testing.assert_allclose(
      permuted[name], table[name][order], rtol=0, atol=1e-5
    )
  assert permuted["flags"].tolist() == table["flags"][order].tolist()
  config = model.networks.config.copy_and_resolve_references()
  config.eval.batch_size *= 2
  networks = dataclasses.replace(model.networks, config=config)
  doubled = dataclasses.replace(model, networks=networks).predict(images)
  np.testing.assert_allclose(
    doubled["oh_p50_pred"], table["oh_p50_pred"], rtol=0, atol=1e-5
  )


def test_ids_choose_the_views(model, images):
  ids = [f"galaxy {i}" for i in range(len(images))]
  named = model.predict(images, ids)["oh_p50_pred"]
  np.testing.assert_array_equal(
    named, model.predict(images, ids)["oh_p50_pred"]
  )
  assert not np.array_equal(named, model.predict(images)["oh_p50_pred"])


def test_catalogue_equals_the_command(model, run, mine, monkeypatch):
  monkeypatch.setattr(inputs, "CHUNK", 16)
  (mine / "images" / "0.jpg").write_bytes(b"no image")
  catalog = Table.read(mine / "mine.csv")
  catalog["file"][:2] = "none.jpg", "0.jpg"
  catalog.write(mine / "mine.ecsv")
  table = model.predict_catalog(
    catalog, mine / "images", unshrink=True, features=True
  )
  written = command.predict(
    run,
    Request(
      input=str(mine / "mine.ecsv"),
      output=str(mine / "out.ecsv"),
      images=str(mine / "images"),
      unshrink=True,
      features=True,
    ),
  )
  expected = Table.read(written)
  assert table.colnames == expected.colnames
  assert table["oh_p50_pred"].unit == "dex"
  assert table["flags"][:2].tolist() == [Flag.NO_IMAGE, Flag.BAD_IMAGE]
  texts = np.ma.filled(expected["flag_text"], "")
  assert table["flag_text"].tolist() == texts.tolist()
  values = np.ma.filled(expected["oh_p50_pred"], np.nan)
  np.testing.assert_allclose(table["oh_p50_pred"], values, rtol=0, atol=1e-5)
  paths = [mine / "images" / name for name in catalog["file"][2:5]]
  pixels = [images_lib.decode(0, path.read_bytes()) for path in paths]
  features = image_features.compute(np.stack(pixels))
  for i, feature in enumerate(image_features.FEATURES):
    column = expected[f"image_{feature.name}"]
    np.testing.assert_array_equal(
      column[2:5], features[:, i].astype(np.float32)
    )
    assert np.isnan(np.ma.filled(column[:2], np.nan)).all()
    assert column.description == feature.description
  with pytest.raises(DataError, match="with rows, found none"):
    model.predict_catalog(catalog[:0], mine / "images")
  with pytest.raises(errors.ConfigError, match="has a column 'oh_p50_pred'"):
    model.predict_catalog(table, mine / "images")


@pytest.mark.parametrize(
  "wrong", [np.zeros((2, 64, 64, 3), np.uint8), np.zeros((2, 128, 128, 3))]
)
def test_other_images_are_refused(model, wrong):
  with pytest.raises(ValueError, match=r"expected images uint8 \[N, 128"):
    model.predict(wrong)


def test_beyond_the_labels_and_the_images_of_the_training(model, images):
  target = model.calibration.targets[0]
  narrow = dataclasses.replace(target, label_range=(0.0, 1.0))
  changed = dataclasses.replace(
    model, calibration=dataclasses.replace(model.calibration, targets=(narrow,))
  )
  flags = changed.predict(images[:3])["flags"]
  assert (flags & Flag.EXTRAPOLATES == Flag.EXTRAPOLATES).all()


def test_training_positions(model):
  training = calibration.Training.of(
    np.array([5]), {"ra": np.array([359.9999]), "dec": np.array([0.0])}
  )
  changed = dataclasses.replace(
    model,
    calibration=dataclasses.replace(model.calibration, training=training),
  )
  places = np.array(
    [
      *([359.9999, 1.9 / 3600], [359.9999, 2.1 / 3600], [0.0002, 0]),
      *([np.nan, 0], [0, 91]),
    ]
  )
  # 0.0003 degrees are 1.1 arcsec, across 0 h.
  assert changed._trained_at(places).tolist() == [
    True,
    False,
    True,
    False,
    False,
  ]
  assert not model._trained_at(places).any()


def test_duplicates_of_unknown_keys_are_none():
  keys = np.array([7, -1, 7, -1, 3])
  expected = Flag.DUPLICATE * np.array([1, 0, 1, 0, 0])
  assert predictor.duplicates(keys).tolist() == expected.tolist()


@pytest.fixture
def copy(run, tmp_path):
  folder = tmp_path / "run"
  shutil.copytree(run, folder)
  return folder


def test_predictions_mix_the_network_with_image_features(
  run, copy, trained_run, mock_data_dir, images
):
  config = trained_run[0].copy_and_resolve_references()
  config.eval.gp_svr_weight = 0.7
  config.eval.figures = False
  shutil.rmtree(copy / "figures")
  summary = report.evaluate_only(config, copy)
  assert not (copy / "figures").exists()
  splits = dataset.load(config)
  test = splits["test"]
  _, (by_features,) = on_features.predict(
    splits["train"], [test], seed=config.seed
  )
  alone, mixed = (
    results.read_predictions(folder, "test") for folder in (run, copy)
  )
  expected = 0.3 * alone.oh_p50_pred + 0.7 * by_features[:, 0]
  np.testing.assert_allclose(mixed.oh_p50_pred, expected, atol=1e-5)
  np.testing.assert_allclose(
    mixed.oh_p50_tta_std, 0.3 * alone.oh_p50_tta_std, atol=1e-5
  )
  text = summary_text.name_of_predictions(summary)
  assert text == "network, 70 % features"
  # The calibration has the model of the features, and is of the mixture.
  model = predict.Predictor.load(copy)
  table = model.predict(test.images, ids=test.objid)
  np.testing.assert_allclose(table["oh_p50_pred"], expected, atol=1e-5)
  residuals = model.calibration.targets[0].residuals
  assert not np.array_equal(
    residuals.values,
    predict.Predictor.load(run).calibration.targets[0].residuals.values,
  )
  with pytest.raises(errors.ConfigError, match="hold the network alone"):
    export.export(config, copy)


def test_run_without_calibration_names_the_next_command(copy):
  (copy / "calibration.json").unlink()
  with pytest.raises(errors.ConfigError, match="--mode=evaluate"):
    predict.Predictor.load(copy)


def test_folder_without_a_run(tmp_path):
  with pytest.raises(errors.NoCheckpointError, match="found no checkpoint"):
    predict.Predictor.load(tmp_path)


def test_calibration_of_another_checkpoint_is_refused(copy):
  before = json.loads((copy / "calibration.json").read_text())
  before.pop("sha256")
  before["checkpoint"] = "0" * 64
  files.write_json(copy / "calibration.json", before)
  with pytest.raises(errors.ConfigError, match="found another one"):
    predict.Predictor.load(copy)


def test_absent_and_damaged_checkpoints_are_named(copy):
  step = calibration.Calibration.load(copy).facts["step"]
  folder = copy / "checkpoints" / "latest" / str(step)
  for path in (folder / "state").rglob("*"):
    if path.is_file() and path.stat().st_size > 10_000:
      data = bytearray(path.read_bytes())
      data[len(data) // 2] ^= 1
      path.write_bytes(data)
  with pytest.raises(errors.CheckpointError, match=f"{step} is damaged"):
    predict.Predictor.load(copy)
  shutil.rmtree(folder)
  with pytest.raises(errors.NoCheckpointError, match=f"of step {step}, found"):
    predict.Predictor.load(copy)


def test_views_are_those_of_the_calibration(run, model):
  assert model.networks.config.eval.tta == "random"
  # Another evaluation would calibrate anew: no flag changes the views.
  assert model.calibration.facts["eval"]["tta"] == "random"
