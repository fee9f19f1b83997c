"""Fetches of a catalogue from a service with faults."""

import numpy as np
import pandas as pd
import pytest

from tests.tfds_sdss.fetch import fetching
from tests.tfds_sdss.fetch import stand_in
from tests.tfds_sdss.fetch import stand_in_connections as connections
from tests.tfds_sdss.fetch import stand_in_faults as faults
from tfds_sdss.errors import DataError
from tfds_sdss.fetch import http_responses
from tfds_sdss.fetch import skyserver

pytestmark = pytest.mark.faults("a service answers queries wrongly")

FRAME = stand_in.frame_of(12)
OBJIDS = sorted(FRAME.objid.tolist())
VICTIM = OBJIDS[4]


@pytest.mark.parametrize(
  "fault",
  [
    faults.database_timeout,
    faults.throttled,
    faults.html_error,
    faults.html_unavailable,
    faults.html_search_form,
    faults.csv_dropped,
    faults.csv_cut_mid_row,
    faults.csv_cut_in_last_field,
    connections.too_many(1),
    connections.unavailable(),
    connections.reset,
  ],
)
@pytest.mark.parametrize("query", ["count", "page"])
def test_query_is_repeated_after_a_fault(tmp_path, server, fault, query):
  server.sql_faults += [fault] if query == "count" else [None, fault]
  assert fetching.run(tmp_path, server).images == 12
  fetching.check(tmp_path, stand_in.jpeg_of)


@pytest.mark.parametrize(
  ("fault", "message"),
  [
    (faults.bad_sql, "Invalid column name"),
    (faults.not_select, "must be a select statement"),
    (faults.row_limit, "limit is  top"),
    (faults.html_search_form, "found a page of HTML"),
    (faults.html_unavailable, "HTTP status 503.*No server is available"),
    (faults.database_timeout, "imeout"),
    (connections.too_many(3600), "HTTP status 429"),
  ],
)
def test_failed_query_gives_the_reason_and_stores_nothing(
  tmp_path, server, fault, message
):
  server.sql_faults += [fault] * 3
  with pytest.raises(http_responses.FetchError, match=message):
    fetching.run(tmp_path, server)
  assert not (tmp_path / "source.json").exists()
  assert not (tmp_path / "catalog.parquet").exists()
  # The same folder works once the service recovers.
  server.sql_faults.clear()
  fetching.run(tmp_path, server)
  fetching.check(tmp_path, stand_in.jpeg_of)


def test_rejected_statement_is_not_repeated(tmp_path, server):
  server.sql_faults += [faults.bad_sql] * 3
  with pytest.raises(http_responses.FetchError):
    fetching.run(tmp_path, server)
  assert len(server.requests) == 1


@pytest.mark.parametrize("cap", [1, 5, 11])
def test_silent_row_cap_loses_nothing(tmp_path, server, cap):
  server.silent_cap = cap
  fetching.run(tmp_path, server)
  folder = fetching.check(tmp_path, stand_in.jpeg_of)
  assert folder.read_catalog().objid.tolist() == OBJIDS


def test_next_page_has_the_missing_rows(tmp_path, server):
  server.sql_faults += [None, faults.csv_cut_at_row]
  assert fetching.run(tmp_path, server).galaxies == 12


def test_fewer_rows_than_counted_are_an_error(tmp_path, server):
  server.sql_faults += [None, faults.csv_cut_at_row, faults.empty_result]
  with pytest.raises(
    http_responses.FetchError, match=r"expected 12 rows \(COUNT\), found [1-9]"
  ):
    fetching.run(tmp_path, server)


def check_refused(tmp_path, server, message):
  with pytest.raises(http_responses.FetchError, match=message):
    fetching.run(tmp_path, server)
  assert not (tmp_path / "source.json").exists()
  assert not (tmp_path / "catalog.parquet").exists()


@pytest.mark.parametrize(("page", "number"), [(5, 1), (5, 2), (20_000, 1)])
@pytest.mark.parametrize("fault", [faults.not_sorted, faults.repeated_row])
def test_pages_out_of_order_are_an_error(
  tmp_path, server, monkeypatch, fault, page, number
):
  monkeypatch.setattr(skyserver, "PAGE_ROWS", page)
  server.sql_faults += [None] * number + [fault]
  check_refused(tmp_path, server, "ascending order of specObjID, found")


@pytest.mark.parametrize("limit", [None, 9])
def test_overlapping_pages_are_an_error(tmp_path, server, monkeypatch, limit):
  monkeypatch.setattr(skyserver, "PAGE_ROWS", 5)
  server.page_shift = -2
  with pytest.raises(http_responses.FetchError, match="ascending order"):
    fetching.run(tmp_path, server, limit=limit)


