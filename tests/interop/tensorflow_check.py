"""Checks with TensorFlow; conftest.py gives the command."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tfds_sdss import build
from tfds_sdss import columns
from tfds_sdss import records

REPOSITORY = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def array_records(tmp_path_factory, staging):
  data_dir = tmp_path_factory.mktemp("array_record")
  builder = build.build("dr17", str(data_dir), str(staging.root))
  return {
    split: {example["objid"]: example for example in source}
    for split, source in builder.as_data_source().items()
  }


def check_same(datasets, array_records):
  for split, expected in array_records.items():
    found = list(datasets[split].as_numpy_iterator())
    assert [example["objid"] for example in found] == list(expected)
    for example in found:
      other = expected[example["objid"]]
      assert set(example) == {"image", "fold", *columns.SKYSERVER}
      for name in example.keys() - {"image"}:
        np.testing.assert_equal(example[name], other[name])
      # TensorFlow decodes with a faster, less accurate transform.
      difference = example["image"].astype(int) - other["image"]
      assert abs(difference).max() <= 8


def test_tfrecord_has_the_same_examples(tmp_path, staging, array_records):
  builder = build.build(
    "dr17", str(tmp_path), str(staging.root), file_format="tfrecord"
  )
  assert list(pathlib.Path(builder.data_dir).glob("*.tfrecord-*"))
  check_same(builder.as_dataset(), array_records)
  # Stock TFDS reads it by its name.
  check_same(
    tfds.load("sdss_metallicity/dr17", data_dir=tmp_path), array_records
  )
  with pytest.raises(records.RecordError, match="found tfrecord"):
    next(records.read(builder, "train"))


def test_records_parse_with_tensorflow(array_records):
  fields = {"objid": "int64_list", "z": "float_list", "image": "bytes_list"}
  example = next(iter(array_records["train"].values()))
  record = records.Encoder(fields).encode({**example, "image": b"jpeg"})
  parsed = tf.io.parse_single_example(
    record,
    {
      "objid": tf.io.FixedLenFeature((), tf.int64),
      "z": tf.io.FixedLenFeature((), tf.float32),
      "image": tf.io.FixedLenFeature((), tf.string),
    },
  )
  assert parsed["objid"].numpy() == example["objid"]
  assert parsed["z"].numpy() == np.float32(example["z"])
  assert parsed["image"].numpy() == b"jpeg"


def test_tfds_command_line_builds_the_sample(tmp_path, staging, array_records):
  arguments = [
    *("build", "tfds_sdss/sdss_metallicity"),
    *("--config=dr17", "--file_format=tfrecord"),
    *(f"--data_dir={tmp_path}", f"--manual_dir={staging.root}"),
  ]
  subprocess.run(
    [sys.executable, "-m", "tensorflow_datasets.scripts.cli.main", *arguments],
    cwd=REPOSITORY,
    env={**os.environ, "PYTHONPATH": "."},
    check=True,
  )
  check_same(
    tfds.load("sdss_metallicity/dr17", data_dir=tmp_path), array_records
  )


def test_tfds_loads_without_this_project(tmp_path, staging, array_records):
  data_dir = tmp_path / "data"
  build.build("dr17", str(data_dir), str(staging.root), file_format="tfrecord")
  script = """if True:
    import importlib.util, sys
    import tensorflow_datasets as tfds
    assert importlib.util.find_spec("tfds_sdss") is None
    dataset = tfds.load(
      "sdss_metallicity/dr17", split="train", data_dir=sys.argv[1]
    )
    for example in dataset:
      assert example["image"].shape == (128, 128, 3)
      print(example["objid"].numpy())
  """
  environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
  loaded = subprocess.run(
    [sys.executable, "-c", script, data_dir],
    cwd=tmp_path,
    env=environment,
    capture_output=True,
    text=True,
    check=True,
  )
  found = [int(line) for line in loaded.stdout.split()]
  assert found == list(array_records["train"])
