import os

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.tfds_sdss.fetch import fetching
from tests.tfds_sdss.fetch import stand_in
from tests.tfds_sdss.fetch import stand_in_faults as faults
from tfds_sdss import __main__ as cli
from tfds_sdss import columns
from tfds_sdss import files
from tfds_sdss import staging
from tfds_sdss.errors import DataError
from tfds_sdss.fetch import progress
from tfds_sdss.fetch import request
from tfds_sdss.fetch import skyserver

FRAME = stand_in.frame_of(40)
OBJIDS = FRAME.objid.tolist()


def test_fetch_of_the_whole_sample(tmp_path, server):
  outcome = fetching.run(tmp_path, server)
  assert (outcome.galaxies, outcome.images, outcome.lost) == (40, 40, {})
  folder = fetching.check(tmp_path, stand_in.jpeg_of)
  frame = folder.read_catalog().set_index("objid")
  expected = FRAME.set_index("objid").loc[frame.index]
  for column in columns.COLUMNS[1:]:
    found = frame[column.name]
    assert found.dtype == column.dtype
    np.testing.assert_allclose(found, expected[column.name], rtol=1e-6)
  assert frame.specobjid.tolist() == expected.specobjid.tolist()
  schema = pq.read_schema(folder.catalog_path)
  assert schema.field("ra").metadata[b"unit"] == b"deg"
  assert folder.read_source()["counted"] == 40
  for sent in server.requests:
    assert sent.headers["User-Agent"].startswith("galmet_jax/")


def test_scale_makes_the_field_a_multiple_of_r90(tmp_path, server):
  fetching.run(tmp_path, server, contact="me@example.org")
  sent = [r for r in server.requests if "getjpeg" in r.path]
  by_position = {(r.query["ra"], r.query["dec"]): r.query for r in sent}
  for row in FRAME.itertuples():
    query = by_position[f"{row.ra:.7f}", f"{row.dec:.7f}"]
    # 5.05 R90 in 128 pixels (Wu & Boada 2019, section 3).
    field = 128 * float(query["scale"])
    assert field == pytest.approx(2 / 0.396 * row.petroR90_r, abs=1e-3)
    assert (query["width"], query["height"]) == ("128", "128")
  assert all("me@example.org" in r.headers["User-Agent"] for r in sent)


def test_images_of_another_field_are_fetched(tmp_path, server):
  fetching.run(tmp_path, server)
  fetching.run(tmp_path, server, field="fixed")
  assert fetching.image_requests(server) == 80
  scales = {r.query["scale"] for r in server.requests[-40:]}
  assert scales == {f"{15 / 0.396 / 128:.6f}"}
  fetching.run(tmp_path, server, field="fixed")
  assert fetching.image_requests(server) == 80


@pytest.mark.parametrize("page", [1, 7, 20, 40])
def test_pages_make_the_whole_catalogue(tmp_path, server, monkeypatch, page):
  monkeypatch.setattr(skyserver, "PAGE_ROWS", page)
  fetching.run(tmp_path, server)
  folder = fetching.check(tmp_path, stand_in.jpeg_of)
  assert folder.read_catalog().objid.tolist() == sorted(OBJIDS)


def test_queries_fit_the_servers_limit():
  service = skyserver.Service(skyserver.BASE_URL, "dr17")
  longest = skyserver.page_sql(2**63 - 1, 500_000)
  assert len(service.query_url(longest).raw_query_string) < 1_500
  with pytest.raises(ValueError, match="at most 2048"):
    service.query_url(longest + " and 1=1" * 100)


def test_second_run_sends_no_request(tmp_path, server):
  fetching.run(tmp_path, server)
  before = len(server.requests)
  outcome = fetching.run(tmp_path, server)
  assert outcome.images == 40
  assert len(server.requests) == before
  assert set(fetching.lines(tmp_path).values()) == {1}


def test_images_are_reused_with_another_host(tmp_path, server):
  fetching.run(tmp_path, server)
  with stand_in.StandIn(FRAME, stand_in.jpeg_of) as other:
    fetching.run(tmp_path, other)
    assert not other.requests


