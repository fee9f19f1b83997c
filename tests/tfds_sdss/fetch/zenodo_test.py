"""Zenodo's record and GitHub's archive of convnet-demo."""

import gzip
import io
import tarfile

import numpy as np
import pytest

from tests.tfds_sdss import fake_staging
from tests.tfds_sdss.fetch import fetching
from tests.tfds_sdss.fetch import stand_in
from tests.tfds_sdss.fetch import stand_in_connections as connections
from tests.tfds_sdss.fetch import zenodo_files
from tfds_sdss import columns
from tfds_sdss import staging
from tfds_sdss.errors import DataError
from tfds_sdss.fetch import http_responses
from tfds_sdss.fetch import zenodo
from tfds_sdss.fetch import zenodo_archive

FRAME = stand_in.frame_of(10)
OBJIDS = sorted(FRAME.objid.tolist())
ARCHIVE = f"{stand_in.RECORD}/files/{zenodo.ARCHIVE}/content"


def jpeg(objid: int) -> bytes:
  return stand_in.jpeg_of(objid, 160)


def serve(archive: bytes | None = None, csv: bytes | None = None):
  files = {
    zenodo.ARCHIVE: archive or zenodo_files.archive(OBJIDS),
    zenodo.CATALOG: csv or zenodo_files.catalog(FRAME),
  }
  return stand_in.StandIn(FRAME, jpeg, zenodo_files=files)


def run(tmp_path, server, **changes):
  return fetching.run(tmp_path, server, source="zenodo", **changes)


def downloads(server) -> int:
  return sum(request.path == ARCHIVE for request in server.requests)


def test_fetch_of_the_whole_record(tmp_path):
  with serve() as server:
    assert run(tmp_path, server).images == 10
    folder = fetching.check(tmp_path, jpeg)
    frame = folder.read_catalog()
    assert frame.objid.tolist() == OBJIDS
    assert set(frame.columns) == {
      *("objid", "oh_p50", "lgm_tot_p50", "h_alpha_flux", "sky_group")
    }
    report = folder.read_source()["report"]
    assert report["unknown_columns"] == ["comment"]
    assert set(report["absent_columns"]) == {*columns.ZENODO} - {
      *zenodo_files.FEW
    }
    expected = FRAME.set_index("objid").oh_p50.loc[OBJIDS]
    np.testing.assert_allclose(frame.oh_p50, expected, rtol=1e-6)
    assert folder.read_source()["image_size"] == 160
    # The archive may be deleted after its images are unpacked.
    for path in (tmp_path / "downloads").iterdir():
      path.unlink()
    assert run(tmp_path, server).images == 10
    assert downloads(server) == 1


@pytest.mark.parametrize("case", [str, str.lower, str.upper])
def test_every_column_is_taken(tmp_path, case):
  frame = whole_frame()
  csv = zenodo_files.catalog(frame, columns.ZENODO)
  head, _, rest = csv.partition(b"\n")
  with serve(csv=case(head.decode()).encode() + b"\n" + rest) as server:
    assert run(tmp_path, server).images == 10
  folder = fetching.check(tmp_path, jpeg)
  found = folder.read_catalog()
  assert set(found) == {*columns.ZENODO, "sky_group"}
  expected = frame.set_index("objid").loc[OBJIDS]
  for name in columns.ZENODO[1:]:
    assert found[name].dtype == columns.BY_NAME[name].dtype
    np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)
  assert found.specobjid.tolist() == expected.specobjid.tolist()
  report = folder.read_source()["report"]
  assert report["absent_columns"] == []
  assert report["missing"] == {}


def whole_frame():
  names = ("objid", "dr7objid", "reliable")
  more = fake_staging.table(len(FRAME), names)[["dr7objid", "reliable"]]
  return FRAME.join(more)


