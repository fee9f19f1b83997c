"""Predictions depend neither on the devices nor on being an ensemble's."""

import json
import shutil

import jax
import numpy as np
import pytest

from galmet_jax import predict
from galmet_jax.calibration import of_run
from galmet_jax.data import galaxies
from galmet_jax.devices import sharding
from tfds_sdss import build
from tfds_sdss import files
from tfds_sdss import images as images_lib


@pytest.fixture(scope="module")
def images(mock_data_dir):
  builder = build.load("mock", str(mock_data_dir))
  _, _, jpegs = galaxies.read_split(builder, "test")
  return np.stack([images_lib.decode(0, data) for data in jpegs])


@pytest.fixture(scope="module")
def expected(run, images):
  assert jax.device_count() == 4
  return predict.Predictor.load(run).predict(images)


def check_same(table, expected):
  assert table.colnames == expected.colnames
  assert table["flags"].tolist() == expected["flags"].tolist()
  for name in expected.colnames:
    if name not in ("flags", "flag_text"):
      np.testing.assert_allclose(
        table[name], expected[name], rtol=0, atol=1e-5, err_msg=name
      )


def test_one_device_predicts_as_four(run, images, expected, monkeypatch):
  make = sharding.make_mesh
  monkeypatch.setattr(sharding, "make_mesh", lambda: make(jax.devices()[:1]))
  model = predict.Predictor.load(run)
  assert model.networks.mesh.size == 1
  check_same(model.predict(images), expected)


def test_ensemble_of_one_predicts_as_its_run(run, images, expected, tmp_path):
  shutil.copytree(run, tmp_path / "fold_0")
  shutil.copy(run / "calibration.npz", tmp_path)
  facts = json.loads((run / "calibration.json").read_text())
  facts.pop("sha256")
  facts["members"] = {"fold_0": facts["step"]}
  facts["checkpoint"] = of_run.join_digests(
    [facts["checkpoint"]], ensemble=True
  )
  files.write_json(tmp_path / "calibration.json", facts)
  check_same(predict.Predictor.load(tmp_path).predict(images), expected)