def test_damaged_and_deleted_images_are_fetched_again(tmp_path, server):
  fetching.run(tmp_path, server)
  folder = staging.Staging(tmp_path)
  damaged, deleted = folder.image_path(OBJIDS[3]), folder.image_path(OBJIDS[5])
  damaged.write_bytes(damaged.read_bytes()[:-1] + b"\0")
  deleted.unlink()
  before = len(server.requests)
  fetching.run(tmp_path, server)
  fetching.check(tmp_path, stand_in.jpeg_of)
  assert len(server.requests) == before + 2


def test_images_are_reused_with_a_larger_limit(tmp_path, server):
  assert fetching.run(tmp_path, server, limit=12).galaxies == 12
  folder = fetching.check(tmp_path, stand_in.jpeg_of)
  assert len(folder.read_catalog()) == 12
  assert fetching.run(tmp_path, server).galaxies == 40
  fetching.check(tmp_path, stand_in.jpeg_of)
  assert fetching.image_requests(server) == 40


def test_rate_and_connections_are_limited(tmp_path, server):
  server.delay = 0.05
  fetching.run(tmp_path, server, rate=100.0, connections=3, limit=25)
  times = [r.time for r in server.requests if "getjpeg" in r.path]
  # 24 intervals of 10 ms, less the jitter of the arrivals.
  assert times[-1] - times[0] >= 0.24 - 0.02
  assert server.max_active <= 3


def test_loss_sets_the_exit_status(tmp_path, server, capsys):
  for objid in OBJIDS[:3]:
    server.image_faults[objid] = [faults.outside_footprint]
  argv = ["fetch", "--source=dr17", f"--out={tmp_path}", "--rate=2000"]
  argv.append(f"--base_url={server.base_url}")
  assert cli.main(argv) == 1
  output = capsys.readouterr()
  assert "37 of 40 galaxies have an image, 7.50% lost: 3 outside_footprint" in (
    output.out
  )
  assert "failed.csv" in output.err.splitlines()[-1]
  failed = pd.read_csv(tmp_path / "failed.csv")
  assert failed.permanent.all()
  assert cli.main([*argv, "--max_loss=0.08"]) == 0
  # Permanent failures are not requested again.
  assert fetching.image_requests(server) == 40


def test_progress_is_logged(tmp_path, server, monkeypatch, caplog):
  monkeypatch.setattr(progress, "_LOG_EVERY", 15)
  caplog.set_level("INFO")
  fetching.run(tmp_path, server)
  found = [line for line in caplog.messages if "hours left" in line]
  assert [line.split("/s")[0].split(", ")[0] for line in found] == [
    "15 of 40 galaxies",
    "30 of 40 galaxies",
  ]


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"rate": 0.0}, "--rate: expected a number above 0"),
    ({"connections": 5}, "--connections: expected 1 to 4, found 5"),
    ({"limit": 0}, "--limit"),
    ({"max_loss": 1.5}, "--max_loss"),
    ({"source": "dr1"}, "--source"),
    ({"source": "zenodo", "field": "fixed"}, "--field: expected petro"),
    ({"source": "demo500", "limit": 3}, "--limit: expected none"),
  ],
)
def test_invalid_requests_are_refused(tmp_path, change, message):
  with pytest.raises(DataError, match=message):
    request.Request(**({"source": "dr17", "out": tmp_path} | change))


def test_another_source_is_rejected(tmp_path, server):
  fetching.run(tmp_path, server)
  with pytest.raises(staging.StagingError, match="or dr14, found dr17"):
    fetching.run(tmp_path, server, source="dr14")


def test_concurrent_runs_are_refused(tmp_path, server):
  with (
    files.lock(tmp_path),
    pytest.raises(files.FolderInUseError, match=f"process {os.getpid()} of"),
  ):
    fetching.run(tmp_path, server)
  fetching.run(tmp_path, server)


def test_unwritable_folder_is_a_user_error(tmp_path, server, capsys):
  blocker = tmp_path / "file"
  blocker.write_text("")
  argv = ["fetch", "--source=dr17", f"--out={blocker / 'staging'}"]
  assert cli.main([*argv, f"--base_url={server.base_url}"]) == 2
  assert str(blocker) in capsys.readouterr().err.splitlines()[-1]
