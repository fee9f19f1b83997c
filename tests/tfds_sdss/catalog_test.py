import hashlib
import pathlib

import numpy as np
import pytest

from tests.tfds_sdss import fake_layout
from tfds_sdss import catalog
from tfds_sdss import splits
from tfds_sdss.errors import DataError
from tfds_sdss.errors import LabelError

OBJID = fake_layout.OBJID


def write(tmp_path, text):
  path = tmp_path / "catalog.csv"
  path.write_bytes(text.encode())
  return path


def test_reads_ids_exactly_and_in_order(tmp_path):
  text = f"oh_p50,objID,z\n8.9,{OBJID},0.1\n8.882136,1237648674532688079,nan\n"
  frame = catalog.read_catalog(write(tmp_path, text))
  assert frame.objid.dtype == np.int64
  assert frame.objid.tolist() == [OBJID, 1237648674532688079]
  assert frame.oh_p50.tolist() == [8.9, 8.882136]


def test_reads_windows_files_by_name(tmp_path):
  path = write(tmp_path, f"\ufeffobjID,oh_p50\r\n{OBJID},8.9\r\n")
  assert catalog.read_catalog(str(path)).objid.tolist() == [OBJID]


@pytest.mark.parametrize(
  "text",
  [
    "1.23765E+18",
    "1237648702973411443.0",
    "9223372036854775808",
    "12376487029734114430",
    "-1237648702973411443",
    " 1237648702973411443",
    "١٢٣",
    "../1237648702973411443",
    "",
  ],
)
def test_refuses_mangled_ids_and_names_the_row(tmp_path, text):
  path = write(tmp_path, f"objID,oh_p50\n{OBJID},8.9\n{text},8.9\n")
  with pytest.raises(DataError, match=r"row 3.*as text or 64-bit"):
    catalog.read_catalog(path)


@pytest.mark.parametrize(
  ("label", "found"),
  [
    ("nan", "nan"),
    ("", "nan"),
    ("-9999", "-9999, the SDSS marker"),
    ("-9990", "-9990, the SDSS marker"),
    ("6.9", "6.9"),
    ("10.1", "10.1"),
    ("inf", "inf"),
    ("high", "'high'"),
  ],
)
def test_refuses_impossible_labels(tmp_path, label, found):
  path = write(tmp_path, f"objID,oh_p50\n{OBJID},{label}\n")
  with pytest.raises(LabelError, match=f"row 2.*{OBJID}.*{found}"):
    catalog.read_catalog(path)


@pytest.mark.parametrize("label", [7.0, 7.8517, 9.4656, 10.0])
def test_accepts_possible_labels(label):
  catalog.check_label(OBJID, label)


def test_refuses_an_id_twice(tmp_path):
  path = write(tmp_path, f"objID,oh_p50\n{OBJID},8.9\n7,8.9\n{OBJID},8.8\n")
  with pytest.raises(DataError, match=f"{OBJID}.*rows 2 and 4"):
    catalog.read_catalog(path)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("", "an empty file"),
    ("objID,z\n1,2\n", "found objID,z. Add oh_p50"),
    (f"objID,oh_p50\n{OBJID}", "row 2: expected 2 fields, found 1"),
    (f"objID,oh_p50\n{OBJID},8.9,1\n", "row 2: expected 2 fields, found 3"),
  ],
)
def test_refuses_other_tables(tmp_path, text, message):
  with pytest.raises(DataError, match=message):
    catalog.read_catalog(write(tmp_path, text))


def test_refuses_other_encodings(tmp_path):
  path = tmp_path / "catalog.csv"
  path.write_bytes("objID,oh_p50\n".encode("utf-16"))
  with pytest.raises(DataError, match="UTF-8"):
    catalog.read_catalog(path)


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
  ids = range(OBJID, OBJID + 13_000)
  found = [splits.split_of(objid) for objid in ids]
  counts = [found.count(name) for name in ("train", "validation", "test")]
  # Four standard deviations of a binomial count.
  np.testing.assert_allclose(counts, [9000, 2000, 2000], rtol=0, atol=210)
  # Written down once: a change would move galaxies between splits.
  assert found[:8] == SPLITS_OF_FIRST_IDS


SPLITS_OF_FIRST_IDS = [
  "train",
  "validation",
  "train",
  "train",
  "train",
  "test",
  "train",
  "test",
]


def test_folds_are_equal_fixed_and_independent_of_the_splits():
  ids = range(OBJID, OBJID + 13_000)
  folds = np.array([splits.fold_of(objid) for objid in ids])
  counts = np.bincount(folds, minlength=10)
  assert len(counts) == 10
  # Four standard deviations of a binomial count.
  np.testing.assert_allclose(counts, 1300, rtol=0, atol=140)
  in_test = np.array([splits.split_of(objid) == "test" for objid in ids])
  counts = np.bincount(folds[in_test], minlength=10)
  np.testing.assert_allclose(counts, 200, rtol=0, atol=55)
  # Written down once: a change would move galaxies between folds.
  assert folds[:8].tolist() == FOLDS_OF_FIRST_IDS


FOLDS_OF_FIRST_IDS = [8, 8, 7, 6, 7, 7, 7, 4]


def test_a_missing_file_stays_a_missing_file(tmp_path):
  with pytest.raises(FileNotFoundError):
    catalog.read_catalog(pathlib.Path(tmp_path / "none.csv"))
