"""Examples as bytes: TFDS's own format, written and read many times faster.

A record is a tf.train.Example: what TFDS writes for flat features, so that a
plain TFDS reads it. TFDS spends some 20 microseconds on each scalar of each
example, most of a build or of a check of a set with forty of them.
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

# Records read at a time: 2 to 8 MB.
BATCH = 1000

# The field of tf.train.Feature in which each feature is stored.
Layout = Mapping[str, str]


class RecordError(DataError):
  """Examples cannot be read from their files."""


def layout(features: tfds.features.FeaturesDict) -> dict[str, str]:
  """Returns how features are stored: `bytes_list`, `int64_list`, `float_list`.

  Args:
    features: images with an encoding format, and integer or float scalars.

  Raises:
    TypeError: if there is a feature of another kind.
  """
  fields = {}
  for name, feature in features.items():
    if isinstance(feature, tfds.features.Image):
      fields[name] = "bytes_list"
    elif feature.shape == () and np.issubdtype(feature.np_dtype, np.integer):
      fields[name] = "int64_list"
    elif feature.shape == () and np.issubdtype(feature.np_dtype, np.floating):
      fields[name] = "float_list"
    else:
      raise TypeError(f"feature {name}: expected an image or a scalar")
  return fields


class Encoder:
  """Makes records of examples; not for several threads at once.

  It keeps one tf.train.Example and changes its values: building a new one for
  each example takes four times as long.
  """

  def __init__(self, fields: Layout):
    """Prepares the record.

    Args:
      fields: see `layout`.
    """
    self._proto = tf_example_pb2.Example()
    self._values = {}
    for name, field in fields.items():
      values = getattr(self._proto.features.feature[name], field).value
      values.append(b"" if field == "bytes_list" else 0)
      self._values[name] = values

  def encode(self, example: Mapping[str, Any]) -> bytes:
    """Returns an example as a serialized tf.train.Example.

    Args:
      example: a value for each feature, images as JPEG bytes. More is ignored.

    Returns:
      The same bytes for the same example, in every process.

    Raises:
      KeyError: if a feature has no value.
    """
    for name, values in self._values.items():
      values[0] = example[name]
    return self._proto.SerializeToString(deterministic=True)


def decode(fields: Layout, record: bytes) -> dict[str, Any]:
  """Returns the values of one record: int, float, and images as JPEG bytes.

  Args:
    fields: the features wanted, see `layout`.
    record: what `Encoder.encode` returned.

  Raises:
    RecordError: if the record is no tf.train.Example or lacks a feature.
  """
  try:
    feature = tf_example_pb2.Example.FromString(record).features.feature
    return {
      # Asking a protobuf map for an absent key adds it, with an empty list.
      name: getattr(feature[name], field).value[0]
      for name, field in fields.items()
    }
  except IndexError:
    absent = next(name for name in fields if not feature[name].ByteSize())
    raise RecordError(f"it has no {absent}") from None
  # protobuf's errors have no common base class.
  except Exception as error:
    raise RecordError(f"it is no tf.train.Example ({error})") from error


@dataclasses.dataclass(frozen=True)
class Batch:
  """Neighbouring records of one shard.

  Attributes:
    path: the shard.
    start: position of the first of them in the split.
    records: the readable ones, serialized.
    faults: {position in the split: error} of the others. A position of None
      stands for all that the shard may hold.
  """

  path: pathlib.Path
  start: int
  records: list[bytes]
  faults: dict[int | None, Exception] = dataclasses.field(default_factory=dict)


def read(builder: tfds.core.DatasetBuilder, split: str) -> Iterator[Batch]:
  """Reads all records of a split in their order.

  Args:
    builder: a prepared set in ArrayRecord.
    split: name of a split.

  Yields:
    Batches of up to `BATCH` records. A damaged record or shard is among the
    faults of its batch, and the rest is read all the same.

  Raises:
    RecordError: if the set is in another file format.
  """
  file_format = builder.info.file_format
  if file_format != tfds.core.FileFormat.ARRAY_RECORD:
    raise RecordError(
      f"{builder.info.full_name}: expected the file format array_record, found "
      f"{file_format.value}. Build it again with array_record, or read it with "
      "TensorFlow: tfds.load."
    )
  info = builder.info.splits[split]
  starts = np.cumsum([0, *info.shard_lengths]).tolist()
  for path, start in zip(info.filepaths, starts, strict=False):
    shard = pathlib.Path(path)
    try:
      reader = array_record_module.ArrayRecordReader(str(shard))
      length = reader.num_records()
      if not length:
        reader.close()  # raises what is wrong with a shard cut short
    except RuntimeError as error:
      yield Batch(shard, start, [], {None: error})
      continue
    for first in range(0, length, BATCH):
      last = min(first + BATCH, length)
      try:
        yield Batch(shard, start + first, reader.read(first, last))
      except RuntimeError:
        yield _read_each(shard, start, first, last)
    # After a damaged record it raises the same error again.
    with contextlib.suppress(RuntimeError):
      reader.close()


def _read_each(shard: pathlib.Path, start: int, first: int, last: int) -> Batch:
  """Reads records one by one, past those that are damaged."""
  batch = Batch(shard, start + first, [])
  for index in range(first, last):
    # A new one each time: an error closes a reader for good.
    reader = array_record_module.ArrayRecordReader(
      str(shard), "readahead_buffer_size:0,max_parallelism:0"
    )
    try:
      batch.records.extend(reader.read([index]))
    except RuntimeError as error:
      batch.faults[start + index] = error
  return batch
