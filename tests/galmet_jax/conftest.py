"""Fixtures for tests of figures and checkpoints."""

import pytest

from galmet_jax import checkpoints
from tests.galmet_jax import drawing
from tests.galmet_jax import saved


@pytest.fixture
def watched(monkeypatch):
  """The saved figures and the extents of their texts."""
  return drawing.watch(monkeypatch)


@pytest.fixture
def folder(tmp_path):
  store = checkpoints.Checkpoints(tmp_path, keep=2)
  for step in (1, 2, 3):
    store.save(saved.make_state(step))
  assert store.steps() == [2, 3]
  return tmp_path
