"""One shard: what is written, and what stops it."""

import hashlib
import types

import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import file_adapters

from tests.tfds_sdss import fake_layout
from tfds_sdss import images
from tfds_sdss import records
from tfds_sdss import shards
from tfds_sdss.errors import LabelError

OBJID = fake_layout.OBJID
LAYOUT = {"image": "bytes_list", "objid": "int64_list", "oh_p50": "float_list"}


def examples(number=5):
  return [fake_layout.example(OBJID + i, 8.5 + i / 10) for i in range(number)]


def task(tmp_path, rows, size=128):
  path = str(tmp_path / "shard")
  return shards.Task(path, "array_record", LAYOUT, size, shards.InMemory(rows))


def read(path):
  split = types.SimpleNamespace(filepaths=[path], shard_lengths=[5])
  info = types.SimpleNamespace(
    file_format=tfds.core.FileFormat.ARRAY_RECORD, splits={"train": split}
  )
  (batch,) = records.read(types.SimpleNamespace(info=info), "train")
  assert not batch.faults
  return [records.decode(LAYOUT, record) for record in batch.records]


def test_writes_the_examples_in_their_order(tmp_path):
  written = shards.write_shard(task(tmp_path, examples()))
  (path,) = tmp_path.iterdir()
  data = path.read_bytes()
  assert written == (5, len(data), hashlib.sha256(data).hexdigest())
  found = read(path)
  assert [e["objid"] for e in found] == [OBJID + i for i in range(5)]
  assert [e["image"] for e in found] == [e["image"] for e in examples()]


def test_same_bytes_again(tmp_path):
  first = shards.write_shard(task(tmp_path, examples()))
  assert shards.write_shard(task(tmp_path, examples())) == first
  other = shards.write_shard(task(tmp_path, examples()[::-1]))
  assert other.sha256 != first.sha256


@pytest.mark.parametrize(
  ("change", "error"),
  [
    ({"oh_p50": -9999.0}, LabelError),
    ({"image": b"<html>"}, images.ImageError),
    ({"image": fake_layout.jpeg(1, size=160)}, images.ImageError),
  ],
)
def test_bad_examples_are_refused(tmp_path, change, error):
  rows = examples()
  rows[3] |= change
  with pytest.raises(error, match=str(OBJID + 3)):
    shards.write_shard(task(tmp_path, rows))
  assert not (tmp_path / "shard").exists()


def test_full_disk_is_an_error_of_the_system(tmp_path, monkeypatch):
  def write_examples(path, iterator):
    raise RuntimeError("write() failed: No space left on device")

  monkeypatch.setattr(
    file_adapters.ArrayRecordFileAdapter, "write_examples", write_examples
  )
  with pytest.raises(
    OSError, match=r"cannot be written: .*No space.*Make room"
  ):
    shards.write_shard(task(tmp_path, examples()))


def test_sources_in_memory():
  source = shards.InMemory(examples())
  part = source.part(1, 3)
  assert len(part) == 2
  assert [e["objid"] for e in part.examples()] == [OBJID + 1, OBJID + 2]


def test_digests_there_and_back(tmp_path):
  digests = {"b": "1" * 64, "a": "2" * 64}
  shards.write_checksums(tmp_path, digests)
  assert shards.read_checksums(tmp_path) == digests
  text = (tmp_path / "shards.sha256").read_text()
  assert text == f"{'2' * 64}  a\n{'1' * 64}  b\n"