def test_skipped_rows_are_an_error(tmp_path, server, monkeypatch):
  monkeypatch.setattr(skyserver, "PAGE_ROWS", 5)
  server.page_shift = 1
  check_refused(tmp_path, server, r"expected 12 rows \(COUNT\), found 10")


@pytest.mark.parametrize("page", [3, 4, 5, 20_000])
@pytest.mark.parametrize(
  ("error", "found"), [(-4, "more"), (-1, "more"), (1, "12"), (4, "12")]
)
def test_count_is_compared_both_ways(
  tmp_path, server, monkeypatch, page, error, found
):
  monkeypatch.setattr(skyserver, "PAGE_ROWS", page)
  server.count_error = error
  check_refused(
    tmp_path, server, rf"{12 + error} rows \(COUNT\), found {found}"
  )


def test_page_longer_than_requested_is_an_error(tmp_path, server, monkeypatch):
  monkeypatch.setattr(skyserver, "PAGE_ROWS", 5)
  server.ignores_top = True
  check_refused(tmp_path, server, r"at most 5 rows \(TOP\), found 12")


@pytest.mark.parametrize(
  "body", ["n\n", "n\n1\n2\n", "n\nmany\n", "n\n-3\n", "n\n1_0\n", "n\n1e3\n"]
)
def test_count_that_is_no_number_is_an_error(tmp_path, server, body):
  def fault(request, response):
    return response._replace(body=body.encode())

  server.sql_faults += [fault]
  check_refused(tmp_path, server, "expected one number of rows")


def test_empty_catalogue_is_an_error(tmp_path):
  with (
    stand_in.StandIn(FRAME.head(0), stand_in.jpeg_of) as server,
    pytest.raises(http_responses.FetchError, match="found none"),
  ):
    fetching.run(tmp_path, server)


def test_catalogue_is_cleaned(tmp_path):
  frame = FRAME.sort_values("objid", ignore_index=True)
  frame.loc[0, ["lgm_tot_p50", "sfr_tot_p50"]] = -9999
  frame.loc[1, "velDisp"] = np.nan
  frame.loc[2, "zErr"] = 1e-5
  frame.loc[3:5, "petroR90_r"] = [-9999, 0, 5000]
  frame.loc[7, "ra"] = frame.ra[6]
  frame.loc[7, "dec"] = frame.dec[6] + 1 / 3600
  better = frame.iloc[[8]].assign(specobjid=17, zErr=np.float32(1e-9))
  frame = pd.concat([frame, better])
  with stand_in.StandIn(frame, stand_in.jpeg_of) as server:
    outcome = fetching.run(tmp_path, server)
  folder = fetching.check(tmp_path, stand_in.jpeg_of)
  found = folder.read_catalog()
  assert found.objid.tolist() == OBJIDS
  assert np.isnan(found.lgm_tot_p50[0])
  assert np.isnan(found.sfr_tot_p50[0])
  assert np.isnan(found.velDisp[1])
  assert found.zErr[2] == np.float32(1e-5)
  assert found.sky_group[6:8].tolist() == [OBJIDS[6]] * 2
  assert found.specobjid[8] == 17
  report = folder.read_source()["report"]
  assert report["dropped"]["same_galaxy"] == 1
  assert report["sky_pairs"] == 1
  # The server would silently clamp radii out of its range.
  assert outcome.lost == {"no_radius": 3}
  assert outcome.dropped == {"same_galaxy": 1}
  assert outcome.loss == pytest.approx(3 / 13)
  assert fetching.image_requests(server) == 9


def test_invalid_rows_are_a_loss(tmp_path):
  frame = FRAME.copy()
  frame.loc[0, "oh_p50"] = -9999
  frame.loc[1:2, "oh_p50"] = 99
  frame.loc[3, "dec"] = 91
  with stand_in.StandIn(frame, stand_in.jpeg_of) as server:
    for _ in range(2):  # the second run reads the stored catalogue
      outcome = fetching.run(tmp_path, server, max_loss=0.3)
      assert (outcome.galaxies, outcome.images) == (8, 8)
      assert outcome.lost == {
        "no_position": 1,
        "no_oh_p50": 1,
        "impossible_oh_p50": 2,
      }
      assert outcome.loss == pytest.approx(4 / 12)
      assert not outcome.is_success


def test_float_ids_are_rejected(tmp_path, server):
  server.sql_faults += [None, faults.mangled_ids]
  with pytest.raises(DataError, match=r"E\+17"):
    fetching.run(tmp_path, server)
  assert not (tmp_path / "catalog.parquet").exists()
