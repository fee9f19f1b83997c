"""Loading of a data set into arrays, and its errors."""

import io
import sys
import types

import ml_collections
import numpy as np
from PIL import Image
import pytest

from galmet_jax import errors
from galmet_jax.data import galaxies
from tests.tfds_sdss import fake_layout
from tests.tfds_sdss import fake_staging
from tfds_sdss import build
from tfds_sdss import columns
from tfds_sdss import quality
from tfds_sdss import records
from tfds_sdss import shards
from tfds_sdss.errors import DataError
import tfds_sdss.mock
from tfds_sdss.sdss_metallicity import sdss_metallicity_dataset_builder
from tfds_sdss.splits import split_of

OBJID = fake_layout.OBJID


def config_of(crop=128, targets=("oh_p50",)):
  return ml_collections.ConfigDict({"crop": crop, "targets": targets})


def build_fake(patch, folder, examples):
  """Builds the mock sample from the examples, good or bad."""
  module = types.ModuleType("tfds_sdss.mock.render")
  module.FEATURES = {
    "oh_true": "noiseless metallicity",
    "z": "redshift",
    "lgm_tot_p50": "stellar mass",
  }
  module.generate = lambda number, seed: (
    {"lgm_tot_p50": 10.0, **item, "oh_true": item["oh_p50"], "z": 0.1}
    for item in examples[:number]
  )
  patch.setitem(sys.modules, "tfds_sdss.mock.render", module)
  patch.setattr(tfds_sdss.mock, "render", module, raising=False)
  builder = sdss_metallicity_dataset_builder.Builder
  config = builder.builder_configs["mock"]
  patch.setattr(config, "num_examples", len(examples))
  # The builder would reject the bad examples that the loader has to find.
  with pytest.MonkeyPatch.context() as lenient:
    lenient.setattr(shards, "check_example", lambda *args: None)
    return build.build("mock", str(folder))


def good_examples():
  return [
    fake_layout.example(OBJID + i, 8.5 + i / 100) for i in reversed(range(30))
  ]


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    return build_fake(patch, tmp_path_factory.mktemp("fake"), good_examples())


@pytest.fixture(scope="module")
def splits(sample):
  # Several batches for several threads.
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(records, "BATCH", 7)
    return galaxies.load(sample, config_of(targets=("z", "oh_p50")))


def test_splits_are_sorted_by_objid(splits):
  assert tuple(splits) == ("train", "validation", "test")
  for name, split in splits.items():
    expected = [OBJID + i for i in range(30) if split_of(OBJID + i) == name]
    assert len(split) == len(expected) > 0
    np.testing.assert_array_equal(split.objid, expected)
    assert split.objid.dtype == np.int64


def test_arrays_have_the_same_order(splits):
  for split in splits.values():
    assert split.targets.dtype == np.float32
    assert split.images.dtype == np.uint8
    assert split.images.shape == (len(split), 128, 128, 3)
    number = split.objid - OBJID
    # In the order of `data.targets`.
    expected = np.stack([np.full(len(split), 0.1), 8.5 + number / 100], axis=1)
    np.testing.assert_array_equal(split.targets, expected.astype(np.float32))
    for objid, image in zip(split.objid.tolist(), split.images, strict=True):
      with Image.open(io.BytesIO(fake_layout.jpeg(objid))) as file:
        np.testing.assert_array_equal(image, np.asarray(file))


def test_columns_of_the_catalogue(splits):
  for split in splits.values():
    assert set(split.columns) == {
      *("fold", "lgm_tot_p50", "oh_true", "z", "oh_p50")
    }
    assert all(c.dtype == np.float32 for c in split.columns.values())
    np.testing.assert_array_equal(split.columns["oh_true"], split.targets[:, 1])


def test_unknown_target_lists_the_available_ones(sample):
  with pytest.raises(
    errors.ConfigError,
    match=r"no target \['oh_p5'\].*\['fold', .*, 'oh_p50', 'oh_true', 'z'\]",
  ):
    galaxies.load(sample, config_of(targets=("oh_p50", "oh_p5")))


@pytest.mark.parametrize("crop", [129, 95])
def test_crop_that_does_not_fit_the_image(sample, crop):
  with pytest.raises(
    errors.ConfigError, match=f"data.crop is {crop}; expected at most 128"
  ):
    galaxies.load(sample, config_of(crop=crop))


# A galaxy of the training split.
BAD = next(OBJID + i for i in range(4, 30) if split_of(OBJID + i) == "train")


def corrupt(**changes):
  return [
    {**example, **changes} if example["objid"] == BAD else example
    for example in good_examples()
  ]


@pytest.mark.parametrize(
  ("label", "shown"),
  [
    (np.nan, "nan"),
    (np.inf, "inf"),
    (-9999.0, "-9999"),
    (6.9, "6.9"),
    (10.5, "10.5"),
  ],
)
def test_bad_label_is_named(tmp_path, monkeypatch, label, shown):
  bad = build_fake(monkeypatch, tmp_path, corrupt(oh_p50=label))
  with pytest.raises(
    DataError,
    match=rf"oh_p50 of objid {BAD} is {shown}.*between 7 and 10 \(1 such",
  ):
    galaxies.load(bad, config_of())


