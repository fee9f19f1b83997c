"""Fixtures for checks with packages that this project does not depend on.

The checks run in a separate environment, and skip the conftest.py of the other
tests, which sets JAX up:

  python -m pytest --confcutdir=tests/interop tests/interop/beam_check.py
"""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from tests.tfds_sdss import fake_staging
from tfds_sdss import quality


def pytest_configure(config):
  # These packages emit warnings that this project cannot fix.
  config.addinivalue_line("filterwarnings", "default")


@pytest.fixture(scope="session")
def staging(tmp_path_factory):
  """A staging folder with 60 galaxies."""
  root = tmp_path_factory.mktemp("fetched") / "staging"
  return fake_staging.write(root, fake_staging.table(60))


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
  monkeypatch.setattr(quality, "plot", lambda path, sample: None)
