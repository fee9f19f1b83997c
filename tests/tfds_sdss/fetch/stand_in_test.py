"""The stand-in server against the services' formats, by plain http.client."""

import hashlib
import http.client
import io
import json
import urllib.parse

import numpy as np
import pandas as pd
from PIL import Image
import pytest

from tests.tfds_sdss.fetch import stand_in
from tests.tfds_sdss.fetch import stand_in_faults
from tfds_sdss import columns

SQL = "/dr17/SkyServerWS/SearchTools/SqlSearch"
IMAGE = "/dr17/SkyServerWS/ImgCutout/getjpeg"
FROM = "from SpecObj S join Galaxy G on S.bestObjID=G.objID where S.z>0.02"
FILE = f"{stand_in.RECORD}/files/galaxies.csv/content"
FRAME = stand_in.frame_of(20)
OBJID = int(FRAME.objid[3])


@pytest.fixture
def server():
  with stand_in.StandIn(
    FRAME,
    stand_in.jpeg_of,
    archive=b"PK" + bytes(40_000),
    zenodo_files={"galaxies.csv": b"0123456789"},
    max_rows=100,
  ) as server:
    yield server


def connect(server, timeout=5.0):
  port = urllib.parse.urlsplit(server.base_url).port
  return http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)


def ask(server, path, headers=None, timeout=5.0, **query):
  """Returns the response and its body."""
  if query:
    path = f"{path}?{urllib.parse.urlencode(query)}"
  connection = connect(server, timeout)
  try:
    connection.request("GET", path, headers=headers or {})
    response = connection.getresponse()
    return response, response.read()
  finally:
    connection.close()


def sql(server, command, form="csv"):
  return ask(server, SQL, cmd=command, format=form)


def image(server, objid=OBJID, **query):
  row = server.frame[server.frame.objid == objid].iloc[0]
  query = {"ra": f"{row.ra:.6f}", "dec": f"{row.dec:.6f}", **query}
  return ask(server, IMAGE, **query)


def opened(body):
  return Image.open(io.BytesIO(body))


def select_all(after=0, top=100):
  renamed = {"objid": "objID", "specobjid": "specObjID"}
  items = ",".join(
    f"{column.table}.{renamed.get(column.name, column.name)}"
    for column in columns.COLUMNS
  )
  return (
    f"select top {top} {items} {FROM} and I.specObjID>{after} "
    "order by I.specObjID"
  )


def test_csv_has_every_digit_and_null_as_nothing(server):
  server.frame, names = stand_in_faults.awkward_rows(FRAME)
  response, body = sql(server, select_all())
  assert response.status == 200
  assert response.getheader("Content-Type") == "text/plain"
  assert response.getheader("Transfer-Encoding") == "chunked"
  assert response.getheader("Content-Length") is None
  head, text = body.decode().split("\n", 1)
  assert head == "#Table1"
  assert text.startswith("objID,specObjID,ra,dec,z,zErr,")
  assert "\r" not in text
  dtypes = {column.name.lower(): column.dtype for column in columns.COLUMNS}
  found = pd.read_csv(io.StringIO(text)).rename(columns=str.lower)
  expected = server.frame.sort_values("specobjid", kind="stable")
  expected = expected.reset_index(drop=True).rename(columns=str.lower)
  pd.testing.assert_frame_equal(found.astype(dtypes), expected)
  for name, part in (("small_zerr", ",1E-05,"), ("no_mass", ",-9999,")):
    (line,) = [x for x in text.splitlines() if str(names[name]) in x]
    assert part in line
  (line,) = [x for x in text.splitlines() if str(names["no_veldisp"]) in x]
  assert line.split(",")[6] == ""


def test_pages_and_count(server):
  ids = sorted(int(x) for x in FRAME.specobjid)
  _, body = sql(server, select_all(after=ids[4], top=3))
  assert [int(line.split(b",")[1]) for line in body.split()[2:]] == ids[5:8]
  _, body = sql(server, f"select count_big(*) as n {FROM}")
  assert body == b"#Table1\nn\n20\n"
  response, body = sql(server, select_all(after=ids[-1]))
  assert response.status == 200
  assert len(body.splitlines()) == 2
  server.silent_cap = 7
  assert len(sql(server, select_all())[1].splitlines()) == 2 + 7


