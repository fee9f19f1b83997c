"""Predictions by Apache Beam; conftest.py of tests/interop has the command."""

import pathlib

from astropy.table import Table
import numpy as np
from PIL import Image
import pytest

from galmet_jax import train
from galmet_jax.predict import command
from galmet_jax.predict_flags import Request
from tests import shrunk
from tests.interop import beam_check
from tfds_sdss import build
from tfds_sdss.own import user_tables
from tfds_sdss.sdss_metallicity import sdss_metallicity_dataset_builder


@pytest.fixture
def run(tmp_path, monkeypatch):
  """The folder of a run."""
  config = sdss_metallicity_dataset_builder.Builder.builder_configs["mock"]
  monkeypatch.setattr(config, "num_examples", 120)
  builder = build.build("mock", str(tmp_path / "data"))
  example = next(iter(builder.as_data_source()["test"]))
  Image.fromarray(example["image"]).save(tmp_path / "galaxy.png")
  train.train_and_evaluate(
    shrunk.config(
      tmp_path / "data", optim__all_sgdr__cycle_len=1, eval__figures=False
    ),
    tmp_path / "run",
  )
  return tmp_path / "run"


def test_two_workers_predict_the_same(run, tmp_path, monkeypatch):
  # Two chunks; few rows have an image, for speed.
  names = np.full(1030, "absent.png")
  names[::100] = names[-1] = "galaxy.png"
  Table({"file": names}).write(tmp_path / "mine.csv")
  # The workers import this project from any folder.
  monkeypatch.chdir(tmp_path)
  options = {
    "plain.csv": {},
    "beam.csv": {
      "beam_runner": "DirectRunner",
      "beam_options": beam_check.TWO_WORKERS,
    },
  }
  for output, changes in options.items():
    command.predict(run, Request("mine.csv", output, images=".", **changes))
  table = user_tables.read(pathlib.Path("plain.csv"))
  assert np.isfinite(table["oh_p50_pred"]).sum() == 12
  assert pathlib.Path("beam.csv").read_bytes() == (
    pathlib.Path("plain.csv").read_bytes()
  )
