"""Data sets built from a staging folder."""

import pathlib
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tensorflow_datasets as tfds

from tests.tfds_sdss import fake_staging
from tfds_sdss import build
from tfds_sdss import columns
from tfds_sdss import images
from tfds_sdss import quality
from tfds_sdss import sample
from tfds_sdss import shards
from tfds_sdss import splits
from tfds_sdss import staging
from tfds_sdss import verify

REPOSITORY = pathlib.Path(__file__).parents[2]
OBJID = fake_staging.OBJID
RAW = {"image": tfds.decode.SkipDecoding()}


pytestmark = pytest.mark.usefixtures("no_figures")


def build_from(folder, tmp_path, name="dr17", **options):
  return build.build(name, str(tmp_path / "data"), str(folder.root), **options)


def files(builder, pattern="*"):
  return {
    path.name: path.read_bytes()
    for path in pathlib.Path(builder.data_dir).glob(pattern)
  }


def galaxies(builder):
  return {
    example["objid"]: {**example, "split": split}
    for split, source in builder.as_data_source(decoders=RAW).items()
    for example in source
  }


@pytest.fixture(scope="module")
def built(tmp_path_factory):
  """60 galaxies, one without an image and two at the same position."""
  tmp_path = tmp_path_factory.mktemp("built")
  frame = fake_staging.table(60)
  # Separately, the two would be in different splits.
  frame.loc[5, "sky_group"] = OBJID
  frame.loc[7, "lgm_tot_p50"] = np.nan
  folder = fake_staging.write(tmp_path / "staging", frame, failed=[OBJID + 9])
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(quality, "plot", lambda path, sample: None)
    return build_from(folder, tmp_path), frame, folder


def test_examples_match_the_catalogue_and_the_images(built):
  builder, frame, folder = built
  found = galaxies(builder)
  assert found.keys() == set(frame["objid"]) - {OBJID + 9}
  for row in frame.to_dict("records"):
    objid = row["objid"]
    if objid == OBJID + 9:
      continue
    example = found[objid]
    assert example["image"] == folder.image_path(objid).read_bytes()
    for name in columns.SKYSERVER:
      expected = row[name]
      if isinstance(expected, float):
        expected = float(np.float32(expected))
      np.testing.assert_equal(example[name], expected)
    assert example["split"] == splits.split_of(row["sky_group"])
    assert example["fold"] == splits.fold_of(row["sky_group"])
  assert found[OBJID + 5]["split"] == found[OBJID]["split"]
  assert splits.split_of(OBJID + 5) != splits.split_of(OBJID)


def test_features_follow_the_table_of_columns(built):
  features = built[0].info.features
  assert set(features) == {"image", "fold", *columns.SKYSERVER}
  integers = {name for name in features if features[name].np_dtype == np.int64}
  assert integers == {"objid", "specobjid", "bptclass", "fold"}
  assert features["image"].shape == (128, 128, 3)


def test_catalogue_is_stored_with_the_shards(built):
  builder, frame, _ = built
  path = pathlib.Path(builder.data_dir) / "catalog.parquet"
  schema = pq.read_schema(path)
  assert schema.field("petroR90_r").metadata[b"unit"] == b"arcsec"
  assert b"2 arcsec" in schema.field("sky_group").metadata[b"description"]
  table = pd.read_parquet(path)
  found = galaxies(builder)
  assert table["objid"].tolist() == list(found)
  assert table["split"].tolist() == [g["split"] for g in found.values()]
  assert table["fold"].tolist() == [g["fold"] for g in found.values()]
  # float64, not rounded to float32.
  exact = frame.set_index("objid")["ra"]
  assert table["ra"].tolist() == exact[table["objid"]].tolist()


def test_galaxies_are_ordered_by_a_hash(built):
  found = galaxies(built[0])
  for split in splits.SPLIT_PARTS:
    objids = [o for o, galaxy in found.items() if galaxy["split"] == split]
    assert objids == sorted(
      objids, key=lambda objid: splits.hash_fraction(objid, "order")
    )
    assert objids != sorted(objids)


def test_built_sample_verifies(built):
  data_dir = pathlib.Path(built[0].data_dir).parents[2]
  assert verify.verify("dr17", str(data_dir)).problems == []


def test_sha256sum_checks_the_shards(built):
  folder = built[0].data_dir
  subprocess.run(["sha256sum", "-c", "shards.sha256"], cwd=folder, check=True)


def test_order_of_the_rows_does_not_matter(built, tmp_path):
  builder, frame, _ = built
  shuffled = frame.sample(frac=1, random_state=1)
  folder = fake_staging.write(
    tmp_path / "staging", shuffled, failed=[OBJID + 9]
  )
  other = build_from(folder, tmp_path)
  for pattern in ("*array_record*", "shards.sha256", "catalog.parquet"):
    assert files(other, pattern) == files(builder, pattern)


def test_more_galaxies_do_not_change_the_other_splits(built, tmp_path):
  folder = fake_staging.write(tmp_path / "staging", fake_staging.table(70))
  found = galaxies(build_from(folder, tmp_path))
  before = galaxies(built[0])
  assert all(
    found[objid]["split"] == before[objid]["split"]
    for objid in before
    if objid != OBJID + 5  # has its own position here
  )


