"""The stand-in server, for the tests of the fetch."""

import pytest

from tests.tfds_sdss.fetch import stand_in
from tfds_sdss.fetch import matches


@pytest.fixture
def server(request):
  """A stand-in server with the galaxies of the test module's FRAME."""
  with stand_in.StandIn(request.module.FRAME, stand_in.jpeg_of) as running:
    yield running


@pytest.fixture(autouse=True)
def no_query_rate(monkeypatch):
  """Queries for positions do not wait."""
  monkeypatch.setattr(matches, "_QUERIES_PER_SECOND", 2000.0)
