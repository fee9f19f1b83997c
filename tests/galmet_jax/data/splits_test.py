"""Folds, training samples of each size, and control experiments."""

import numpy as np
import pytest

from configs import resnet34
from galmet_jax.data import galaxies
from galmet_jax.data import splits
from tfds_sdss.splits import fold_of

SIZES = {"train": 140, "validation": 40, "test": 60}


def sample():
  """Returns splits; every array of a galaxy depends on its objid."""
  rng = np.random.default_rng(0)
  objids = rng.permutation(10**6)[: sum(SIZES.values())] + 10**18
  made, start = {}, 0
  for name, size in SIZES.items():
    objid = np.sort(objids[start : start + size])
    start += size
    tag = (objid % 10**6).astype(np.float32)
    fold = np.float32([fold_of(int(i)) for i in objid])
    noise = rng.integers(0, 256, (size, 8, 8, 3), np.uint8)
    noise[:, 0, 0, 0] = objid % 251
    columns = {"tag": tag, "fold": fold}
    made[name] = galaxies.Split(objid, noise, tag[:, None], columns)
  return made


def check(split):
  """Checks that all arrays of a split have the same order."""
  assert (np.diff(split.objid) > 0).all()
  np.testing.assert_array_equal(split.targets[:, 0], split.objid % 10**6)
  np.testing.assert_array_equal(split.columns["tag"], split.objid % 10**6)
  np.testing.assert_array_equal(split.images[:, 0, 0, 0], split.objid % 251)


def changed(**changes):
  config = resnet34.get_config().data
  config.update(changes)
  return splits.apply_splits(sample(), config, seed=3)


def test_default_config_changes_nothing():
  for name, split in changed().items():
    np.testing.assert_array_equal(split.objid, sample()[name].objid)
    check(split)


@pytest.mark.parametrize("num_folds", [2, 5, 10])
def test_folds_divide_the_pool_and_keep_the_test_split(num_folds):
  before = sample()
  pool = np.concatenate([before["train"].objid, before["validation"].objid])
  held_out = []
  for fold in range(num_folds):
    split = changed(fold=fold, num_folds=num_folds)
    train, validation = split["train"], split["validation"]
    check(train)
    check(validation)
    assert set(train.objid) | set(validation.objid) == set(pool)
    assert not set(train.objid) & set(validation.objid)
    assert not set(train.columns["fold"]) & set(validation.columns["fold"])
    np.testing.assert_array_equal(split["test"].objid, before["test"].objid)
    held_out.append(validation.objid)
  together = np.concatenate(held_out)
  assert len(together) == len(pool)
  assert set(together) == set(pool)
  assert max(map(len, held_out)) < 2.5 * len(pool) / num_folds


@pytest.mark.parametrize(
  ("fold", "num_folds"), [(0, 3), (5, 5), (-1, 5), (0, 1)]
)
def test_invalid_folds_are_refused(fold, num_folds):
  with pytest.raises(ValueError, match="expected 2, 5 or 10 folds"):
    changed(fold=fold, num_folds=num_folds)


def test_data_set_without_folds_is_refused():
  old = sample()
  for split in old.values():
    del split.columns["fold"]
  config = resnet34.get_config().data
  config.fold = 0
  with pytest.raises(ValueError, match="no column fold; expected version 2"):
    splits.apply_splits(old, config, seed=0)


def test_smaller_samples_are_nested():
  found = [changed(num_train=n)["train"] for n in (10, 70, 140)]
  assert len(changed(num_train=1)["train"]) == 1
  for split, size in zip(found, (10, 70, 140), strict=True):
    check(split)
    assert len(split) == size
  assert set(found[0].objid) < set(found[1].objid) < set(found[2].objid)
  others = changed(num_train=10)
  assert len(others["validation"]) == SIZES["validation"]
  assert len(others["test"]) == SIZES["test"]


def test_smaller_samples_are_random_parts_that_the_seed_chooses():
  config = resnet34.get_config().data
  config.num_train = 30
  found = [
    splits.apply_splits(sample(), config, seed)["train"].objid.tolist()
    for seed in (3, 3, 4)
  ]
  assert found[0] == found[1] != found[2]
  # The last third of the galaxies has a tenth to a half of the sample.
  last_third = set(sample()["train"].objid[-47:])
  for objids in (found[0], found[2]):
    assert 3 <= len(last_third & set(objids)) <= 15


@pytest.mark.parametrize("number", [0, 141])
def test_invalid_sample_size_is_refused(number):
  with pytest.raises(ValueError, match=f"num_train is {number}; expected 1 to"):
    changed(num_train=number)


def test_only_training_labels_are_shuffled():
  before, after = sample(), changed(control="shuffled_labels")
  same = before["train"].targets == after["train"].targets
  assert same.mean() < 0.05
  np.testing.assert_array_equal(
    np.sort(before["train"].targets, 0), np.sort(after["train"].targets, 0)
  )
  for name in ("validation", "test"):
    check(after[name])


def test_shuffled_pixels_keep_their_colours():
  before, after = sample(), changed(control="shuffled_pixels")
  for name in SIZES:
    one, other = before[name].images, after[name].images
    assert (one != other).mean() > 0.9
    for i in (0, len(one) - 1):
      pixels = [image[i].reshape(-1, 3).tolist() for image in (one, other)]
      assert sorted(pixels[0]) == sorted(pixels[1])
    np.testing.assert_array_equal(before[name].targets, after[name].targets)
  # Each image has its own permutation.
  ramp = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1)
  ramps = np.broadcast_to(ramp, (2, 8, 8, 3))
  one, other = splits._shuffle(ramps, np.random.default_rng(0))
  assert (one != other).any()


@pytest.mark.parametrize("control", ["shuffled_labels", "shuffled_pixels"])
def test_controls_depend_only_on_the_seed(control):
  one, other = (changed(control=control)["train"] for _ in range(2))
  np.testing.assert_array_equal(one.targets, other.targets)
  np.testing.assert_array_equal(one.images, other.images)


def test_blank_images_keep_their_labels():
  for name, split in changed(control="blank_images").items():
    assert split.images.shape == sample()[name].images.shape
    assert not split.images.any()
    np.testing.assert_array_equal(split.targets, sample()[name].targets)
