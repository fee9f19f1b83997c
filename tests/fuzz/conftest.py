"""Folders for damaged files, outside of which nothing may be written."""

import pathlib

import pytest

from tests.tfds_sdss import fake_staging
from tfds_sdss import quality


@pytest.fixture
def root(tmp_path):
  folder = tmp_path / "root"
  folder.mkdir()
  return folder


@pytest.fixture(autouse=True)
def nothing_outside(tmp_path, root, monkeypatch):
  """Fails if a file is written outside `root`."""
  # Saves half a second per build.
  monkeypatch.setattr(quality, "plot", lambda path, sample: None)
  (tmp_path / "working_directory").mkdir()
  monkeypatch.chdir(tmp_path / "working_directory")
  yield
  assert not list(pathlib.Path.cwd().iterdir())
  assert {path.name for path in tmp_path.iterdir()} == {
    "root",
    "working_directory",
  }


@pytest.fixture
def staged(root):
  return fake_staging.write(root / "staging", fake_staging.table(12))
