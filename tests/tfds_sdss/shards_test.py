"""Writing one shard, and its failures."""

import hashlib
import types

import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import file_adapters

from tests.tfds_sdss import fake_layout
from tfds_sdss import columns
from tfds_sdss import images
from tfds_sdss import records
from tfds_sdss import sample_info
from tfds_sdss import shards
from tfds_sdss.errors import LabelError

OBJID = fake_layout.OBJID
INFO = sample_info.Info("oh_p50", (columns.BY_NAME["oh_p50"],), 128)
LAYOUT = {"image": "bytes_list", "objid": "int64_list", "oh_p50": "float_list"}


def examples():
  return [fake_layout.example(OBJID + i, 8.5 + i / 10) for i in range(5)]


def write(tmp_path, rows):
  """Writes a shard and returns its bytes."""
  path = tmp_path / "shard"
  shards.write_shard(shards.Task(str(path), "array_record", LAYOUT, INFO, rows))
  return path.read_bytes()


def read(path):
  split = types.SimpleNamespace(filepaths=[path], shard_lengths=[5])
  info = types.SimpleNamespace(
    file_format=tfds.core.FileFormat.ARRAY_RECORD, splits={"train": split}
  )
  (batch,) = records.read(types.SimpleNamespace(info=info), "train")
  assert not batch.faults
  return [records.decode(LAYOUT, record) for record in batch.records]


def test_examples_are_written_in_order(tmp_path):
  write(tmp_path, examples())
  (path,) = tmp_path.iterdir()
  found = read(path)
  assert [e["objid"] for e in found] == [OBJID + i for i in range(5)]
  assert [e["image"] for e in found] == [e["image"] for e in examples()]


def test_same_examples_give_the_same_bytes(tmp_path):
  first = write(tmp_path, examples())
  assert write(tmp_path, examples()) == first
  assert write(tmp_path, examples()[::-1]) != first


@pytest.mark.parametrize(
  ("change", "error"),
  [
    ({"oh_p50": -9999.0}, LabelError),
    ({"oh_p50": float("nan")}, LabelError),
    ({"image": b"<html>"}, images.ImageError),
    ({"image": fake_layout.jpeg(1, size=160)}, images.ImageError),
  ],
)
def test_invalid_examples_are_refused(tmp_path, change, error):
  rows = examples()
  rows[3] |= change
  with pytest.raises(error, match=str(OBJID + 3)):
    write(tmp_path, rows)
  assert not (tmp_path / "shard").exists()


def test_full_disk_is_an_oserror(tmp_path, monkeypatch):
  def write_examples(path, iterator):
    raise RuntimeError("write() failed: No space left on device")

  monkeypatch.setattr(
    file_adapters.ArrayRecordFileAdapter, "write_examples", write_examples
  )
  with pytest.raises(
    OSError, match=r"cannot be written: .*No space.*Free disk"
  ):
    write(tmp_path, examples())


def test_checksums_round_trip(tmp_path):
  paths = [tmp_path / name for name in "ba"]
  for path in paths:
    path.write_text(path.name)
  shards.write_checksums(paths)
  a, b = (hashlib.sha256(text).hexdigest() for text in (b"a", b"b"))
  assert shards.read_checksums(tmp_path) == {"a": a, "b": b}
  assert (tmp_path / "shards.sha256").read_text() == f"{a}  a\n{b}  b\n"
