"""Cutouts of positions."""

import dataclasses
import json
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from tests.tfds_sdss.fetch import fetching
from tests.tfds_sdss.fetch import stand_in
from tests.tfds_sdss.fetch import stand_in_connections as connections
from tests.tfds_sdss.fetch import stand_in_faults as faults
from tfds_sdss import files
from tfds_sdss import staging
from tfds_sdss.errors import DataError
from tfds_sdss.fetch import http_responses
from tfds_sdss.fetch import matches
from tfds_sdss.fetch import positions

REPOSITORY = pathlib.Path(__file__).parents[3]


def _frame() -> pd.DataFrame:
  """Returns galaxies, of which rows 0 and 1 are 2 arcsec apart."""
  frame = stand_in.frame_of(70)
  frame.loc[1, ["ra", "dec"]] = frame.ra[0], frame.dec[0] + 2 / 3600
  frame.loc[2, "petroR90_r"] = -9999.0
  # As many digits as the server sends.
  frame["petroR90_r"] = np.array(
    [f"{radius:.7G}" for radius in frame.petroR90_r], np.float32
  )
  return frame


FRAME = _frame()
OBJIDS = FRAME.objid.tolist()


@pytest.fixture(autouse=True)
def no_query_rate(monkeypatch):
  monkeypatch.setattr(matches, "_QUERIES_PER_SECOND", 2000.0)


def fetch(server, folder, rows, *, dec=0.0, is_matched=True, **changes):
  """Fetches galaxies of FRAME; `dec` is an offset, arcsec."""
  part = FRAME.iloc[list(rows)]
  options = {"size": 128, "field": "petro", "contact": "me@example.org"}
  options |= {"base_url": server.base_url, "rate": 2000.0}
  options |= {"limits": fetching.LIMITS}
  return positions.fetch(
    part.ra.to_numpy(),
    part.dec.to_numpy() + np.asarray(dec) / 3600,
    None if is_matched else part.petroR90_r.to_numpy(),
    folder,
    **(options | changes),
  )


def bytes_of(cutouts) -> list[bytes | None]:
  return [path and path.read_bytes() for path in cutouts.paths]


def images_of(rows) -> list[bytes]:
  return [stand_in.jpeg_of(OBJIDS[row]) for row in rows]


def targets(server, kind="getjpeg") -> list[str]:
  return [sent.target for sent in server.requests if kind in sent.path]


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
  found = fetch(server, tmp_path, [5], dec=offset)
  is_found = status == positions.OK
  assert found.status.tolist() == [status]
  assert found.objid.tolist() == [OBJIDS[5] if is_found else 0]
  assert found.objid.dtype == np.int64
  expected = abs(offset) if is_found else np.nan
  np.testing.assert_allclose(found.separation, [expected], atol=1e-3)
  radius = FRAME.petroR90_r[5] if is_found else np.nan
  np.testing.assert_array_equal(found.radius, np.float32([radius]))
  assert found.doubtful.tolist() == [is_doubtful]
  assert bytes_of(found) == (images_of([5]) if is_found else [None])


@pytest.mark.parametrize(("offset", "nearest"), [(0.1, 0), (1.9, 1)])
def test_two_candidates_are_doubtful(tmp_path, server, offset, nearest):
  found = fetch(server, tmp_path, [0], dec=offset)
  assert found.objid.tolist() == [OBJIDS[nearest]]
  assert found.separation[0] < 0.2
  assert found.doubtful.tolist() == [True]
  assert bytes_of(found) == images_of([nearest])


@pytest.mark.parametrize("field", ["petro", "fixed"])
@pytest.mark.parametrize("is_matched", [True, False])
def test_urls_are_those_of_the_data_set(tmp_path, server, field, is_matched):
  # Row 2 has no radius, and can have a cutout of the fixed field only.
  rows = [row for row in range(70) if field == "fixed" or row != 2]
  fetching.run(tmp_path / "staging", server, field=field)
  expected = set(targets(server))
  server.requests.clear()
  found = fetch(
    server,
    tmp_path / "cutouts",
    rows,
    dec=0.2 if is_matched else 0.0,
    is_matched=is_matched,
    field=field,
  )
  assert set(targets(server)) == expected
  assert len(expected) == len(rows)
  assert not found.status.any()
  assert bytes_of(found) == images_of(rows)
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
    urls.append(set(targets(server)))
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
  assert bytes_of(found) == [None, images_of([3])[0], None, *images_of([5, 6])]


