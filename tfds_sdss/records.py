"""Encodes and decodes examples in the format of TFDS, many times faster.

A record is a tf.train.Example, equal to the one that TFDS writes, so that stock
TFDS reads it. TFDS itself processes each scalar of each example separately,
which would take most of the time of a build or a check.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import dataclasses
import pathlib
from typing import Any

from array_record.python import array_record_module
import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from tfds_sdss.errors import DataError

# Records per read: 2 to 8 MB.
BATCH = 1000

# Name of the tf.train.Feature field that stores each feature.
Layout = Mapping[str, str]


class RecordError(DataError):
  """A record or a shard cannot be read."""


def layout(features: tfds.features.FeaturesDict) -> dict[str, str]:
  """Maps features to `bytes_list`, `int64_list` or `float_list`.

  Args:
    features: encoded images, texts, and integer or float scalars.

  Raises:
    TypeError: for a feature of another kind.
  """
  fields = {}
  for name, feature in features.items():
    if isinstance(feature, tfds.features.Image | tfds.features.Text):
      fields[name] = "bytes_list"
    elif feature.shape == () and np.issubdtype(feature.np_dtype, np.integer):
      fields[name] = "int64_list"
    elif feature.shape == () and np.issubdtype(feature.np_dtype, np.floating):
      fields[name] = "float_list"
    else:
      raise TypeError(f"feature {name}: expected an image, a text or a scalar")
  return fields


class Encoder:
  """Serializes examples. Not thread-safe.

  One tf.train.Example is reused, because building a new one for each example
  is much slower.
  """

  def __init__(self, fields: Layout):
    """Allocates the tf.train.Example."""
    self._proto = tf_example_pb2.Example()
    self._values = {}
    for name, field in fields.items():
      values = getattr(self._proto.features.feature[name], field).value
      values.append(b"" if field == "bytes_list" else 0)
      self._values[name] = values

  def encode(self, example: Mapping[str, Any]) -> bytes:
    """Returns a serialized tf.train.Example, the same bytes in every process.

    Args:
      example: a value for each feature, images and texts as bytes. Other keys
        are ignored.

    Raises:
      KeyError: if a feature has no value.
    """
    for name, values in self._values.items():
      values[0] = example[name]
    return self._proto.SerializeToString(deterministic=True)


def decode(fields: Layout, record: bytes) -> dict[str, Any]:
  """Returns the values of one record: int, float, images and texts as bytes.

  Args:
    fields: layout of the features to return, see `layout`.
    record: a record of `Encoder.encode`.

  Raises:
    RecordError: if the record is not a tf.train.Example or lacks a feature.
  """
  try:
    feature = tf_example_pb2.Example.FromString(record).features.feature
    return {
      # A protobuf map adds an absent key, with an empty list.
      name: getattr(feature[name], field).value[0]
      for name, field in fields.items()
    }
  except IndexError:
    absent = next(
      name
      for name, field in fields.items()
      if not getattr(feature[name], field).value
    )
    raise RecordError(f"it has no {absent}") from None
  # Protobuf's errors have no common base class.
  except Exception as error:
    raise RecordError(f"it is not a tf.train.Example ({error})") from error


@dataclasses.dataclass(frozen=True)
class Batch:
  """Consecutive records of one shard.

  Attributes:
    path: path of the shard.
    start: position of the first record in the split.
    records: the readable records, serialized.
    faults: errors of the unreadable records by position in the split. The
      position None stands for the whole shard.
  """

  path: pathlib.Path
  start: int
  records: list[bytes]
  faults: dict[int | None, Exception] = dataclasses.field(default_factory=dict)


def read(builder: tfds.core.DatasetBuilder, split: str) -> Iterator[Batch]:
  """Reads all records of a split in order.

  Args:
    builder: a prepared data set in ArrayRecord.
    split: name of the split.

  Yields:
    Batches of up to `BATCH` records. A damaged record or shard becomes a fault
    of its batch, and reading continues.

  Raises:
    RecordError: if the data set is in another file format, or has no such
      split.
  """
  file_format = builder.info.file_format
  if file_format != tfds.core.FileFormat.ARRAY_RECORD:
    raise RecordError(
      f"{builder.info.full_name}: expected the file format array_record, found "
      f"{file_format.value}. Build it again with array_record, or read it with "
      "TensorFlow: tfds.load."
    )
  if split not in builder.info.splits:
    raise RecordError(
      f"{builder.info.full_name} has no split {split}. Delete "
      f"{builder.data_dir} and build again."
    )
  info = builder.info.splits[split]
  starts = np.cumsum([0, *info.shard_lengths]).tolist()
  for path, start in zip(info.filepaths, starts, strict=False):
    shard = pathlib.Path(path)
    try:
      reader = array_record_module.ArrayRecordReader(str(shard))
      length = reader.num_records()
      if not length:
        reader.close()  # raises if the shard is truncated
    except RuntimeError as error:
      yield Batch(shard, start, [], {None: error})
      continue
    for first in range(0, length, BATCH):
      last = min(first + BATCH, length)
      try:
        yield Batch(shard, start + first, reader.read(first, last))
      except RuntimeError:
        yield _read_each(shard, start, first, last)
    # After a damaged record, close raises the same error again.
    with contextlib.suppress(RuntimeError):
      reader.close()


def _read_each(shard: pathlib.Path, start: int, first: int, last: int) -> Batch:
  """Reads records one by one and collects the errors of damaged records."""
  batch = Batch(shard, start + first, [])
  for index in range(first, last):
    # An error makes a reader unusable, so each record gets its own.
    reader = array_record_module.ArrayRecordReader(
      str(shard), "readahead_buffer_size:0,max_parallelism:0"
    )
    try:
      batch.records.extend(reader.read([index]))
    except RuntimeError as error:
      batch.faults[start + index] = error
  return batch
