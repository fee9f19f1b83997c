"""Cutouts of positions."""

import dataclasses

import numpy as np
import pytest

from tests.tfds_sdss.fetch import fetching
from tests.tfds_sdss.fetch import fetching_positions as sky
from tests.tfds_sdss.fetch import stand_in_connections as connections
from tfds_sdss.errors import DataError
from tfds_sdss.fetch import matches
from tfds_sdss.fetch import positions

FRAME = sky.FRAME
OBJIDS = sky.OBJIDS


@pytest.mark.parametrize(
  ("offset", "status", "is_doubtful"),
  [
    (0.0, positions.OK, False),
    (0.2, positions.OK, False),
    (2.0, positions.OK, True),
    (-2.9, positions.OK, True),
    (4.0, positions.OUTSIDE, False),
  ],
)
def test_nearest_galaxy_within_3_arcsec(
  tmp_path, server, offset, status, is_doubtful
):
  found = sky.fetch(server, tmp_path, [5], dec=offset)
  is_found = status == positions.OK
  assert found.status.tolist() == [status]
  assert found.objid.tolist() == [OBJIDS[5] if is_found else 0]
  assert found.objid.dtype == np.int64
  expected = abs(offset) if is_found else np.nan
  np.testing.assert_allclose(found.separation, [expected], atol=1e-3)
  radius = FRAME.petroR90_r[5] if is_found else np.nan
  np.testing.assert_array_equal(found.radius, np.float32([radius]))
  assert found.doubtful.tolist() == [is_doubtful]
  assert sky.bytes_of(found) == (sky.images_of([5]) if is_found else [None])


@pytest.mark.parametrize(("offset", "nearest"), [(0.1, 0), (1.9, 1)])
def test_two_candidates_are_doubtful(tmp_path, server, offset, nearest):
  found = sky.fetch(server, tmp_path, [0], dec=offset)
  assert found.objid.tolist() == [OBJIDS[nearest]]
  assert found.separation[0] < 0.2
  assert found.doubtful.tolist() == [True]
  assert sky.bytes_of(found) == sky.images_of([nearest])


@pytest.mark.parametrize("field", ["petro", "fixed"])
@pytest.mark.parametrize("is_matched", [True, False])
def test_urls_are_those_of_the_data_set(tmp_path, server, field, is_matched):
  # Row 2 has no radius, and can have a cutout of the fixed field only.
  rows = [row for row in range(70) if field == "fixed" or row != 2]
  fetching.run(tmp_path / "staging", server, field=field)
  expected = set(sky.targets(server))
  server.requests.clear()
  found = sky.fetch(
    server,
    tmp_path / "cutouts",
    rows,
    dec=0.2 if is_matched else 0.0,
    is_matched=is_matched,
    field=field,
  )
  assert set(sky.targets(server)) == expected
  assert len(expected) == len(rows)
  assert not found.status.any()
  assert sky.bytes_of(found) == sky.images_of(rows)
  assert np.isnan(found.radius).all() == (field == "fixed")
  assert found.objid.tolist() == [
    OBJIDS[row] if is_matched else 0 for row in rows
  ]


def test_radii_of_more_digits_give_the_same_urls(tmp_path, server):
  part = FRAME.iloc[3:40]
  urls = []
  for number, noise in enumerate((0.0, 2e-8)):
    server.requests.clear()
    positions.fetch(
      part.ra,
      part.dec,
      part.petroR90_r.astype(np.float64) * (1 + noise),
      tmp_path / str(number),
      size=128,
      field="petro",
      contact="me@example.org",
      base_url=server.base_url,
      rate=2000.0,
    )
    urls.append(set(sky.targets(server)))
  assert urls[0] == urls[1]


def test_bad_positions_are_not_sent(tmp_path, server):
  bad = [(np.nan, 0.0), (400.0, 0.0), (10.0, 91.0), (-1.0, 0.0), (0.0, np.inf)]
  ra, dec = zip(*bad, strict=True)
  found = positions.fetch(
    np.array(ra),
    np.array(dec),
    None,
    tmp_path,
    size=128,
    field="petro",
    contact="me@example.org",
    base_url=server.base_url,
  )
  assert (found.status == positions.BAD_POSITION).all()
  assert found.paths == [None] * 5
  assert not server.requests


