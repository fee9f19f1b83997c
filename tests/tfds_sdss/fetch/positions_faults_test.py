"""Cutouts of positions from a faulty service, and interrupted calls."""

import json
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from tests.tfds_sdss.fetch import fetching_positions as sky
from tests.tfds_sdss.fetch import stand_in_connections as connections
from tests.tfds_sdss.fetch import stand_in_faults as faults
from tfds_sdss import files
from tfds_sdss import staging
from tfds_sdss.fetch import http_responses
from tfds_sdss.fetch import positions

REPOSITORY = pathlib.Path(__file__).parents[3]
FRAME = sky.FRAME
OBJIDS = sky.OBJIDS


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
  found = sky.fetch(server, tmp_path, [4, 5, 6])
  assert found.status.tolist() == [0, status, 0]
  assert (found.paths[1] is None) == (status != positions.OK)
  assert [sky.bytes_of(found)[n] for n in (0, 2)] == sky.images_of([4, 6])
  # Only the failures of the service are asked for again.
  server.requests.clear()
  server.image_faults.clear()
  again = sky.fetch(server, tmp_path, [4, 5, 6])
  is_service = status == positions.SERVICE
  assert len(server.requests) == is_service
  assert again.status.tolist() == [0, 0 if is_service else status, 0]


def test_failed_query_costs_its_rows_only(tmp_path, server):
  server.sql_faults = [connections.unavailable()] * 3
  found = sky.fetch(server, tmp_path, range(3, 70))
  assert found.status.tolist() == [positions.SERVICE] * 60 + [0] * 7
  assert sky.bytes_of(found)[60:] == sky.images_of(range(63, 70))
  assert not found.objid[:60].any()
  assert sky.fetch(server, tmp_path, range(3, 70)).status.tolist() == [0] * 67


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
  found = sky.fetch(server, tmp_path, range(3, 30))
  assert not found.status.any()
  assert found.objid.tolist() == OBJIDS[3:30]
  assert len(sky.targets(server, "Sql")) == 3


def test_galaxy_at_another_position_is_no_match(tmp_path, server):
  def shift(request, response):
    text = response.body.decode().replace(f"{FRAME.ra[5]:.15G}", "200.5")
    return response._replace(body=text.encode())

  server.sql_faults = [shift] * 3
  found = sky.fetch(server, tmp_path, [5])
  assert found.status.tolist() == [positions.SERVICE]


@pytest.mark.parametrize("fault", [faults.bad_sql, faults.not_select])
def test_refused_query_is_an_error(tmp_path, server, fault):
  server.sql_faults = [fault]
  with pytest.raises(http_responses.FetchError, match=r"^the query to http"):
    sky.fetch(server, tmp_path, [5])


@pytest.mark.parametrize("is_matched", [True, False])
def test_no_network_is_one_error(tmp_path, server, is_matched):
  base_url = connections.closed_port()
  with pytest.raises(http_responses.FetchError, match="Check the network"):
    sky.fetch(server, tmp_path, [5], base_url=base_url, is_matched=is_matched)


def test_service_that_is_down_is_an_error(tmp_path, server):
  server.image_faults = {o: [connections.unavailable()] * 3 for o in OBJIDS}
  with pytest.raises(http_responses.FetchError, match="20 galaxies in a row"):
    sky.fetch(server, tmp_path, range(3, 70))
  server.image_faults = {}
  assert not sky.fetch(server, tmp_path, range(3, 70)).status.any()


def test_damaged_image_is_fetched_again(tmp_path, server):
  found = sky.fetch(server, tmp_path, [4, 5, 6])
  found.paths[1].write_bytes(found.paths[0].read_bytes())
  found.paths[2].unlink()
  server.requests.clear()
  again = sky.fetch(server, tmp_path, [4, 5, 6])
  assert sky.bytes_of(again) == sky.images_of([4, 5, 6])
  assert len(server.requests) == 2


@pytest.mark.parametrize("change", ["digit", "no digest", "list", "text"])
def test_damaged_match_is_an_error(tmp_path, server, change):
  sky.fetch(server, tmp_path, [4, 5, 6])
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
    sky.fetch(server, tmp_path, [4, 5, 6])


SCRIPT = """if True:
  import pathlib, sys
  from tests.tfds_sdss.fetch import fetching_positions as sky
  class server: base_url = sys.argv[2]
  sky.fetch(server, pathlib.Path(sys.argv[1]), range(3, 63))
"""


@pytest.mark.faults("a fetch of positions is killed")
def test_killed_fetch_resumes(tmp_path, server):
  server.delay = 0.02
  process = subprocess.Popen(
    [sys.executable, "-c", SCRIPT, tmp_path, server.base_url], cwd=REPOSITORY
  )
  while len(sky.targets(server)) < 25:
    assert process.poll() is None
    time.sleep(0.002)
  process.send_signal(signal.SIGKILL)
  process.wait()
  # As if it had been killed while it wrote these lines.
  for name in ("matches.jsonl", "manifest.jsonl"):
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-30])
  found = sky.fetch(server, tmp_path, range(3, 63))
  assert sky.bytes_of(found) == sky.images_of(range(3, 63))
  # Only the requests in flight, and those of the lines, are repeated.
  assert len(sky.targets(server)) <= 60 + 4 + 2
  *_, repeated = sky.targets(server, "Sql")
  assert "(0," in repeated
  assert "(1," not in repeated
  server.requests.clear()
  sky.fetch(server, tmp_path, range(3, 63))
  assert not server.requests


@pytest.mark.faults("two processes use one folder of cutouts")
def test_folder_in_use_is_an_error(tmp_path, server):
  with files.lock(tmp_path), pytest.raises(files.FolderInUseError):
    sky.fetch(server, tmp_path, [5])
