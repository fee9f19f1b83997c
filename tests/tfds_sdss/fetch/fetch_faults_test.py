"""Fetches from a service with faults."""

import types

import numpy as np
import pandas as pd
import pytest

from tests.tfds_sdss.fetch import fetching
from tests.tfds_sdss.fetch import stand_in
from tests.tfds_sdss.fetch import stand_in_connections as connections
from tests.tfds_sdss.fetch import stand_in_faults as faults
from tfds_sdss import staging
from tfds_sdss.errors import DataError
from tfds_sdss.fetch import http_responses

FRAME = stand_in.frame_of(12)
OBJIDS = sorted(FRAME.objid.tolist())
VICTIM = OBJIDS[4]


@pytest.fixture
def server():
  with stand_in.StandIn(FRAME, stand_in.jpeg_of) as running:
    yield running


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
  frame = pd.concat([frame, better, frame.iloc[[9]]])
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
  assert report["dropped"]["same_spectrum"] == 1
  assert report["sky_pairs"] == 1
  # The server would silently clamp radii out of its range.
  assert outcome.lost == {"no_radius": 3}
  assert fetching.image_requests(server) == 9


def test_float_ids_are_rejected(tmp_path, server):
  server.sql_faults += [None, faults.mangled_ids]
  with pytest.raises(DataError, match=r"E\+17"):
    fetching.run(tmp_path, server)
  assert not (tmp_path / "catalog.parquet").exists()


@pytest.mark.parametrize(
  ("fault", "reason", "status"),
  [
    (faults.outside_footprint, "outside_footprint", 404),
    (faults.outside_footprint_200, "black", 200),
    (faults.black, "black", 200),
    (faults.part_black(0.6), "black", 200),
  ],
)
def test_permanent_failures_are_not_repeated(
  tmp_path, server, fault, reason, status
):
  server.image_faults[VICTIM] = [fault]
  assert fetching.run(tmp_path, server).lost == {reason: 1}
  entry = fetching.check(tmp_path, stand_in.jpeg_of).read_manifest()[VICTIM]
  assert (entry.permanent, entry.status) == (True, status)
  # The second run does not repeat the request.
  fetching.run(tmp_path, server)
  assert fetching.image_requests(server) == 12


@pytest.mark.parametrize("fault", [faults.part_black(0.3), faults.progressive])
def test_unusual_images_are_accepted(tmp_path, server, fault):
  server.image_faults[VICTIM] = [fault]
  assert fetching.run(tmp_path, server).images == 12
  folder = staging.Staging(tmp_path)
  entry = folder.read_manifest()[VICTIM]
  assert folder.has_image(entry)
  if fault is not faults.progressive:
    assert entry.zeros == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize(
  ("fault", "reason"),
  [
    (faults.server_error_jpeg, "http_500"),
    (connections.short_body, "broken_answer"),
    (connections.short_body_closed, "bad_image"),
    (faults.no_end_marker, "bad_image"),
    (faults.html_page, "bad_image"),
    (faults.no_cutouts, "bad_image"),
    (faults.empty_body, "bad_image"),
    (faults.wrong_size(64), "bad_image"),
    (faults.wrong_size(2048), "bad_image"),
    (faults.grayscale, "bad_image"),
    (faults.cmyk, "bad_image"),
    (faults.png, "bad_image"),
    (connections.too_many(), "http_429"),
    (connections.unavailable(), "http_503"),
    (connections.reset, "broken_answer"),
  ],
)
def test_transient_failures_are_repeated(tmp_path, server, fault, reason):
  # After one fault, the second attempt succeeds.
  server.image_faults[VICTIM] = [fault]
  assert fetching.run(tmp_path / "once", server).images == 12
  fetching.check(tmp_path / "once", stand_in.jpeg_of)
  # After three failed attempts, the next run repeats the request. There are six
  # faults because aiohttp itself retries after a reset.
  server.image_faults[VICTIM] = [fault] * 6
  assert fetching.run(tmp_path / "always", server).lost == {reason: 1}
  folder = fetching.check(tmp_path / "always", stand_in.jpeg_of)
  assert not folder.read_manifest()[VICTIM].permanent
  server.image_faults.clear()
  assert fetching.run(tmp_path / "always", server).images == 12
  fetching.check(tmp_path / "always", stand_in.jpeg_of)


