"""Assigns galaxies to splits and folds by a hash of an id."""

import hashlib

# Ratio of the splits: 90,000 / 20,000 / 20,000 in Wu & Boada (2019).
SPLIT_PARTS = {"train": 90, "validation": 20, "test": 20}
# Number of cross-validation folds.
NUM_FOLDS = 10


def hash_fraction(objid: int, salt: str) -> float:
  """Returns a fixed pseudo-random number for an objID, in [0, 1).

  The number is the first 53 bits of BLAKE2b over `salt:objid` in decimal ASCII.
  It is the same on every machine and does not depend on other galaxies. Numbers
  with different salts are independent.
  """
  text = f"{salt}:{objid}".encode("ascii")
  digest = hashlib.blake2b(text, digest_size=8).digest()
  # A float has 53 bits: 64 bits could round up to exactly 1.
  return (int.from_bytes(digest, "big") >> 11) / 2**53


def split_of(objid: int) -> str:
  """Returns `train`, `validation` or `test`, in the ratio 90:20:20."""
  parts = hash_fraction(objid, "split") * sum(SPLIT_PARTS.values())
  if parts < SPLIT_PARTS["train"]:
    return "train"
  if parts < SPLIT_PARTS["train"] + SPLIT_PARTS["validation"]:
    return "validation"
  return "test"


def fold_of(objid: int) -> int:
  """Returns a fold from 0 to `NUM_FOLDS` - 1, independent of the split."""
  return int(hash_fraction(objid, "fold") * NUM_FOLDS)
