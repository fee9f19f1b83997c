import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer
from tensorflow_datasets.proto import tf_example_pb2

from tests.tfds_sdss import fake_layout
from tfds_sdss import build
from tfds_sdss import records
from tfds_sdss import splits

OBJID = fake_layout.OBJID
FEATURES = tfds.features.FeaturesDict(
  {
    "image": tfds.features.Image(shape=(128, 128, 3), encoding_format="jpeg"),
    "objid": tfds.features.Scalar(np.int64),
    "bptclass": tfds.features.Scalar(np.int64),
    "oh_p50": tfds.features.Scalar(np.float32),
    "z": tfds.features.Scalar(np.float32),
  }
)
LAYOUT = records.layout(FEATURES)


def example(**changes):
  return {
    **fake_layout.example(OBJID),
    "bptclass": -1,
    "z": 0.1,
    **changes,
  }


def test_layout_follows_the_features():
  assert LAYOUT == {
    "image": "bytes_list",
    "objid": "int64_list",
    "bptclass": "int64_list",
    "oh_p50": "float_list",
    "z": "float_list",
  }
  with pytest.raises(TypeError, match="feature names: expected"):
    records.layout({"names": tfds.features.Sequence(tfds.features.Text())})


@pytest.mark.parametrize(
  "changes",
  [
    {},
    {"objid": 2**63 - 1, "bptclass": 5},
    {"objid": 0, "bptclass": 0, "z": 0.0},
    {"z": float("inf"), "oh_p50": -9999.0},
    {"z": 1e-30},
  ],
)
def test_records_equal_those_of_tfds(changes):
  serializer = example_serializer.ExampleSerializer(
    FEATURES.get_serialized_info()
  )
  expected = serializer.get_tf_example(
    FEATURES.encode_example(example(**changes))
  )
  record = records.Encoder(LAYOUT).encode(example(**changes))
  assert tf_example_pb2.Example.FromString(record) == expected
  found = records.decode(LAYOUT, record)
  rounded = {
    name: float(np.float32(value)) if isinstance(value, float) else value
    for name, value in example(**changes).items()
  }
  assert found == rounded


def test_nan_is_preserved():
  record = records.Encoder(LAYOUT).encode(example(z=float("nan")))
  assert np.isnan(records.decode(LAYOUT, record)["z"])


def test_encoder_does_not_reuse_values():
  encoder = records.Encoder(LAYOUT)
  first = encoder.encode(example())
  assert encoder.encode(example(z=0.2, image=b"short")) != first
  assert encoder.encode(example()) == first
  with pytest.raises(KeyError, match="z"):
    encoder.encode(fake_layout.example(OBJID) | {"bptclass": 1})


@pytest.mark.parametrize(
  ("record", "message"),
  [
    (b"\xff\xff\xff", "not a tf.train.Example"),
    (b"", "no image"),
    (records.Encoder({"z": "float_list"}).encode({"z": 1.0}), "no image"),
    (records.Encoder({"image": "int64_list"}).encode({"image": 1}), "no image"),
  ],
)
def test_invalid_records_are_refused(record, message):
  with pytest.raises(records.RecordError, match=message):
    records.decode(LAYOUT, record)


@pytest.mark.parametrize("batch", [records.BATCH, 7])
def test_reads_the_same_as_tfds(mock_data_dir, monkeypatch, batch):
  monkeypatch.setattr(records, "BATCH", batch)
  builder = build.load("mock", str(mock_data_dir))
  fields = records.layout(builder.info.features)
  for split in splits.SPLIT_PARTS:
    source = builder.as_data_source(
      split, decoders={"image": tfds.decode.SkipDecoding()}
    )
    batches = list(records.read(builder, split))
    found = [
      records.decode(fields, record) for b in batches for record in b.records
    ]
    assert found == [source[index] for index in range(len(source))]
    starts = np.cumsum([0, *(len(b.records) for b in batches)])[:-1]
    assert [b.start for b in batches] == starts.tolist()
    assert not any(b.faults for b in batches)


def test_other_file_format_is_refused(tmp_path):
  builder = tfds.builder(
    "sdss_metallicity/mock", data_dir=tmp_path, file_format="tfrecord"
  )
  with pytest.raises(records.RecordError, match="array_record, found tfrecord"):
    next(records.read(builder, "train"))