def test_no_position_is_in_two_splits():
  frame = fake_staging.table(2000)
  generator = np.random.default_rng(0)
  frame["sky_group"] = generator.choice(frame["objid"], len(frame))
  divided = sample.assign_splits(frame)
  by_position = divided.groupby("sky_group")[["split", "fold"]].nunique()
  assert (by_position == 1).all().all()
  assert sorted(divided["objid"]) == frame["objid"].tolist()


def test_several_shards_have_the_same_galaxies(built, tmp_path, monkeypatch):
  monkeypatch.setattr(shards, "MAX_EXAMPLES", 16)
  other = build_from(built[2], tmp_path)
  lengths = other.info.splits["train"].shard_lengths
  assert len(lengths) == -(-sum(lengths) // 16)
  assert max(lengths) - min(lengths) <= 1
  found = galaxies(other)
  assert list(found) == list(galaxies(built[0]))
  assert len(files(other, "*array_record*")) == len(
    shards.read_checksums(pathlib.Path(other.data_dir))
  )
  part = other.as_data_source("train[:50%]", decoders=RAW)
  assert [example["objid"] for example in part] == list(found)[: len(part)]


def test_stock_tfds_builds_from_manual_dir(built, tmp_path):
  builder = tfds.builder("sdss_metallicity/dr17", data_dir=tmp_path)
  config = tfds.download.DownloadConfig(
    manual_dir=built[2].root, max_examples_per_split=4
  )
  builder.download_and_prepare(download_config=config)
  found = galaxies(builder)
  first = [
    objid
    for split in splits.SPLIT_PARTS
    for objid in [
      o for o, g in galaxies(built[0]).items() if g["split"] == split
    ][:4]
  ]
  assert list(found) == first
  table = pd.read_parquet(pathlib.Path(builder.data_dir) / "catalog.parquet")
  assert table["objid"].tolist() == first


def test_zenodo_columns_are_optional(tmp_path):
  absent = ("sfr_tot_p50", "z", "specobjid", "dr7objid", "reliable")
  names = [n for n in columns.ZENODO if n not in absent]
  folder = fake_staging.write(
    tmp_path / "staging", fake_staging.table(30, names), "zenodo", 160
  )
  builder = build_from(folder, tmp_path, "zenodo")
  assert builder.info.features["image"].shape == (160, 160, 3)
  found = galaxies(builder)
  assert len(found) == 30
  for galaxy in found.values():
    assert set(galaxy) == {"image", "fold", "split", *columns.ZENODO}
    assert np.isnan(galaxy["z"])
    assert np.isfinite(galaxy["petroR50_r"])
    markers = [galaxy[n] for n in ("specobjid", "dr7objid", "reliable")]
    assert markers == [0, 0, -1]
    assert np.isfinite(galaxy["ra"])
  assert verify.verify("zenodo", str(tmp_path / "data")).problems == []


def test_killed_build_can_be_repeated(built, tmp_path):
  script = """if True:
    import os, signal, sys
    from tfds_sdss import build, shards
    write_shard, calls = shards.write_shard, []
    def write_and_die(task):
      calls.append(task)
      if len(calls) == 3:
        shards.check_example = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
      return write_shard(task)
    shards.write_shard = write_and_die
    build.build('dr17', sys.argv[1], sys.argv[2])
  """
  builder, _, folder = built
  killed = subprocess.run(
    [sys.executable, "-c", script, tmp_path / "data", folder.root],
    cwd=REPOSITORY,
    check=False,
  )
  assert killed.returncode == -signal.SIGKILL
  partial = list((tmp_path / "data").glob("*/dr17/incomplete*/*array_record*"))
  assert len(partial) >= 2
  with pytest.raises(build.DatasetNotBuiltError):
    build.load("dr17", str(tmp_path / "data"))
  again = build_from(folder, tmp_path)
  assert files(again) == files(builder)
  assert not partial[0].exists()


DUMMY = pathlib.Path(sample.__file__).parent / "sdss_metallicity" / "dummy_data"


def test_dummy_data_match_fake_staging(tmp_path):
  # To regenerate them, delete the folder and call fake_staging.write there.
  made = fake_staging.write(tmp_path / "staging", fake_staging.table(8))
  kept = staging.Staging(DUMMY)
  assert kept.read_source() == made.read_source()
  pd.testing.assert_frame_equal(kept.read_catalog(), made.read_catalog())
  entries = kept.read_manifest()
  assert entries.keys() == made.read_manifest().keys()
  for objid, entry in entries.items():
    assert kept.has_image(entry)
    # The bytes depend on the version of the encoder.
    pixels = [
      images.decode(objid, folder.image_path(objid).read_bytes())
      for folder in (kept, made)
    ]
    np.testing.assert_allclose(*pixels, rtol=0, atol=3)
  paths = [path for path in DUMMY.rglob("*") if path.is_file()]
  assert len(paths) == 3 + 8
  assert sum(path.stat().st_size for path in paths) < 60_000


def test_builds_from_dummy_data(tmp_path):
  builder = build_from(staging.Staging(DUMMY), tmp_path)
  lengths = {name: s.num_examples for name, s in builder.info.splits.items()}
  assert lengths == {"train": 5, "validation": 1, "test": 2}
  data_dir = str(tmp_path / "data")
  assert verify.verify("dr17", data_dir).problems == []
