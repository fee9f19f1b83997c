import os
import shutil
import socket

import numpy as np
import pytest
import tensorflow_datasets as tfds
import yarl

from tests.tfds_sdss import fake_layout
from tests.tfds_sdss.fetch import stand_in
from tests.tfds_sdss.fetch import stand_in_connections as connections
from tests.tfds_sdss.fetch.stand_in_http import Response
from tfds_sdss import build
from tfds_sdss import catalog
from tfds_sdss.errors import DataError
from tfds_sdss.sdss_metallicity import demo500
from tfds_sdss.sdss_metallicity import sdss_metallicity_dataset_builder

OBJID = fake_layout.OBJID
RAW = {"image": tfds.decode.SkipDecoding()}


def build_demo(tmp_path, layout):
  return build.build("demo500", str(tmp_path / "data"), str(layout))


def is_built(tmp_path):
  return any((tmp_path / "data").glob("sdss_metallicity/demo500/2*"))


def ids(source):
  return {example["objid"] for example in source}


def modified(folder):
  return {path: os.stat(path).st_mtime_ns for path in folder.iterdir()}


def test_demo500_round_trip(tmp_path, layout):
  builder = build_demo(tmp_path, layout)
  sources = builder.as_data_source(decoders=RAW)
  train, validation = ids(sources["train"]), ids(sources["validation"])
  assert train
  assert validation
  assert not train & validation
  for name, found in (
    ("train", [*sources["train"], *sources["validation"]]),
    ("test", sources["test"]),
  ):
    frame = catalog.read_catalog(layout / "catalogs" / f"{name}.csv")
    labels = frame.set_index("objid").oh_p50
    assert ids(found) == set(labels.index)
    for example in found:
      objid = example["objid"]
      assert example["oh_p50"] == np.float32(labels[objid])
      file = layout / name / f"{objid}.jpg"
      assert example["image"] == file.read_bytes()
  decoded = builder.as_data_source("test")[0]["image"]
  assert decoded.shape == (128, 128, 3)
  assert decoded.dtype == np.uint8
  assert builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD


def test_split_of_a_galaxy_does_not_depend_on_the_others(
  tmp_path, layout, caplog
):
  full = build_demo(tmp_path, layout).as_data_source(decoders=RAW)
  path = layout / "catalogs" / "train.csv"
  path.write_text("".join(path.read_text().splitlines(keepends=True)[:9]))
  part = build_demo(tmp_path / "part", layout).as_data_source(decoders=RAW)
  assert "8 galaxies, of which upstream has 8 in train and 0" in caplog.text
  kept = set(range(OBJID, OBJID + 8))
  for split in ("train", "validation"):
    assert ids(part[split]) == ids(full[split]) & kept


def test_catalogue_with_another_division_is_logged(tmp_path, layout, caplog):
  objid = OBJID + 12  # in the test set
  catalogs = layout / "catalogs"
  text = (catalogs / "test.csv").read_text().splitlines(keepends=True)
  (catalogs / "test.csv").write_text("".join([text[0], *text[2:]]))
  with (catalogs / "train.csv").open("a") as file:
    file.write(text[1])
  (layout / "test" / f"{objid}.jpg").rename(layout / "train" / f"{objid}.jpg")
  build_demo(tmp_path, layout)
  assert "13 galaxies, of which upstream has 12 in train and 1" in caplog.text


def test_building_again_changes_nothing(tmp_path, layout):
  builder = build_demo(tmp_path, layout)
  before = modified(builder.data_path)
  assert build_demo(tmp_path, layout).info.splits["test"].num_examples == 4
  after = modified(builder.data_path)
  assert before == after


def test_image_with_another_hash_is_refused(tmp_path, layout):
  path = layout / "train" / f"{OBJID}.jpg"
  expected = demo500.read_hashes()[path.name].sha256
  path.write_bytes(fake_layout.jpeg(0))
  with pytest.raises(
    DataError, match=f"{OBJID}.jpg: expected SHA-256 {expected}, found"
  ):
    build_demo(tmp_path, layout)
  assert not is_built(tmp_path)


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".JPEG"])
def test_images_with_another_suffix(tmp_path, layout, suffix):
  before = build_demo(tmp_path, layout)
  for path in layout.glob("*/*.jpg"):
    path.rename(path.with_suffix(suffix))
  after = build_demo(tmp_path / "renamed", layout)
  for folder in (before.data_path, after.data_path):
    assert list(folder.glob("*array_record*"))
  for path in before.data_path.glob("*array_record*"):
    assert path.read_bytes() == (after.data_path / path.name).read_bytes()


@pytest.mark.parametrize("kind", ["directory", "FIFO", "loop", "too large"])
def test_catalogue_that_is_no_file(tmp_path, layout, kind):
  path = layout / "catalogs" / "train.csv"
  path.unlink()
  if kind == "directory":
    path.mkdir()
  elif kind == "FIFO":
    os.mkfifo(path)
  elif kind == "loop":
    path.symlink_to(path)
  else:
    path.write_bytes(b" " * (2 << 20))
  with pytest.raises(DataError, match=r"catalogs/train\.csv"):
    build_demo(tmp_path, layout)


def test_missing_images_are_named(tmp_path, layout):
  (layout / "train" / f"{OBJID + 3}.jpg").unlink()
  (layout / "train" / f"{OBJID + 5}.jpg").unlink()
  with pytest.raises(DataError, match=f"objID {OBJID + 3}, {OBJID + 5}. Fetch"):
    build_demo(tmp_path, layout)


