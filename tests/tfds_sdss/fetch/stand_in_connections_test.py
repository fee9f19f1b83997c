"""The stand-in server's connections, and the galaxies it serves."""

import email.utils
import http.client
import io
import json
import socket
import ssl
import threading
import time
import urllib.parse

import numpy as np
import pandas as pd
import pytest

from tests.tfds_sdss.fetch import stand_in
from tests.tfds_sdss.fetch import stand_in_faults
from tfds_sdss import catalog
from tfds_sdss import columns
from tfds_sdss import images

FRAME = stand_in.frame_of(20)
RECORD = stand_in.RECORD


@pytest.fixture
def server():
  with stand_in.StandIn(
    FRAME, stand_in.jpeg_of, archive=b"PK", zenodo_files={"a.csv": b"0123"}
  ) as server:
    yield server


def connect(base_url, timeout=5.0):
  url = urllib.parse.urlsplit(base_url)
  if url.scheme == "https":
    return http.client.HTTPSConnection("127.0.0.1", url.port, timeout=timeout)
  return http.client.HTTPConnection("127.0.0.1", url.port, timeout=timeout)


def ask(server, path=RECORD, timeout=5.0):
  """Returns the response and its body."""
  connection = connect(server.base_url, timeout)
  try:
    connection.request("GET", path, headers={"user-agent": "test"})
    response = connection.getresponse()
    return response, response.read()
  finally:
    connection.close()


def faulty(server, *faults):
  server.file_faults[RECORD] = list(faults)
  return ask(server)


def test_one_connection_serves_many_requests(server):
  connection = connect(server.base_url)
  start = time.monotonic()
  for _ in range(20):
    connection.request("GET", RECORD)
    json.loads(connection.getresponse().read())
  connection.close()
  # An answer that waits for the client's delayed ACK takes 0.04 s.
  assert time.monotonic() - start < 0.6
  times = [request.time for request in server.requests]
  assert len(times) == 20
  assert times == sorted(times)
  assert server.max_active == 1


