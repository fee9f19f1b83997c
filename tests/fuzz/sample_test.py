"""Damaged files: each parser raises only errors of this project.

`make fuzz` tries many more cases, with a random seed.
"""

import pathlib

import ml_collections
import numpy as np
import pandas as pd
import pytest

from galmet_jax.data import galaxies
from tests import mutations
from tests.tfds_sdss import fake_layout
from tests.tfds_sdss import fake_staging
from tfds_sdss import build
from tfds_sdss import catalog
from tfds_sdss import columns
from tfds_sdss import images
from tfds_sdss import origin
from tfds_sdss import records
from tfds_sdss import sample
from tfds_sdss import sample_info
from tfds_sdss import shards
from tfds_sdss import splits
from tfds_sdss import verify
from tfds_sdss.errors import DataError
from tfds_sdss.sdss_metallicity import demo500

OBJID = fake_staging.OBJID


def test_catalogue(root):
  path = root / "train.csv"
  text = f"objID,oh_p50\n{OBJID},8.9\n{OBJID + 1},8.75\n"
  quoted = f'"name","oh_p50","objID"\r\n"a, b","8.9","{OBJID}"\r\n'
  mutations.fuzz(
    lambda data: catalog.read_catalog(path),
    text.encode(),
    quoted.encode(),
    path=path,
  )


@pytest.mark.parametrize(
  "name", ["source.json", "manifest.jsonl", "catalog.parquet"]
)
def test_staging_folder(staged, name):
  path = staged.root / name
  mutations.fuzz(
    lambda data: sample.read(staged.root, "dr17", columns.SKYSERVER, 128, 1),
    path.read_bytes(),
    path=path,
  )


def odd_tables():
  frame = fake_staging.table(4)
  yield frame.assign(z=[[1.0], [2.0], [], None])
  yield frame.assign(z=[{"a": 1}] * 4)
  yield frame.assign(z="0.1")
  yield frame.assign(z=pd.to_datetime("2020-01-01"))
  yield frame.assign(z=True)
  yield frame.assign(z=np.complex64(1).real, bptclass=2.5)
  yield frame.assign(objid=frame["objid"].astype("uint64"))
  yield frame.assign(objid=frame["objid"].astype(str))
  yield frame.assign(sky_group=None)
  yield frame.iloc[:0]
  yield pd.DataFrame()


@pytest.mark.parametrize("number", range(11))
def test_tables_of_other_types(staged, number):
  frame = list(odd_tables())[number]
  frame.to_parquet(staged.catalog_path)
  with pytest.raises(DataError):
    sample.read(staged.root, "dr17", columns.SKYSERVER, 128, 1)


@pytest.fixture
def built(staged, root):
  return build.build("dr17", str(root / "data"), str(staged.root))


@pytest.mark.parametrize(
  "name",
  ["dataset_info.json", "features.json", "built_from.json", "sample.json"],
)
def test_built_sample(built, root, name):
  path = pathlib.Path(built.data_path) / name
  config = ml_collections.ConfigDict({"crop": 128, "targets": ("oh_p50", "z")})

  def check(data):
    builder = build.load("dr17", str(root / "data"))
    origin.read(pathlib.Path(builder.data_path))
    galaxies.load(builder, config)
    if problems := verify.verify("dr17", str(root / "data")).problems:
      raise DataError("\n".join(problems))

  mutations.fuzz(check, path.read_bytes(), path=path)


# For the next three only the reader of each file: the whole check takes 0.1 s.


def test_digests_of_shards(built):
  path = pathlib.Path(built.data_path) / shards.CHECKSUMS

  def check(data):
    if problems := shards.compare(built):
      raise DataError("\n".join(problems))

  mutations.fuzz(check, path.read_bytes(), path=path)


def test_catalogue_of_built_sample(built):
  path = pathlib.Path(built.data_path) / sample.CATALOG
  info = sample_info.read(path.parent)
  members = {
    split: list(verify._read(built, info, split, []))
    for split in splits.SPLIT_PARTS
  }

  def check(data):
    if problems := verify._check_catalog(path, info.label, members):
      raise DataError("\n".join(problems))

  mutations.fuzz(check, path.read_bytes(), path=path)


def test_shard(built):
  info = sample_info.read(pathlib.Path(built.data_path))
  path = pathlib.Path(built.info.splits["test"].filepaths[0])
  expected = galaxies.read_split(built, "test")

  def check(data):
    problems = []
    list(verify._read(built, info, "test", problems))
    np.testing.assert_equal(galaxies.read_split(built, "test"), expected)
    if problems:
      raise DataError("\n".join(problems))

  mutations.fuzz(check, path.read_bytes(), path=path)


def test_record():
  fields = {"image": "bytes_list", "objid": "int64_list", "z": "float_list"}
  example = {"image": b"jpeg", "objid": OBJID, "z": 0.1}
  mutations.fuzz(
    lambda data: records.decode(fields, data),
    records.Encoder(fields).encode(example),
  )


def test_image():
  mutations.fuzz(lambda data: images.decode(OBJID, data), fake_layout.jpeg(0))


def test_archive_of_demo500(root, monkeypatch):
  layout = fake_layout.replace_upstream(root, monkeypatch)
  path = root / "archive.zip"

  def read(data):
    with demo500.open_archive(path) as folder:
      demo500.read(folder, complete=False)

  mutations.fuzz(
    read,
    fake_layout.archive(layout),
    path=path,
    own_errors=(*mutations.OWN_ERRORS, *demo500.ARCHIVE_ERRORS),
  )
