"""Splits that contradict each other or the description of the data set."""

import pathlib
import types

import ml_collections
import numpy as np
import pytest
import tensorflow_datasets as tfds

from galmet_jax.data import galaxies
from tests.tfds_sdss import fake_layout
from tfds_sdss import records
from tfds_sdss import sample_info
from tfds_sdss.errors import DataError

OBJID = fake_layout.OBJID
CONFIG = ml_collections.ConfigDict({"crop": 128, "targets": ("oh_p50",)})


def stub(monkeypatch, splits):
  """Returns a builder of examples that the real one would reject."""
  features = tfds.features.FeaturesDict(
    {
      "image": tfds.features.Image(shape=(128, 128, 3), encoding_format="jpeg"),
      "objid": tfds.features.Scalar(np.int64),
      "oh_p50": tfds.features.Scalar(np.float32),
    }
  )
  encoder = records.Encoder(records.layout(features))

  def read(builder, name):
    del builder
    encoded = [encoder.encode(example) for example in splits[name]]
    yield records.Batch(pathlib.Path(name), 0, encoded)

  info = sample_info.of_project("mock", features)
  monkeypatch.setattr(records, "read", read)
  monkeypatch.setattr(sample_info, "read", lambda folder: info)
  return types.SimpleNamespace(
    info=types.SimpleNamespace(
      full_name="sdss_metallicity/mock/2.0.0",
      name="sdss_metallicity",
      features=features,
      splits={
        name: types.SimpleNamespace(num_examples=len(examples))
        for name, examples in splits.items()
      },
    ),
    data_dir="nowhere",
    builder_config=types.SimpleNamespace(name="mock"),
  )


def test_empty_split_is_named(monkeypatch):
  example = fake_layout.example(OBJID)
  builder = stub(
    monkeypatch, {"train": [example], "validation": [], "test": [example]}
  )
  with pytest.raises(
    DataError,
    match=r"'validation' of sdss_metallicity/mock/2.0.0 is empty.*"
    r"tfds_sdss verify sdss_metallicity/mock",
  ):
    galaxies.load(builder, CONFIG)


def test_objid_twice_is_named(monkeypatch):
  twice = [fake_layout.example(OBJID + i % 2) for i in range(3)]
  splits = {"train": twice, "validation": twice, "test": twice}
  builder = stub(monkeypatch, splits)
  with pytest.raises(DataError, match=f"{OBJID} occurs twice in split 'train'"):
    galaxies.load(builder, CONFIG)


def test_objid_in_two_splits_is_named(monkeypatch):
  one = [fake_layout.example(OBJID)]
  other = [fake_layout.example(OBJID + 1)]
  builder = stub(monkeypatch, {"train": one, "validation": other, "test": one})
  with pytest.raises(DataError, match=rf"{OBJID} is in two splits .* \(1 such"):
    galaxies.load(builder, CONFIG)


def test_missing_galaxies_are_noticed(monkeypatch):
  examples = [fake_layout.example(OBJID + i) for i in range(3)]
  builder = stub(
    monkeypatch, {"train": examples, "validation": examples, "test": examples}
  )
  builder.info.splits["train"].num_examples = 4
  with pytest.raises(DataError, match=r"'train' .* has 3 galaxies; expected 4"):
    galaxies.load(builder, CONFIG)