def test_catalogue_of_other_rules_is_read_again(tmp_path):
  with serve() as server:
    run(tmp_path, server)
  path = tmp_path / "source.json"
  path.write_text(path.read_text().replace('"rules": 2', '"rules": 1'))
  # The catalogue is downloaded once.
  catalogue = tmp_path / "downloads" / zenodo.CATALOG
  catalogue.write_bytes(zenodo_files.catalog(whole_frame(), columns.ZENODO))
  with serve(csv=catalogue.read_bytes()) as server:
    assert run(tmp_path, server).images == 10
  assert "dr7objid" in staging.Staging(tmp_path).read_catalog()


def test_rows_without_a_label_are_no_loss(tmp_path):
  frame = FRAME.copy()
  frame.loc[:3, "oh_p50"] = np.nan
  with serve(csv=zenodo_files.catalog(frame)) as server:
    outcome = run(tmp_path, server)
  assert (outcome.galaxies, outcome.dropped) == (6, {"no_oh_p50": 4})
  assert outcome.is_success


def test_only_regular_images_of_the_catalogue_are_unpacked(tmp_path):
  link = tarfile.TarInfo(f"images-sdss/{OBJIDS[0]}.jpg")
  link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
  members = zenodo_files.images(OBJIDS[1:9])
  members |= {f"../../{OBJIDS[9]}.jpg": jpeg(OBJIDS[9])}
  members |= {"/absolute.jpg": b"x", "../evil.jpg": b"x", "README": b"x"}
  members |= {"images-sdss/5.jpg": jpeg(5)}
  with serve(zenodo_files.tar(members, [link])) as server:
    outcome = run(tmp_path / "staging", server)
  assert outcome.lost == {"not_in_archive": 1}
  fetching.check(tmp_path / "staging", jpeg)
  written = {path.name for path in tmp_path.rglob("*.jpg")}
  assert written == {f"{objid}.jpg" for objid in OBJIDS[1:]}


def test_bad_images_are_recorded(tmp_path):
  members = zenodo_files.images(OBJIDS)
  members[f"images-sdss/{OBJIDS[2]}.jpg"] = stand_in.jpeg_of(OBJIDS[2], 128)
  members[f"images-sdss/{OBJIDS[3]}.jpg"] = b""
  with serve(zenodo_files.tar(members)) as server:
    outcome = run(tmp_path, server)
  assert outcome.lost == {"bad_image": 2}
  fetching.check(tmp_path, jpeg)


def test_same_image_of_many_galaxies_is_refused(tmp_path):
  members = zenodo_files.images(OBJIDS)
  same = {f"images-sdss/{objid}.jpg": jpeg(1) for objid in OBJIDS[:6]}
  with serve(zenodo_files.tar(members | same)) as server:
    for _ in range(2):
      assert run(tmp_path, server).lost == {"same_image": 6}
      fetching.check(tmp_path, jpeg)
    assert downloads(server) == 1


def test_damaged_image_is_unpacked_again(tmp_path):
  with serve() as server:
    run(tmp_path, server)
    staging.Staging(tmp_path).image_path(OBJIDS[1]).write_bytes(b"")
    run(tmp_path, server)
    fetching.check(tmp_path, jpeg)
    assert downloads(server) == 1
    assert set(fetching.lines(tmp_path).values()) == {1}


def test_download_resumes(tmp_path):
  with serve() as server:
    server.file_faults[ARCHIVE] = [connections.short_body]
    assert run(tmp_path, server).images == 10
    ranges = [
      request.headers.get("Range")
      for request in server.requests
      if request.path == ARCHIVE
    ]
    first, second = ranges
    assert first is None
    assert int(second.removeprefix("bytes=").removesuffix("-")) > 0


def test_slow_download_fails_and_resumes(tmp_path):
  with serve() as server:
    server.file_faults[ARCHIVE] = [connections.stall] * 6
    with pytest.raises(http_responses.FetchError, match="to resume"):
      run(tmp_path, server, limits=fetching.IMPATIENT)
    server.file_faults.clear()
    assert run(tmp_path, server).images == 10