@pytest.mark.parametrize(
  ("command", "status", "kind", "found"),
  [
    (f"select G.x {FROM}", 500, "application/json", "Invalid column name 'x'."),
    (f"select G.ra {FROM};", 500, "application/json", "'#'"),
    (
      f"select G.ra {FROM} order by G.ra;",
      500,
      "application/json",
      "Invalid column name 'ra#'.",
    ),
    (f"select G.ra {FROM} union select 1", 500, "application/json", "'#'"),
    (
      "update G",
      200,
      "text/plain",
      "#Table1\nerror_message\nerror: must be a select statement: update G\n",
    ),
    (
      f"select top 101 G.ra,G.dec {FROM}",
      200,
      "text/plain",
      '#Table1\nerror_message\n"error: limit is  top 100 select top 101 G.ra,',
    ),
    (f"select /* a\nb */ G.ra -- c\n{FROM}", 200, "text/plain", "#Table1\nra"),
    (f"select G.ra {FROM} and 1={'1' * 2100}", 404, "text/html", "<html>"),
  ],
)
def test_rules_of_sql(server, command, status, kind, found):
  response, body = sql(server, command)
  assert response.status == status
  assert response.getheader("Content-Type").startswith(kind)
  text = body.decode()
  assert found in (json.loads(text)["ErrorMessage"] if status == 500 else text)


def test_limit_without_top_and_other_forms(server):
  server.frame = stand_in.frame_of(101)
  assert len(sql(server, f"select G.ra {FROM}")[1].split()) == 2 + 100
  assert ask(server, SQL.lower(), format="csv")[0].status == 400
  response, body = sql(server, f"select G.objID as id {FROM}", "json")
  assert response.getheader("Content-Type") == "application/json"
  (table,) = json.loads(body)
  assert table["Rows"][0] == {"id": int(server.frame.objid[0])}


def test_cutout(server):
  response, body = image(server, scale=0.3, width=128, height=128, opt="")
  assert response.status == 200
  assert response.getheader("Content-Type") == "image/jpeg"
  assert int(response.getheader("Content-Length")) == len(body)
  assert body == stand_in.jpeg_of(OBJID)
  sizes = opened(image(server, width=32, height=5000)[1]).size
  assert sizes == (64, 2048)
  assert ask(server, IMAGE.lower(), ra="1h", dec=0)[0].status == 400
  response, body = ask(server, IMAGE, ra=10, dec=-80)
  assert response.status == 404
  assert response.reason == (
    "NOT FOUND. Requested (ra, dec) is outside the SDSS footprint."
  )
  assert opened(body).size == (128, 128)
  assert server.requests[0].path == IMAGE
  assert server.requests[0].query["opt"] == ""


def test_files(server):
  record = json.loads(ask(server, stand_in.RECORD)[1])
  (file,) = record["files"]
  assert file["checksum"] == f"md5:{hashlib.md5(b'0123456789').hexdigest()}"
  assert file["links"]["self"] == server.base_url + FILE
  assert ask(server, FILE)[1] == b"0123456789"
  response, body = ask(server, FILE, {"Range": "bytes=4-"})
  assert (response.status, body) == (206, b"456789")
  assert response.getheader("Content-Range") == "bytes 4-9/10"
  assert ask(server, FILE, {"Range": "bytes=10-"})[0].status == 416
  path = "/jwuphysics/convnet-demo/archive/3469bbc.zip"
  response, _ = ask(server, path)
  assert response.status == 302
  moved = urllib.parse.urlsplit(response.getheader("Location")).path
  assert ask(server, moved)[1] == b"PK" + bytes(40_000)
  assert ask(server, "/dr17/nothing")[0].status == 404
  server.file_faults[FILE] = [stand_in_faults.short_body, None]
  with pytest.raises(http.client.IncompleteRead) as caught:
    ask(server, FILE, {"Range": "bytes=4-"})
  assert caught.value.partial == b"456"
  assert ask(server, FILE)[0].status == 200


