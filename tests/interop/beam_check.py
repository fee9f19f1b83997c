"""Checks with Apache Beam; conftest.py gives the command."""

import pathlib

import pytest

from tests.tfds_sdss import fake_layout
from tests.tfds_sdss import fake_staging
from tfds_sdss import build
from tfds_sdss import shards
from tfds_sdss import verify
from tfds_sdss.errors import DataError

TWO_WORKERS = "direct_num_workers=2,direct_running_mode=multi_processing"


def files(builder):
  return {
    path.name: path.read_bytes()
    for path in pathlib.Path(builder.data_dir).iterdir()
  }


@pytest.mark.parametrize(
  "options",
  [
    {"beam_runner": "DirectRunner"},
    {"beam_runner": "DirectRunner", "beam_options": TWO_WORKERS},
  ],
  ids=["in memory", "two workers"],
)
def test_beam_writes_the_same_bytes(tmp_path, monkeypatch, staging, options):
  monkeypatch.setattr(shards, "MAX_EXAMPLES", 7)
  root = str(staging.root)
  plain = files(build.build("dr17", str(tmp_path / "plain"), root))
  beam = build.build("dr17", str(tmp_path / "beam"), root, **options)
  assert beam.info.splits["train"].num_shards > 3
  assert files(beam) == plain
  assert verify.verify("dr17", str(tmp_path / "beam")).problems == []


def test_beam_writes_the_same_bytes_of_demo500(tmp_path, monkeypatch):
  layout = fake_layout.replace_upstream(tmp_path, monkeypatch)
  plain = build.build("demo500", str(tmp_path / "plain"), str(layout))
  beam = build.build(
    "demo500", str(tmp_path / "beam"), str(layout), beam_runner="DirectRunner"
  )
  assert files(beam) == files(plain)


def test_missing_image_raises_a_data_error(tmp_path):
  folder = fake_staging.write(tmp_path / "staging", fake_staging.table(30))
  objid = fake_staging.OBJID
  folder.image_path(objid).unlink()
  with pytest.raises(DataError, match=f"{objid} are absent or differ"):
    build.build(
      "dr17",
      str(tmp_path / "data"),
      str(folder.root),
      beam_runner="DirectRunner",
      beam_options=TWO_WORKERS,
    )
  assert not list((tmp_path / "data").glob("*/dr17/*"))
