"""A trained run, and a table of galaxies with their images."""

import pathlib
import shutil

from astropy.table import Table
import pytest

from galmet_jax.data import galaxies
from galmet_jax.predict import chunks
from tfds_sdss import build


@pytest.fixture(scope="session")
def run(trained_run, tmp_path_factory) -> pathlib.Path:
  """The folder of a run that averages random views."""
  config, original, _ = trained_run
  assert config.eval.tta == "random"
  workdir = tmp_path_factory.mktemp("predict") / "run"
  return pathlib.Path(shutil.copytree(original, workdir))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
  monkeypatch.setattr(chunks, "SIZE", 16)


@pytest.fixture
def mine(mock_data_dir, tmp_path) -> pathlib.Path:
  """A folder with mine.csv and images: the mock's test galaxies."""
  builder = build.load("mock", str(mock_data_dir))
  objid, columns, jpegs = galaxies.read_split(builder, "test")
  folder = tmp_path / "mine"
  (folder / "images").mkdir(parents=True)
  for number, data in zip(objid, jpegs, strict=True):
    (folder / "images" / f"{number}.jpg").write_bytes(data)
  table = Table(
    {
      "objid": objid,
      "file": [f"{number}.jpg" for number in objid],
      "z": columns["z"],
      "note": ["<script>, =1+1"] * len(objid),
    }
  )
  table.write(folder / "mine.csv")
  return folder