def test_rows_of_one_galaxy_share_a_request_and_keep_their_order(
  tmp_path, server
):
  rows = [9, 5, 9, 7, 5, 5]
  offsets = [0, 0.1, 0.2, 0, 0.1, 0.3]
  found = fetch(server, tmp_path, rows, dec=offsets)
  assert found.objid.tolist() == [OBJIDS[row] for row in rows]
  np.testing.assert_allclose(found.separation, offsets, atol=1e-3)
  assert bytes_of(found) == images_of(rows)
  assert len(targets(server)) == 3
  (query,) = [r.query["cmd"] for r in server.requests if "Sql" in r.path]
  assert query.count("(") == 4 + 5  # the same position once


@pytest.mark.parametrize(
  ("fault", "status"),
  [
    (faults.outside_footprint, positions.OUTSIDE),
    (faults.black, positions.OUTSIDE),
    (faults.part_black(0.8), positions.OUTSIDE),
    (faults.part_black(0.3), positions.OK),
    (faults.plain((90, 90, 90)), positions.SERVICE),
    (faults.wrong_size(64), positions.SERVICE),
    (connections.unavailable(), positions.SERVICE),
    (connections.short_body, positions.SERVICE),
  ],
)
def test_image_faults(tmp_path, server, fault, status):
  server.image_faults[OBJIDS[5]] = [fault] * 3
  found = fetch(server, tmp_path, [4, 5, 6])
  assert found.status.tolist() == [0, status, 0]
  assert (found.paths[1] is None) == (status != positions.OK)
  assert [bytes_of(found)[n] for n in (0, 2)] == images_of([4, 6])
  # Only the failures of the service are asked for again.
  server.requests.clear()
  server.image_faults.clear()
  again = fetch(server, tmp_path, [4, 5, 6])
  is_service = status == positions.SERVICE
  assert len(server.requests) == is_service
  assert again.status.tolist() == [0, 0 if is_service else status, 0]


def test_failed_query_costs_its_rows_only(tmp_path, server):
  server.sql_faults = [connections.unavailable()] * 3
  found = fetch(server, tmp_path, range(3, 70))
  assert found.status.tolist() == [positions.SERVICE] * 60 + [0] * 7
  assert bytes_of(found)[60:] == images_of(range(63, 70))
  assert not found.objid[:60].any()
  assert fetch(server, tmp_path, range(3, 70)).status.tolist() == [0] * 67


@pytest.mark.parametrize(
  "fault",
  [
    faults.throttled,
    faults.database_timeout,
    faults.html_error,
    faults.html_search_form,
    faults.csv_dropped,
    faults.csv_cut_mid_row,
    faults.csv_cut_at_row,
    faults.empty_result,
    faults.mangled_ids,
    connections.too_many(0.05),
  ],
)
def test_faulty_query_is_repeated(tmp_path, server, fault):
  server.sql_faults = [fault, fault]
  found = fetch(server, tmp_path, range(3, 30))
  assert not found.status.any()
  assert found.objid.tolist() == OBJIDS[3:30]
  assert len(targets(server, "Sql")) == 3


def test_galaxy_at_another_position_is_no_match(tmp_path, server):
  def shift(request, response):
    text = response.body.decode().replace(f"{FRAME.ra[5]:.15G}", "200.5")
    return response._replace(body=text.encode())

  server.sql_faults = [shift] * 3
  found = fetch(server, tmp_path, [5])
  assert found.status.tolist() == [positions.SERVICE]


@pytest.mark.parametrize("fault", [faults.bad_sql, faults.not_select])
def test_refused_query_is_an_error(tmp_path, server, fault):
  server.sql_faults = [fault]
  with pytest.raises(http_responses.FetchError, match=r"^the query to http"):
    fetch(server, tmp_path, [5])


@pytest.mark.parametrize("is_matched", [True, False])
def test_no_network_is_one_error(tmp_path, server, is_matched):
  base_url = connections.closed_port()
  with pytest.raises(http_responses.FetchError, match="Check the network"):
    fetch(server, tmp_path, [5], base_url=base_url, is_matched=is_matched)


def test_service_that_is_down_is_an_error(tmp_path, server):
  server.image_faults = {o: [connections.unavailable()] * 3 for o in OBJIDS}
  with pytest.raises(http_responses.FetchError, match="20 galaxies in a row"):
    fetch(server, tmp_path, range(3, 70))
  server.image_faults = {}
  assert not fetch(server, tmp_path, range(3, 70)).status.any()


