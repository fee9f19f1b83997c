"""Fetches of images from a service with faults."""

import dataclasses
import hashlib
import types

import numpy as np
import pytest

from tests.tfds_sdss.fetch import fetching
from tests.tfds_sdss.fetch import stand_in
from tests.tfds_sdss.fetch import stand_in_connections as connections
from tests.tfds_sdss.fetch import stand_in_faults as faults
from tfds_sdss import staging
from tfds_sdss.fetch import http_responses

pytestmark = pytest.mark.faults("a service fails to send images")

FRAME = stand_in.frame_of(12)
OBJIDS = sorted(FRAME.objid.tolist())
VICTIM = OBJIDS[4]


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
    (faults.plain((128, 128, 128)), "one_colour"),
    (faults.plain((255, 255, 255), "Out of range"), "one_colour"),
    (faults.plain((3, 3, 3)), "one_colour"),
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


def test_retry_after_holds_the_other_connection(tmp_path, server):
  fetching.run(tmp_path, server, limit=1)
  server.requests.clear()
  server.image_faults[OBJIDS[3]] = [connections.too_many(1)]
  fetching.run(tmp_path, server, connections=2)
  images = [sent for sent in server.requests if "getjpeg" in sent.path]
  refused = next(
    i for i, sent in enumerate(images) if server.objid_of(sent) == OBJIDS[3]
  )
  # The other connection may have one request in flight and start the next one
  # before the refusal arrives.
  held = [
    sent
    for sent in images[refused + 1 :]
    if sent.time < images[refused].time + 0.99
  ]
  assert len(held) <= 2
  # Otherwise there was nothing to hold.
  assert len(images) - refused > 6


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


def send_placeholders(server, objids):
  server.image_faults.update(
    {objid: [faults.placeholder] * 9 for objid in objids}
  )


def test_same_image_of_many_galaxies_is_refused(tmp_path, server):
  send_placeholders(server, OBJIDS[1:9])
  outcome = fetching.run(tmp_path, server)
  assert outcome.lost == {"same_image": 8}
  folder = fetching.check(tmp_path, stand_in.jpeg_of)
  entries = folder.read_manifest()
  assert not any(entries[objid].permanent for objid in OBJIDS[1:9])
  server.image_faults.clear()
  assert fetching.run(tmp_path, server).lost == {}
  fetching.check(tmp_path, stand_in.jpeg_of)


def test_first_copies_are_refused_later(tmp_path, server):
  server.image_faults.update({o: [faults.placeholder] for o in OBJIDS})
  # Five placeholders seem to be images until a sixth galaxy has the same one.
  # The others are requested again at once.
  outcome = fetching.run(tmp_path, server, connections=1)
  assert outcome.lost == {"same_image": 5}
  fetching.check(tmp_path, stand_in.jpeg_of)
  assert fetching.run(tmp_path, server).images == 12
  fetching.check(tmp_path, stand_in.jpeg_of)


def test_images_of_one_position_may_be_the_same(tmp_path):
  # One object that the survey catalogued seven times.
  frame = FRAME.sort_values("objid", ignore_index=True)
  frame.loc[:6, "ra"] = frame.ra[0] + np.arange(7) * 1e-6
  frame.loc[:6, "dec"] = frame.dec[0]
  with stand_in.StandIn(frame, stand_in.jpeg_of) as server:
    send_placeholders(server, OBJIDS[:7])
    assert fetching.run(tmp_path, server).images == 12


def test_killed_run_leaves_no_placeholders(tmp_path, server):
  fetching.run(tmp_path, server)
  folder = staging.Staging(tmp_path)
  data = stand_in.jpeg_of(0)
  with folder.open_manifest() as append:
    for objid in OBJIDS[:7]:
      entry = folder.read_manifest()[objid]
      digest = hashlib.sha256(data).hexdigest()
      append(dataclasses.replace(entry, sha256=digest))
      folder.write_image(objid, data)
  assert fetching.run(tmp_path, server).lost == {"same_image": 7}
  assert fetching.run(tmp_path, server).images == 12
  fetching.check(tmp_path, stand_in.jpeg_of)
