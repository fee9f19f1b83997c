import pathlib
import re

import numpy as np
import pandas as pd
import pytest

from tests.tfds_sdss import fake_layout
from tests.tfds_sdss import fake_staging
from tfds_sdss import __main__ as cli
from tfds_sdss import build
from tfds_sdss import quality
from tfds_sdss import shards
from tfds_sdss import verify
from tfds_sdss.sdss_metallicity import sdss_metallicity_dataset_builder

OBJID = fake_layout.OBJID


def write(tmp_path, monkeypatch, splits):
  """Builds demo500 from these examples without the builder's checks."""
  with monkeypatch.context() as patch:
    patch.setattr(
      sdss_metallicity_dataset_builder,
      "_read_demo500",
      lambda dl_manager: ("nowhere", splits),
    )
    patch.setattr(shards, "check_example", lambda *args: None)
    return build.build("demo500", str(tmp_path))


def sound():
  objids = iter(range(OBJID, OBJID + 16))
  return {
    split: [
      fake_layout.example(next(objids), 8.5 + i / 10) | {"fold": i}
      for i in range(number)
    ]
    for split, number in (("train", 8), ("validation", 3), ("test", 5))
  }


def test_sound_sample_has_no_problems(tmp_path, monkeypatch):
  write(tmp_path, monkeypatch, sound())
  report = verify.verify("demo500", str(tmp_path))
  assert report.problems == []
  assert report.table["recorded"].tolist() == [8, 3, 5]
  assert report.table["read"].tolist() == [8, 3, 5]
  labels = 8.5 + np.arange(8) / 10
  expected = [labels.mean(), labels.std(ddof=1)]
  expected += np.quantile(labels, [0, 0.25, 0.5, 0.75, 1]).tolist()
  found = report.table.loc["train", "mean":].tolist()
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


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
    ({"objid": OBJID}, f"objID {OBJID} is repeated: in train and in test"),
    ({"objid": OBJID + 12}, f"objID {OBJID + 12} is repeated: .*test and"),
    (
      {"image": fake_layout.jpeg(OBJID)},
      f"objID {OBJID} in train and {OBJID + 11} in test have the same image",
    ),
  ],
)
def test_faulty_examples_are_reported(
  tmp_path, monkeypatch, capsys, change, problem
):
  splits = sound()
  splits["test"][0] |= change
  write(tmp_path, monkeypatch, splits)
  report = verify.verify("demo500", str(tmp_path))
  assert len(report.problems) == 1
  assert re.search(problem, report.problems[0])
  argv = ["verify", "demo500", f"--data_dir={tmp_path}"]
  assert cli.main(argv) == 1
  assert report.problems[0] in capsys.readouterr().out


def test_absent_split_is_reported(tmp_path, monkeypatch):
  splits = sound()
  del splits["validation"]
  write(tmp_path, monkeypatch, splits)
  report = verify.verify("demo500", str(tmp_path))
  assert report.problems == ["validation: the split is absent"]


def shard(builder, split="train"):
  (path,) = builder.data_path.glob(f"*{split}.array_record*")
  return path


def flip(path, position):
  data = bytearray(path.read_bytes())
  data[position] ^= 1
  path.write_bytes(bytes(data))


def test_damaged_records_are_reported(tmp_path, monkeypatch):
  path = shard(write(tmp_path, monkeypatch, sound()))
  flip(path, 2000)
  report = verify.verify("demo500", str(tmp_path))
  assert re.match(rf"{path.name} is damaged: .* SHA-256", report.problems[0])
  *records, last = report.problems[1:]
  assert all(re.match("train: record .*hash mismatch", p) for p in records)
  assert last == f"train: expected 8 galaxies, read {8 - len(records)}"
  assert report.table["read"].tolist() == [8 - len(records), 3, 5]


def test_any_flipped_byte_is_detected(tmp_path, monkeypatch):
  builder = write(tmp_path, monkeypatch, sound())
  path = shard(builder)
  data = path.read_bytes()
  assert shards.compare(builder) == []
  # The positions include padding, which readers skip.
  for position in np.linspace(0, len(data) - 1, 50, dtype=int):
    flip(path, position)
    (problem,) = shards.compare(builder)
    assert problem.startswith(f"{path.name} is damaged")
    path.write_bytes(data)


@pytest.mark.parametrize("length", [0, 100, 3000])
def test_truncated_shard_is_reported(tmp_path, monkeypatch, length):
  path = shard(write(tmp_path, monkeypatch, sound()))
  path.write_bytes(path.read_bytes()[:length])
  report = verify.verify("demo500", str(tmp_path))
  assert path.name in report.problems[0]
  assert f"train: {path.name} is damaged" in report.problems[1]
  assert report.table["read"].tolist() == [0, 3, 5]


