import re

import fake_layout
import numpy as np
import pandas as pd
import pytest

from tfds_sdss import __main__ as cli
from tfds_sdss import build
from tfds_sdss import verify
from tfds_sdss.sdss_metallicity import sdss_metallicity_dataset_builder

OBJID = fake_layout.OBJID


def write(tmp_path, monkeypatch, splits):
  """Builds demo500 from these examples, past all checks of the builder."""

  def split_generators(self, dl_manager):
    del self, dl_manager
    return {split: iter(enumerate(rows)) for split, rows in splits.items()}

  with monkeypatch.context() as patch:
    patch.setattr(
      sdss_metallicity_dataset_builder.Builder,
      "_split_generators",
      split_generators,
    )
    return build.build("demo500", str(tmp_path))


def sound():
  objids = iter(range(OBJID, OBJID + 16))
  return {
    split: [
      fake_layout.example(next(objids), 8.5 + i / 10) for i in range(number)
    ]
    for split, number in (("train", 8), ("validation", 3), ("test", 5))
  }


def test_sound_sample(tmp_path, monkeypatch, capsys):
  write(tmp_path, monkeypatch, sound())
  report = verify.verify("demo500", str(tmp_path))
  assert report.problems == []
  assert report.table["recorded"].tolist() == [8, 3, 5]
  assert report.table["read"].tolist() == [8, 3, 5]
  labels = 8.5 + np.arange(8) / 10
  expected = [labels.mean(), labels.std()]
  expected += np.quantile(labels, [0, 0.25, 0.5, 0.75, 1]).tolist()
  found = report.table.loc["train", "mean":].tolist()
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
  argv = ["verify", "sdss_metallicity/demo500", f"--data_dir={tmp_path}"]
  assert cli.main(argv) == 0
  assert "No problems found" in capsys.readouterr().out


@pytest.mark.parametrize(
  ("change", "problem"),
  [
    ({"image": b"<html>"}, f"test: objID {OBJID + 11}.*HTML"),
    (
      {"image": fake_layout.jpeg(1, size=64)},
      f"test: objID {OBJID + 11}.*64 x 64",
    ),
    ({"oh_p50": -9999.0}, f"test: objID {OBJID + 11}.*marker"),
    ({"oh_p50": float("nan")}, f"test: objID {OBJID + 11}.*found nan"),
    ({"objid": OBJID}, f"objID {OBJID} comes twice: in train and in test"),
    ({"objid": OBJID + 12}, f"objID {OBJID + 12} comes twice: .*test and"),
    (
      {"image": fake_layout.jpeg(OBJID)},
      f"objID {OBJID} in train and {OBJID + 11} in test have the same image",
    ),
  ],
)
def test_faults_are_found(tmp_path, monkeypatch, capsys, change, problem):
  splits = sound()
  splits["test"][0] |= change
  write(tmp_path, monkeypatch, splits)
  report = verify.verify("demo500", str(tmp_path))
  assert len(report.problems) == 1
  assert re.search(problem, report.problems[0])
  argv = ["verify", "demo500", f"--data_dir={tmp_path}"]
  assert cli.main(argv) == 1
  assert report.problems[0] in capsys.readouterr().out


def test_absent_split(tmp_path, monkeypatch):
  splits = sound()
  del splits["validation"]
  write(tmp_path, monkeypatch, splits)
  report = verify.verify("demo500", str(tmp_path))
  assert report.problems == ["validation: the split is absent"]


def shard(builder, split="train"):
  (path,) = builder.data_path.glob(f"*{split}.array_record*")
  return path


def test_flipped_byte(tmp_path, monkeypatch):
  path = shard(write(tmp_path, monkeypatch, sound()))
  data = bytearray(path.read_bytes())
  data[2000] ^= 1
  path.write_bytes(bytes(data))
  report = verify.verify("demo500", str(tmp_path))
  assert "train: record" in report.problems[0]
  assert "hash mismatch" in report.problems[0]
  assert report.table.loc["train", "read"] == 8 - len(report.problems)
  assert report.table["read"].tolist()[1:] == [3, 5]


@pytest.mark.parametrize("length", [0, 100, 3000])
def test_shard_cut_short(tmp_path, monkeypatch, length):
  path = shard(write(tmp_path, monkeypatch, sound()))
  path.write_bytes(path.read_bytes()[:length])
  report = verify.verify("demo500", str(tmp_path))
  assert path.name in report.problems[0]
  assert report.table["read"].tolist() == [0, 3, 5]


def test_shard_of_another_build(tmp_path, monkeypatch):
  builder = write(tmp_path / "one", monkeypatch, sound())
  splits = sound()
  splits["train"] += [fake_layout.example(OBJID + 20)]
  other = write(tmp_path / "other", monkeypatch, splits)
  shard(other).copy(shard(builder), overwrite=True)
  report = verify.verify("demo500", str(tmp_path / "one"))
  assert "should hold 8 galaxies, found 9" in report.problems[0]


def test_sample_that_is_not_there(tmp_path):
  with pytest.raises(build.DatasetNotBuiltError, match="build sdss_metall"):
    verify.verify("mock", str(tmp_path))


def test_long_reports_are_cut():
  report = verify.Report(
    "name", pd.DataFrame(), [f"fault {i}" for i in range(25)]
  )
  assert "fault 19" in str(report)
  assert "fault 20" not in str(report)
  assert "and 5 more" in str(report)