@pytest.mark.parametrize("succeeds", [True, False])
def test_download_with_another_digest_is_repeated(tmp_path, succeeds):
  def wrong(request, response):
    body = bytearray(response.body)
    body[100] ^= 1
    return response._replace(body=bytes(body))

  with serve() as server:
    server.file_faults[ARCHIVE] = [wrong] * (1 if succeeds else 2)
    if succeeds:
      assert run(tmp_path, server).images == 10
    else:
      with pytest.raises(http_responses.FetchError, match="expected MD5"):
        run(tmp_path, server)
      assert not (tmp_path / "downloads" / zenodo.ARCHIVE).exists()


def bomb(kind: str) -> bytes:
  """Returns an archive that unpacks to far more than an image."""
  members = zenodo_files.images(OBJIDS[:1])
  if kind == "zeros":
    members["x"] = bytes(200_000)
  elif kind == "name":
    members["x" * 200_000] = b""
  file = io.BytesIO()
  packed = zenodo_files.tar(members)
  if kind == "negative":
    packed = gzip.decompress(packed)
    header = tarfile.TarInfo("x")
    header.size = -512
    packed = packed[:512] + header.tobuf(tarfile.GNU_FORMAT) + packed[512:]
    file.write(gzip.compress(packed))
    return file.getvalue()
  return packed


@pytest.mark.parametrize("kind", ["zeros", "name", "negative"])
def test_decompression_bomb_is_an_error(tmp_path, monkeypatch, kind):
  monkeypatch.setattr(zenodo_archive, "_MIN_UNPACKED", 100_000)
  with (
    serve(bomb(kind)) as server,
    pytest.raises(http_responses.FetchError, match="is damaged"),
  ):
    run(tmp_path, server)


@pytest.mark.parametrize("length", [3, 20, 2000])
def test_damaged_archive_is_an_error(tmp_path, length):
  data = zenodo_files.archive(OBJIDS)
  with (
    serve(data[:length]) as server,
    pytest.raises(http_responses.FetchError, match="is damaged"),
  ):
    run(tmp_path, server)


@pytest.mark.parametrize(
  ("body", "message"),
  [
    (b"<html>Rate limited</html>", "expected Zenodo's record as JSON"),
    (b'{"files": []}', "expected the files"),
    (b'{"files": [{"key": "x", "checksum": "sha1:0"}]}', "expected an MD5"),
    (b"[" * 100_000, "expected Zenodo's record as JSON"),
    (b"\xff", "expected Zenodo's record as JSON"),
  ],
)
def test_invalid_record_is_an_error(tmp_path, body, message):
  def replace(request, response):
    return response._replace(body=body)

  with serve() as server:
    server.file_faults[stand_in.RECORD] = [replace] * 3
    with pytest.raises(http_responses.FetchError, match=message):
      run(tmp_path, server)


def test_file_on_another_host_is_refused(tmp_path):
  def move(request, response):
    body = response.body.replace(b"http://127.0.0.1", b"http://10.0.0.1")
    return response._replace(body=body)

  with serve() as server:
    server.file_faults[stand_in.RECORD] = [move]
    with pytest.raises(http_responses.FetchError, match=r"10\.0\.0\.1"):
      run(tmp_path, server)


def test_catalogue_with_float_ids_is_rejected(tmp_path):
  csv = zenodo_files.catalog(FRAME.assign(objid=FRAME.objid.astype(float)))
  with (
    serve(csv=csv) as server,
    pytest.raises(DataError, match="not an integer"),
  ):
    run(tmp_path, server)


def test_larger_limit_reuses_the_archive(tmp_path):
  with serve() as server:
    assert run(tmp_path, server, limit=4).galaxies == 4
    assert run(tmp_path, server).galaxies == 10
    fetching.check(tmp_path, jpeg)
    assert downloads(server) == 1