@pytest.mark.parametrize(
  "fault",
  [
    connections.stall,
    connections.drip,
    connections.drip_headers,
  ],
)
def test_stalled_requests_time_out(tmp_path, server, fault):
  server.image_faults[VICTIM] = [fault] * 3
  outcome = fetching.run(tmp_path, server, limits=fetching.IMPATIENT)
  assert outcome.lost == {"timeout": 1}
  server.image_faults.clear()
  assert fetching.run(tmp_path, server).images == 12


@pytest.mark.parametrize("as_date", [False, True])
@pytest.mark.parametrize(
  "kind", [connections.too_many, connections.unavailable]
)
def test_retry_after_delays_all_requests(tmp_path, server, kind, as_date):
  fetching.run(tmp_path, server, limit=1)
  server.requests.clear()
  server.image_faults[OBJIDS[3]] = [kind(1, as_date=as_date)]
  # One connection, so that no other request is in flight.
  fetching.run(tmp_path, server, connections=1)
  times = [request.time for request in server.requests]
  # A date has whole seconds; most of one may have passed.
  assert max(np.diff(times)) >= (0.05 if as_date else 0.99)
  assert fetching.run(tmp_path, server).images == 12


def test_excessive_retry_after_is_a_failure(tmp_path, server):
  server.image_faults[VICTIM] = [connections.unavailable(3600)]
  outcome = fetching.run(tmp_path, server)
  assert outcome.lost == {"http_503": 1}
  assert fetching.image_requests(server) == 12


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_closed_port_is_an_error(tmp_path, scheme):
  absent = types.SimpleNamespace(base_url=connections.closed_port(scheme))
  with pytest.raises(http_responses.FetchError, match="--base_url"):
    fetching.run(tmp_path, absent)


def test_unknown_host_is_an_error(tmp_path):
  unknown = types.SimpleNamespace(base_url="http://no-such-host.invalid")
  with pytest.raises(http_responses.FetchError, match="--base_url"):
    fetching.run(tmp_path, unknown)


@pytest.mark.parametrize("status", [301, 302, 308])
def test_redirections_are_followed(tmp_path, server, status):
  server.sql_faults += [connections.redirect(status)]
  server.image_faults[VICTIM] = [connections.redirect(status)]
  assert fetching.run(tmp_path, server).images == 12
  fetching.check(tmp_path, stand_in.jpeg_of)


def test_redirection_loop_is_an_error(tmp_path, server):
  server.image_faults[VICTIM] = [connections.redirect_loop]
  with pytest.raises(
    http_responses.FetchError, match="more than 5 redirections"
  ):
    fetching.run(tmp_path, server)


def test_bad_certificate_is_an_error(tmp_path, server):
  with connections.self_signed_tls() as url:
    server.sql_faults += [connections.redirect(base_url=url)]
    with pytest.raises(http_responses.FetchError, match="certificate"):
      fetching.run(tmp_path, server)


def test_second_run_repeats_only_transient_failures(tmp_path, server):
  permanent = [faults.outside_footprint, faults.black, faults.part_black(0.6)]
  transient = [
    connections.unavailable(),
    faults.server_error_jpeg,
    connections.short_body,
    faults.html_page,
  ]
  for objid, fault in zip(OBJIDS, permanent, strict=False):
    server.image_faults[objid] = [fault]
  for objid, fault in zip(OBJIDS[5:], transient, strict=False):
    server.image_faults[objid] = [fault] * 3
  first = fetching.run(tmp_path, server)
  assert (first.images, sum(first.lost.values())) == (5, 7)
  assert not first.is_success
  second = fetching.run(tmp_path, server)
  assert second.images == 9
  fetching.check(tmp_path, stand_in.jpeg_of)