@pytest.mark.parametrize("marker", [-99, -999, -9999, 5, 99, 1e30, np.inf])
def test_other_targets_out_of_range_are_missing(tmp_path, monkeypatch, marker):
  # The fake sample copies oh_p50 to oh_true.
  builder = build_fake(monkeypatch, tmp_path, corrupt(oh_p50=float(marker)))
  train = galaxies.load(builder, config_of(targets=("z", "oh_true")))["train"]
  bad = train.objid == BAD
  assert bad.sum() == 1
  np.testing.assert_array_equal(np.isnan(train.targets[:, 1]), bad)
  np.testing.assert_array_equal(np.isnan(train.columns["oh_true"]), bad)
  assert np.isfinite(train.targets[:, 0]).all()


@pytest.mark.parametrize("marker", [-1, -99, 3, 15, 1e30, np.nan])
def test_labels_out_of_the_range_of_their_column(tmp_path, monkeypatch, marker):
  builder = build_fake(monkeypatch, tmp_path, corrupt(lgm_tot_p50=marker))
  config = config_of(targets=("oh_p50", "lgm_tot_p50"))
  targets = galaxies.load(builder, config)["train"].targets
  assert np.isnan(targets[:, 1]).sum() == 1
  with pytest.raises(DataError, match=r"lgm_tot_p50.*between 4 and 14"):
    galaxies.load(builder, config_of(targets=("lgm_tot_p50", "oh_p50")))


def test_target_without_any_value_is_refused(tmp_path, monkeypatch):
  examples = [{**example, "lgm_tot_p50": -99.0} for example in good_examples()]
  builder = build_fake(monkeypatch, tmp_path, examples)
  with pytest.raises(DataError, match=r"'train'.*has no lgm_tot_p50 in its"):
    galaxies.load(builder, config_of(targets=("oh_p50", "lgm_tot_p50")))


WHOLE = fake_layout.jpeg(1)


@pytest.mark.parametrize(
  "data",
  [
    WHOLE[: len(WHOLE) // 2],
    b"\xff\xd8\xff" + bytes(range(200)),
    b"<html>not found</html>",
    fake_layout.jpeg(1, kind="PNG"),
    b"",
  ],
  ids=["truncated", "garbage", "HTML", "PNG", "empty"],
)
def test_broken_image_is_named(tmp_path, monkeypatch, data):
  bad = build_fake(monkeypatch, tmp_path, corrupt(image=data))
  with pytest.raises(
    DataError,
    match=f"objID {BAD}: expected an RGB JPEG of 128 x 128 pixels",
  ):
    galaxies.load(bad, config_of())


def test_image_that_is_not_square(tmp_path, monkeypatch):
  file = io.BytesIO()
  Image.new("RGB", (128, 96)).save(file, "JPEG")
  bad = build_fake(monkeypatch, tmp_path, corrupt(image=file.getvalue()))
  with pytest.raises(DataError, match=f"objID {BAD}: .* found 128 x 96 pixels"):
    galaxies.load(bad, config_of(crop=64))


def test_grey_image(tmp_path, monkeypatch):
  grey = fake_layout.jpeg(1, mode="L")
  bad = build_fake(monkeypatch, tmp_path, corrupt(image=grey))
  with pytest.raises(DataError, match="found the colour mode Gray"):
    galaxies.load(bad, config_of())


def test_damaged_file_is_named(tmp_path, monkeypatch):
  builder = build_fake(monkeypatch, tmp_path, good_examples())
  (path,) = builder.data_path.glob("*train.array_record*")
  data = bytearray(path.read_bytes())
  data[2000] ^= 1
  path.write_bytes(bytes(data))
  with pytest.raises(
    DataError,
    match=rf"{path.name} is damaged .*tfds_sdss verify sdss_metallicity/mock",
  ):
    galaxies.load(builder, config_of())


def test_columns_exclude_ids_and_keep_missing_values(tmp_path, monkeypatch):
  monkeypatch.setattr(quality, "plot", lambda path, sample: None)
  frame = fake_staging.table(40).assign(lgm_tot_p50=np.float32(np.nan))
  folder = fake_staging.write(tmp_path / "staging", frame)
  builder = build.build("dr17", str(tmp_path / "data"), str(folder.root))
  train = galaxies.load(builder, config_of())["train"]
  expected = {"fold", *columns.SKYSERVER} - {"objid", "specobjid"}
  assert set(train.columns) == expected
  assert np.isnan(train.columns["lgm_tot_p50"]).all()
  rows = frame.set_index("objid").loc[train.objid]
  for name in ("bptclass", "modelMag_r", "ra"):
    np.testing.assert_array_equal(
      train.columns[name], rows[name].to_numpy(np.float32)
    )
  with pytest.raises(DataError, match=r"lgm_tot_p50 of objid \d+ is nan"):
    galaxies.load(builder, config_of(targets=("lgm_tot_p50",)))