def test_second_call_asks_for_nothing(tmp_path, server):
  rows = range(3, 70)
  dec = np.linspace(-4, 4, 67)
  first = fetch(server, tmp_path, rows, dec=dec)
  assert set(first.status) == {positions.OK, positions.OUTSIDE}
  server.requests.clear()
  again = fetch(server, tmp_path, rows, dec=dec)
  assert not server.requests
  for name, value in dataclasses.asdict(first).items():
    np.testing.assert_array_equal(value, getattr(again, name))
  # Another host, the same requests.
  fetch(server, tmp_path, rows, dec=dec, base_url=connections.closed_port())


def test_damaged_image_is_fetched_again(tmp_path, server):
  found = fetch(server, tmp_path, [4, 5, 6])
  found.paths[1].write_bytes(found.paths[0].read_bytes())
  found.paths[2].unlink()
  server.requests.clear()
  again = fetch(server, tmp_path, [4, 5, 6])
  assert bytes_of(again) == images_of([4, 5, 6])
  assert len(server.requests) == 2


@pytest.mark.parametrize("change", ["digit", "no digest", "list", "text"])
def test_damaged_match_is_an_error(tmp_path, server, change):
  fetch(server, tmp_path, [4, 5, 6])
  path = tmp_path / "matches.jsonl"
  lines = path.read_text().splitlines(keepends=True)
  content = json.loads(lines[1])
  if change == "no digest":
    del content["sha256"]
  content["match"][0] += change == "digit"
  lines[1] = {
    "list": "[1]\n",
    "text": "x\n",
  }.get(change, json.dumps(content) + "\n")
  path.write_text("".join(lines))
  with pytest.raises(staging.StagingError, match=r"line 2: .* Delete that"):
    fetch(server, tmp_path, [4, 5, 6])


def test_another_release_is_asked_for(tmp_path, server):
  fetch(server, tmp_path, [4, 5])
  server.requests.clear()
  fetch(server, tmp_path, [4, 5], source="dr14")
  assert len(targets(server)) == 2
  assert len(targets(server, "Sql")) == 1


SCRIPT = """if True:
  import pathlib, sys
  from tests.tfds_sdss.fetch import positions_test
  class server: base_url = sys.argv[2]
  positions_test.fetch(server, pathlib.Path(sys.argv[1]), range(3, 63))
"""


@pytest.mark.faults("a fetch of positions is killed")
def test_killed_fetch_resumes(tmp_path, server):
  server.delay = 0.02
  process = subprocess.Popen(
    [sys.executable, "-c", SCRIPT, tmp_path, server.base_url], cwd=REPOSITORY
  )
  while len(targets(server)) < 25:
    assert process.poll() is None
    time.sleep(0.002)
  process.send_signal(signal.SIGKILL)
  process.wait()
  # As if it had been killed while it wrote these lines.
  for name in ("matches.jsonl", "manifest.jsonl"):
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-30])
  found = fetch(server, tmp_path, range(3, 63))
  assert bytes_of(found) == images_of(range(3, 63))
  # Only the requests in flight, and those of the lines, are repeated.
  assert len(targets(server)) <= 60 + 4 + 2
  *_, repeated = targets(server, "Sql")
  assert "(0," in repeated
  assert "(1," not in repeated
  server.requests.clear()
  fetch(server, tmp_path, range(3, 63))
  assert not server.requests


@pytest.mark.faults("two processes use one folder of cutouts")
def test_folder_in_use_is_an_error(tmp_path, server):
  with files.lock(tmp_path), pytest.raises(files.FolderInUseError):
    fetch(server, tmp_path, [5])


def test_requests_are_polite(tmp_path, server):
  server.image_faults[OBJIDS[5]] = [connections.too_many(1)]
  server.delay = 0.01
  fetch(server, tmp_path, range(3, 20), connections=2)
  assert server.max_active <= 2
  assert all(
    "me@example.org" in r.headers["User-Agent"] for r in server.requests
  )
  times = sorted(sent.time for sent in server.requests)
  assert max(np.diff(times)) > 0.9


def test_empty_table(tmp_path, server):
  found = fetch(server, tmp_path, [])
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
    fetch(server, tmp_path, [5], **change)
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
