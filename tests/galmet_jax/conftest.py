"""Fixtures for tests of figures."""

import pytest

from tests.galmet_jax import drawing


@pytest.fixture
def watched(monkeypatch):
  """The saved figures and the extents of their texts."""
  return drawing.watch(monkeypatch)