@pytest.mark.parametrize(
  ("fault", "status", "found"),
  [
    (stand_in_faults.bad_sql, 500, "Invalid column"),
    (stand_in_faults.database_timeout, 500, "Timeout Expired"),
    (stand_in_faults.not_select, 200, "\nerror_message\n"),
    (stand_in_faults.row_limit, 200, '\n"error: limit is  top 500000 select'),
    (stand_in_faults.throttled, 200, "Maximum 60 queries"),
    (stand_in_faults.html_error, 200, "<title>Skyserver Error"),
    (stand_in_faults.html_unavailable, 503, "No server is available"),
    (stand_in_faults.html_search_form, 200, "<form"),
    (stand_in_faults.mangled_ids, 200, "E+18,"),
    (stand_in_faults.too_many(), 429, "Slow"),
  ],
)
def test_faults_of_sql(server, fault, status, found):
  server.sql_faults = [fault, None]
  response, body = sql(server, select_all())
  assert response.status == status
  assert found in body.decode()
  assert sql(server, select_all())[1].startswith(b"#Table1\nobjID")


def test_cut_csv(server):
  whole = sql(server, select_all())[1]
  faults = stand_in_faults
  server.sql_faults = [faults.csv_dropped, faults.empty_result]
  with pytest.raises(http.client.IncompleteRead):
    sql(server, select_all())
  assert len(sql(server, select_all())[1].splitlines()) == 2
  for fault, rows, end in (
    (faults.csv_cut_mid_row, 11, False),
    (faults.csv_cut_at_row, 10, True),
    (faults.csv_cut_in_last_field, 20, False),
  ):
    server.sql_faults = [fault]
    body = sql(server, select_all())[1]
    assert whole.startswith(body)
    assert len(body.splitlines()) == 2 + rows
    assert body.endswith(b"\n") == end


@pytest.mark.parametrize(
  ("fault", "status", "low", "high"),
  [
    (stand_in_faults.outside_footprint, 404, 0.8, 0.99),
    (stand_in_faults.outside_footprint_200, 200, 0.8, 0.99),
    (stand_in_faults.server_error_jpeg, 500, 0.8, 0.99),
    (stand_in_faults.black, 200, 1.0, 1.0),
    (stand_in_faults.part_black(0.6), 200, 0.55, 0.65),
    (stand_in_faults.part_black(0.3), 200, 0.25, 0.35),
    (stand_in_faults.progressive, 200, 0.0, 0.01),
    (None, 200, 0.0, 0.01),
  ],
)
def test_black_tiles(server, fault, status, low, high):
  server.image_faults[OBJID] = [fault]
  response, body = image(server)
  assert (response.status, response.getheader("Content-Type")) == (
    status,
    "image/jpeg",
  )
  pixels = np.asarray(opened(body))
  assert pixels.shape == (128, 128, 3)
  assert low <= (pixels == 0).all(axis=-1).mean() <= high


def test_wrong_images(server):
  faults = stand_in_faults
  kinds = {
    faults.wrong_size(64): ("JPEG", "RGB", (64, 64)),
    faults.wrong_size(2048): ("JPEG", "RGB", (2048, 2048)),
    faults.grayscale: ("JPEG", "L", (128, 128)),
    faults.cmyk: ("JPEG", "CMYK", (128, 128)),
    faults.png: ("PNG", "RGB", (128, 128)),
  }
  server.image_faults[OBJID] = [*kinds]
  for expected in kinds.values():
    found = opened(image(server)[1])
    assert (found.format, found.mode, found.size) == expected
  whole = stand_in.jpeg_of(OBJID)
  bodies = {
    faults.no_end_marker: whole[:-2],
    faults.short_body_closed: whole[: len(whole) // 2],
    faults.no_cutouts: b"No cutouts enabled",
    faults.empty_body: b"",
  }
  server.image_faults[OBJID] = [*bodies, faults.html_page]
  assert [image(server)[1] for _ in bodies] == [*bodies.values()]
  assert image(server)[0].getheader("Content-Type") == "text/html"
  server.image_faults[OBJID] = [faults.short_body]
  with pytest.raises(http.client.IncompleteRead):
    image(server)