def test_missing_catalogue_is_named(tmp_path, layout):
  (layout / "catalogs" / "test.csv").unlink()
  with pytest.raises(DataError, match=r"file catalogs/test\.csv"):
    build_demo(tmp_path, layout)


def test_galaxy_in_both_catalogues_is_refused(tmp_path, layout):
  with (layout / "catalogs" / "test.csv").open("a") as file:
    file.write(f"{OBJID},8.9\n")
  with pytest.raises(DataError, match=f"objID {OBJID} is in both"):
    build_demo(tmp_path, layout)


def test_invalid_image_is_never_stored(tmp_path, layout):
  path = layout / "train" / f"{OBJID}.jpg"
  path.write_bytes(b"<html>Service unavailable</html>")
  fake_layout.write_hashes(layout, demo500.HASHES)
  with pytest.raises(DataError, match=f"objID {OBJID}.*HTML"):
    build_demo(tmp_path, layout)
  assert not is_built(tmp_path)


def test_upstream_list_has_500_galaxies():
  listed = demo500.read_hashes()
  folders = [upstream.folder for upstream in listed.values()]
  counts = [folders.count(name) for name in ("train", "test", "catalogs")]
  assert counts == [400, 100, 2]
  galaxies = [name for name in listed if name.endswith(".jpg")]
  assert all(catalog.parse_objid(name[:-4]) for name in galaxies)
  assert len({upstream.sha256 for upstream in listed.values()}) == 502


@pytest.fixture
def server(layout, monkeypatch):
  """Serves the archive of `layout` in place of GitHub."""
  archive = fake_layout.archive(layout)
  frame = stand_in.frame_of(1)
  with stand_in.StandIn(frame, stand_in.jpeg_of, archive=archive) as running:
    url = running.base_url + yarl.URL(demo500.ARCHIVE_URL).path
    monkeypatch.setattr(demo500, "ARCHIVE_URL", url)
    yield running


def downloads(server):
  return sum(request.path == stand_in.CODELOAD for request in server.requests)


def test_download_is_cached(tmp_path, server, layout):
  builder = build.build("demo500", str(tmp_path / "data"))
  assert builder.info.splits["test"].num_examples == 4
  assert builder.info.download_size == len(fake_layout.archive(layout))
  shutil.rmtree(builder.data_path)
  build.build("demo500", str(tmp_path / "data"))
  assert downloads(server) == 1


def test_failed_download_names_the_alternative(tmp_path, server):
  server.file_faults[stand_in.CODELOAD] = [
    lambda request, response: Response(404)
  ]
  with pytest.raises(
    sdss_metallicity_dataset_builder.DownloadFailedError,
    match=r"HTTP code: 404.*--staging=FOLDER",
  ):
    build.build("demo500", str(tmp_path / "data"))
  assert not is_built(tmp_path)


@pytest.mark.parametrize(
  ("damage", "found"),
  [
    (lambda data, root: data[: len(data) // 2], "not a zip file"),
    (lambda data, root: b"<html>Rate limit</html>", "not a zip file"),
    (lambda data, root: fake_layout.archive(root / "train", "x"), "train.csv"),
    (
      lambda data, root: data.replace(b",8.500000", b",8.600000"),
      "Bad CRC-32",
    ),
  ],
)
def test_bad_archive_is_not_kept(tmp_path, server, layout, damage, found):
  def fault(request, response):
    damaged = damage(response.body, layout)
    assert damaged != response.body
    return response._replace(body=damaged)

  server.file_faults[stand_in.CODELOAD] = [fault]
  with pytest.raises(
    sdss_metallicity_dataset_builder.DownloadFailedError, match=found
  ):
    build.build("demo500", str(tmp_path / "data"))
  build.build("demo500", str(tmp_path / "data"))
  assert downloads(server) == 2


def test_archive_must_be_complete(tmp_path, server, layout):
  path = layout / "catalogs" / "train.csv"
  path.write_text("".join(path.read_text().splitlines(keepends=True)[:9]))
  part = fake_layout.archive(layout)
  server.file_faults[stand_in.CODELOAD] = [
    lambda request, response: response._replace(body=part)
  ]
  with pytest.raises(
    sdss_metallicity_dataset_builder.DownloadFailedError, match=r"train\.csv"
  ):
    build.build("demo500", str(tmp_path / "data"))


def test_absent_network_is_noticed_at_once(tmp_path, server, monkeypatch):
  for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
    monkeypatch.delenv(name, raising=False)
  url = connections.closed_port() + yarl.URL(demo500.ARCHIVE_URL).path
  with monkeypatch.context() as patch:
    patch.setattr(demo500, "ARCHIVE_URL", url)
    with pytest.raises(
      sdss_metallicity_dataset_builder.DownloadFailedError,
      match=r"no connection to 127\.0\.0\.1.*--staging=FOLDER",
    ):
      build.build("demo500", str(tmp_path / "data"))
  builder = build.build("demo500", str(tmp_path / "data"))
  shutil.rmtree(builder.data_path)
  # The download in TFDS's cache needs no network.
  monkeypatch.setattr(socket, "create_connection", None)
  build.build("demo500", str(tmp_path / "data"))
