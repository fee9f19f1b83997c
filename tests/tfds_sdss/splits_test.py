import hashlib

import numpy as np

from tests.tfds_sdss import fake_layout
from tfds_sdss import splits

IDS = range(fake_layout.OBJID, fake_layout.OBJID + 13_000)


def test_hash_fraction_is_blake2b_of_the_decimal_text():
  digest = hashlib.blake2b(b"salt:12", digest_size=8).hexdigest()
  expected = int(digest, 16) / 2**64
  found = splits.hash_fraction(12, "salt")
  np.testing.assert_allclose(found, expected, rtol=0, atol=2**-52)
  assert splits.hash_fraction(12, "pepper") != found


def test_hash_fraction_stays_below_one(monkeypatch):
  class AllOnes:
    def __init__(self, *args, **kwargs):
      del args, kwargs

    def digest(self):
      return b"\xff" * 8

  monkeypatch.setattr(hashlib, "blake2b", AllOnes)
  assert splits.hash_fraction(1, "") < 1


def test_splits_are_90_20_20_and_fixed():
  found = [splits.split_of(objid) for objid in IDS]
  counts = [found.count(name) for name in ("train", "validation", "test")]
  # Four standard deviations of a binomial count.
  np.testing.assert_allclose(counts, [9000, 2000, 2000], rtol=0, atol=210)
  # Any change would move galaxies between splits.
  first = "train validation train train train test train test"
  assert found[:8] == first.split()


def test_folds_are_equal_fixed_and_independent_of_the_splits():
  folds = np.array([splits.fold_of(objid) for objid in IDS])
  counts = np.bincount(folds, minlength=10)
  assert len(counts) == 10
  # Four standard deviations of a binomial count.
  np.testing.assert_allclose(counts, 1300, rtol=0, atol=140)
  in_test = np.array([splits.split_of(objid) == "test" for objid in IDS])
  counts = np.bincount(folds[in_test], minlength=10)
  np.testing.assert_allclose(counts, 200, rtol=0, atol=55)
  # Any change would move galaxies between folds.
  assert folds[:8].tolist() == [8, 8, 7, 6, 7, 7, 7, 4]
