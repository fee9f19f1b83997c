import pytest

from tests.tfds_sdss import fake_layout
from tests.tfds_sdss.fetch import fetching
from tests.tfds_sdss.fetch import stand_in
from tfds_sdss.fetch import http_responses
from tfds_sdss.sdss_metallicity import demo500

FRAME = stand_in.frame_of(10)


def test_demo500_is_unpacked(tmp_path, layout):
  archive = fake_layout.archive(layout)
  out = tmp_path / "out"
  with stand_in.StandIn(FRAME, stand_in.jpeg_of, archive=archive) as server:
    outcome = fetching.run(out, server, source="demo500")
    assert (outcome.galaxies, outcome.loss) == (16, 0)
    fetching.run(out, server, source="demo500")
    assert len(server.requests) == 2  # the archive and its redirection
  for path in layout.glob("*/*"):
    copy = out / path.relative_to(layout)
    assert copy.read_bytes() == path.read_bytes()
  splits = demo500.read(out, complete=True)
  assert len(splits["test"]) == 4


def test_demo500_with_other_content_is_rejected(tmp_path, layout):
  path = next((layout / "train").iterdir())
  path.write_bytes(fake_layout.jpeg(0))
  archive = fake_layout.archive(layout)
  with (
    stand_in.StandIn(FRAME, stand_in.jpeg_of, archive=archive) as server,
    pytest.raises(http_responses.FetchError, match="expected SHA-256"),
  ):
    fetching.run(tmp_path / "out", server, source="demo500")
  assert not list((tmp_path / "out").glob("downloads/*"))