def test_missing_radii_are_looked_up(tmp_path, server):
  part = FRAME.iloc[[2, 3, 4, 5, 6]]
  radius = np.array([-9999.0, np.nan, -9.0, 7.5, 8.0])
  # The third is 4 arcsec off.
  dec = part.dec.to_numpy() + np.array([0, 0.2, 4.0, 0, 0]) / 3600
  found = positions.fetch(
    part.ra,
    dec,
    radius,
    tmp_path,
    size=128,
    field="petro",
    contact="me@example.org",
    base_url=server.base_url,
    rate=2000.0,
  )
  no, ok = positions.NO_RADIUS, positions.OK
  assert found.status.tolist() == [no, ok, no, ok, ok]
  assert found.objid.tolist() == [OBJIDS[2], OBJIDS[3], 0, 0, 0]
  expected = [np.nan, FRAME.petroR90_r[3], np.nan, 7.5, 8.0]
  np.testing.assert_array_equal(found.radius, np.float32(expected))
  assert sky.bytes_of(found) == [
    None,
    sky.images_of([3])[0],
    None,
    *sky.images_of([5, 6]),
  ]


def test_rows_of_one_galaxy_share_a_request_and_keep_their_order(
  tmp_path, server
):
  rows = [9, 5, 9, 7, 5, 5]
  offsets = [0, 0.1, 0.2, 0, 0.1, 0.3]
  found = sky.fetch(server, tmp_path, rows, dec=offsets)
  assert found.objid.tolist() == [OBJIDS[row] for row in rows]
  np.testing.assert_allclose(found.separation, offsets, atol=1e-3)
  assert sky.bytes_of(found) == sky.images_of(rows)
  assert len(sky.targets(server)) == 3
  (query,) = [r.query["cmd"] for r in server.requests if "Sql" in r.path]
  assert query.count("(") == 4 + 5  # the same position once


def test_second_call_asks_for_nothing(tmp_path, server):
  rows = range(3, 70)
  dec = np.linspace(-4, 4, 67)
  first = sky.fetch(server, tmp_path, rows, dec=dec)
  assert set(first.status) == {positions.OK, positions.OUTSIDE}
  server.requests.clear()
  again = sky.fetch(server, tmp_path, rows, dec=dec)
  assert not server.requests
  for name, value in dataclasses.asdict(first).items():
    np.testing.assert_array_equal(value, getattr(again, name))
  # Another host, the same requests.
  sky.fetch(server, tmp_path, rows, dec=dec, base_url=connections.closed_port())


def test_another_release_is_asked_for(tmp_path, server):
  sky.fetch(server, tmp_path, [4, 5])
  server.requests.clear()
  sky.fetch(server, tmp_path, [4, 5], source="dr14")
  assert len(sky.targets(server)) == 2
  assert len(sky.targets(server, "Sql")) == 1


def test_requests_are_polite(tmp_path, server):
  server.image_faults[OBJIDS[5]] = [connections.too_many(1)]
  server.delay = 0.01
  sky.fetch(server, tmp_path, range(3, 20), connections=2)
  assert server.max_active <= 2
  assert all(
    "me@example.org" in r.headers["User-Agent"] for r in server.requests
  )
  times = sorted(sent.time for sent in server.requests)
  assert max(np.diff(times)) > 0.9


def test_empty_table(tmp_path, server):
  found = sky.fetch(server, tmp_path, [])
  assert found.paths == []
  assert found.status.shape == found.objid.shape == (0,)
  assert not server.requests


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"source": "zenodo"}, "--fetch: expected dr17 or dr14, found 'zenodo'"),
    ({"size": 96}, "--fetch=dr17: .* 128 x 128 pixels, found one for 96"),
    ({"field": "wide"}, "--field: expected petro or fixed"),
    ({"contact": "a\nb"}, "--contact: expected an e-mail"),
    ({"base_url": "ftp://x"}, "--base_url: expected an address"),
    ({"connections": 9}, "--connections: expected 1 to 4"),
  ],
)
def test_bad_options(tmp_path, server, change, message):
  with pytest.raises(DataError, match=message):
    sky.fetch(server, tmp_path, [5], **change)
  assert not list(tmp_path.iterdir())


def test_longest_query_is_accepted():
  batch = [matches.Position("359.1234567", "-12.1234567")] * matches._BATCH
  service = matches.skyserver.Service("https://example.org", "dr17")
  assert service.query_url(matches.sql(batch))


def test_query_has_nested_statements_in_parentheses_only():
  # SqlSearch makes any other SELECT, and a semicolon, a syntax error.
  statement = matches.sql([matches.Position("1.0000000", "2.0000000")])
  assert statement.startswith("select top ")
  assert statement.count("select ") == 1 + statement.count("(select ")
  assert ";" not in statement
