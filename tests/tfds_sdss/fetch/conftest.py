"""The stand-in server, for the tests of the fetch."""

import pytest

from tests.tfds_sdss.fetch import stand_in


@pytest.fixture
def server(request):
  """A stand-in server with the galaxies of the test module's FRAME."""
  with stand_in.StandIn(request.module.FRAME, stand_in.jpeg_of) as running:
    yield running