def test_requests_in_flight(server):
  server.delay = 0.2
  threads = [threading.Thread(target=ask, args=(server,)) for _ in range(3)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert server.max_active == 3
  assert server.requests[0].method == "GET"
  assert server.requests[0].headers["User-Agent"] == "test"


@pytest.mark.parametrize(
  ("make", "status"),
  [(stand_in_faults.too_many, 429), (stand_in_faults.unavailable, 503)],
)
def test_retry_after(server, make, status):
  response, _ = faulty(server, make())
  assert response.status == status
  assert response.getheader("Retry-After") is None
  assert faulty(server, make(3))[0].getheader("Retry-After") == "3"
  date = faulty(server, make(3, as_date=True))[0].getheader("Retry-After")
  wait = email.utils.parsedate_to_datetime(date).timestamp() - time.time()
  assert 2.5 < wait <= 4


def test_reset_and_refused(server):
  with pytest.raises(ConnectionResetError):
    faulty(server, stand_in_faults.reset)
  connection = connect(stand_in_faults.closed_port())
  with pytest.raises(ConnectionRefusedError):
    connection.request("GET", "/")
  connection.close()


def test_stall_ends_with_the_client(server):
  server.file_faults[RECORD] = [
    stand_in_faults.stall(60),
    stand_in_faults.stall(0.1),
  ]
  with pytest.raises(TimeoutError):
    ask(server, timeout=0.05)
  start = time.monotonic()
  assert ask(server)[0].status == 200
  assert time.monotonic() - start >= 0.1
  # The server noticed meanwhile that the first client had gone.
  server.max_active = 0
  ask(server)
  assert server.max_active == 1


@pytest.mark.parametrize(
  "fault", [stand_in_faults.stall(60), stand_in_faults.drip_headers(), None]
)
def test_stops_at_once(fault):
  with stand_in.StandIn(FRAME, stand_in.jpeg_of) as server:
    server.file_faults[RECORD] = [fault]
    idle, busy = connect(server.base_url), connect(server.base_url)
    idle.connect()
    busy.request("GET", RECORD)
    while not server.requests:
      time.sleep(0.001)
    start = time.monotonic()
  assert time.monotonic() - start < 0.8
  idle.close()
  busy.close()
  with pytest.raises(ConnectionRefusedError):
    ask(server)


@pytest.mark.parametrize(
  ("make", "fewest"),
  [(stand_in_faults.drip, 2), (stand_in_faults.drip_headers, 60)],
)
def test_drip(server, make, fewest):
  server.file_faults["/codeload/jwuphysics/convnet-demo/zip/3"] = [make(0.001)]
  start = time.monotonic()
  path = "/codeload/jwuphysics/convnet-demo/zip/3"
  assert ask(server, path)[1] == b"PK"
  assert time.monotonic() - start >= 0.001 * fewest


def test_redirections(server):
  response, _ = faulty(server, stand_in_faults.redirect(308))
  assert response.status == 308
  location = response.getheader("Location")
  assert location == f"{server.base_url}/moved{RECORD}"
  assert json.loads(ask(server, f"/moved{RECORD}?a=1")[1])["files"]
  response, _ = faulty(server, stand_in_faults.redirect(301, "https://else"))
  assert response.getheader("Location") == f"https://else{RECORD}"
  response, _ = faulty(server, stand_in_faults.redirect_to_dead_https)
  assert response.getheader("Location").startswith("https://127.0.0.1:")
  path = RECORD
  server.file_faults[RECORD] = [stand_in_faults.redirect_loop]
  for _ in range(4):
    response, _ = ask(server, path)
    assert response.status == 302
    path = urllib.parse.urlsplit(response.getheader("Location")).path
  assert path == f"/loop{RECORD}"


def test_self_signed_certificate():
  with stand_in_faults.self_signed_tls() as base_url:
    connection = connect(base_url)
    with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
      connection.request("GET", "/")
    connection.close()
    # A client that checks nothing gets an answer.
    unchecked = ssl._create_unverified_context()
    port = urllib.parse.urlsplit(base_url).port
    connection = http.client.HTTPSConnection(
      "127.0.0.1", port, context=unchecked
    )
    connection.request("GET", "/")
    assert connection.getresponse().status == 404
    connection.close()
    # One that says nothing must not keep it from stopping.
    silent = socket.create_connection(("127.0.0.1", port))
  silent.close()


def test_mistake_in_a_fault_is_raised():
  server = stand_in.StandIn(FRAME, stand_in.jpeg_of)
  server.__enter__()
  server.file_faults[RECORD] = [lambda handler: 1 / 0]
  with pytest.raises(http.client.RemoteDisconnected):
    ask(server)
  with pytest.raises(ZeroDivisionError):
    server.__exit__(None)


def test_mixes():
  assert len(stand_in_faults.permanent(6)) == 6
  assert len(set(stand_in_faults.transient(5))) == 5


def test_galaxies_pass_the_cuts_of_the_paper():
  frame = stand_in.frame_of(400, seed=1)
  pd.testing.assert_frame_equal(frame, stand_in.frame_of(400, seed=1))
  assert [*frame.columns] == [column.name for column in columns.COLUMNS]
  assert [*frame.dtypes] == [column.dtype for column in columns.COLUMNS]
  assert frame.objid.is_unique
  assert frame.specobjid.is_unique
  assert not set(frame.objid) & set(stand_in.frame_of(400).objid)
  assert frame.objid.between(1237e15, 1238e15).all()
  assert (frame.objid % 1000).nunique() > 200
  assert frame.specobjid.between(2**53, 2**63 - 1).all()
  assert frame.petroMag_r.between(10, 18).all()
  assert (frame.modelMag_u - frame.modelMag_r).between(0, 6).all()
  for band in "ugriz":
    assert frame[f"modelMag_{band}"].between(10, 25).all()
  assert frame.zErr.between(1e-6, 0.01).all()
  assert (frame.z > 0.02).all()
  assert frame.petroR90_r.between(3, 15).all()
  assert frame.oh_p50.between(*catalog.LABEL_RANGE).all()
  assert abs(frame.oh_p50.mean() - 8.9) < 0.03
  ra, dec = np.radians([frame.ra, frame.dec])
  unit = np.stack(
    [np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)]
  )
  separation = np.linalg.norm(unit[:, :, None] - unit[:, None, :], axis=0)
  np.fill_diagonal(separation, 1.0)
  assert np.degrees(separation.min()) * 3600 > 10


def test_awkward_rows():
  frame, names = stand_in_faults.awkward_rows(FRAME)
  assert len(set(names.values())) == 11
  assert len(frame) == len(FRAME) + 2
  assert [*frame.dtypes] == [*FRAME.dtypes]

  def rows(name):
    return frame[frame.objid == names[name]]

  assert rows("two_spectra").specobjid.is_unique
  assert rows("two_spectra").zErr.is_monotonic_increasing
  assert len(rows("repeated").drop_duplicates()) == 1
  assert len(rows("repeated")) == 2
  assert rows("no_veldisp").velDisp.isna().all()
  assert [
    float(rows(f"r90_{name}").petroR90_r.iloc[0])
    for name in ("missing", "zero", "huge")
  ] == [-9999, 0, 5000]
  apart = rows("pair_second").dec.iloc[0] - rows("pair_first").dec.iloc[0]
  assert apart * 3600 == pytest.approx(1, abs=1e-4)
  text = stand_in_faults.mangled_csv(frame)
  ids = pd.read_csv(io.StringIO(text), dtype=str)[["objID", "specObjID"]]
  assert ids.map(lambda x: x.endswith("E+18") or x.endswith("E+17")).all(
    axis=None
  )


def test_images_are_accepted():
  for size in (128, 160):
    body = stand_in.jpeg_of(int(FRAME.objid[0]), size)
    pixels = images.decode(0, body, size)
    assert pixels.min() > 0
