"""Fixtures for tests that build data sets."""

import pytest

from tests.tfds_sdss import fake_layout
from tests.tfds_sdss.own import own_galaxies
from tfds_sdss import quality


@pytest.fixture
def layout(tmp_path, monkeypatch):
  """A small convnet-demo that replaces upstream's."""
  return fake_layout.replace_upstream(tmp_path, monkeypatch)


@pytest.fixture
def no_figures(monkeypatch):
  """Saves half a second per build; quality_test draws a figure."""
  monkeypatch.setattr(quality, "plot", lambda path, sample: None)


@pytest.fixture
def folder(tmp_path, no_figures):
  """A folder with the user's galaxies of `own_galaxies`."""
  own_galaxies.write(tmp_path)
  return tmp_path