def test_shard_of_another_build_is_reported(tmp_path, monkeypatch):
  builder = write(tmp_path / "one", monkeypatch, sound())
  splits = sound()
  splits["train"] += [fake_layout.example(OBJID + 20) | {"fold": 0}]
  other = write(tmp_path / "other", monkeypatch, splits)
  shard(other).copy(shard(builder), overwrite=True)
  report = verify.verify("demo500", str(tmp_path / "one"))
  assert "expected SHA-256" in report.problems[0]
  assert "train: expected 8 galaxies, read 9" in report.problems[1]


@pytest.mark.parametrize(
  ("text", "problem"),
  [
    (None, "shards.sha256 is absent"),
    ("nonsense", "shards.sha256 is damaged"),
    ("", "is not in both shards.sha256 and dataset_info.json"),
  ],
)
def test_faulty_digests_are_reported(tmp_path, monkeypatch, text, problem):
  builder = write(tmp_path, monkeypatch, sound())
  path = builder.data_path / "shards.sha256"
  if text is None:
    path.unlink()
  else:
    path.write_text(text)
  assert problem in verify.verify("demo500", str(tmp_path)).problems[0]


def test_older_version_needs_no_digests(tmp_path, monkeypatch):
  folder = write(tmp_path, monkeypatch, sound()).data_path
  (folder / "shards.sha256").unlink()
  fake_layout.make_older(folder)
  assert verify.verify("demo500", str(tmp_path)).problems == []


@pytest.fixture(scope="module")
def staged_sample(tmp_path_factory):
  tmp_path = tmp_path_factory.mktemp("staged")
  folder = fake_staging.write(tmp_path / "staging", fake_staging.table(40))
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(quality, "plot", lambda path, sample: None)
    built = build.build("dr17", str(tmp_path / "data"), str(folder.root))
  return pathlib.Path(built.data_dir) / "catalog.parquet"


@pytest.fixture
def table(staged_sample):
  """The catalogue of the sample, restored after the test."""
  data = staged_sample.read_bytes()
  yield pd.read_parquet(staged_sample)
  staged_sample.write_bytes(data)


def problems_with(staged_sample, table):
  table.to_parquet(staged_sample)
  return verify.verify("dr17", str(staged_sample.parents[3])).problems


def test_position_in_two_splits_is_reported(staged_sample, table):
  by_split = table.groupby("split")["objid"].first()
  table["sky_group"] = table["sky_group"].replace(
    by_split["test"], by_split["train"]
  )
  problems = problems_with(staged_sample, table)
  assert f"different splits: sky_group {by_split['train']}" in problems[0]


def test_position_in_two_folds_is_reported(staged_sample, table):
  table["sky_group"] = 1
  problems = problems_with(staged_sample, table)
  assert any("in different folds: sky_group 1" in p for p in problems)


def test_catalogue_of_other_galaxies_is_reported(staged_sample, table):
  first = table["objid"][0]
  one_more = table.iloc[[0]].assign(objid=7)
  problems = problems_with(staged_sample, pd.concat([table, one_more]))
  assert problems == ["train: objID 7 only in catalog.parquet"]
  problems = problems_with(staged_sample, table.iloc[1:])
  assert problems == [f"train: objID {first} only in the shards"]


@pytest.mark.parametrize(
  ("column", "value"), [("oh_p50", 9.3), ("image_sha256", "00")]
)
def test_catalogue_with_other_values_is_reported(
  staged_sample, table, column, value
):
  table.loc[0, column] = value
  (problem,) = problems_with(staged_sample, table)
  assert f"objID {table['objid'][0]} with another label or image" in problem


def test_absent_or_damaged_catalogue_is_reported(staged_sample, table):
  data_dir = str(staged_sample.parents[3])
  staged_sample.write_bytes(b"PAR1")
  (problem,) = verify.verify("dr17", data_dir).problems
  assert "catalog.parquet cannot be read" in problem
  staged_sample.unlink()
  assert verify.verify("dr17", data_dir).problems == [
    "catalog.parquet is absent"
  ]


def test_long_reports_are_truncated():
  report = verify.Report(
    "name", pd.DataFrame(), [f"fault {i}" for i in range(25)]
  )
  assert "fault 19" in str(report)
  assert "fault 20" not in str(report)
  assert "and 5 more" in str(report)
