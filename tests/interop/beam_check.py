"""Checks with Apache Beam; conftest.py gives the command."""

import pathlib

import pytest

from tests.interop import beam_tasks
from tests.tfds_sdss import fake_layout
from tests.tfds_sdss import fake_staging
from tfds_sdss import beam_shards
from tfds_sdss import build
from tfds_sdss import shards
from tfds_sdss import verify
from tfds_sdss.beam_shards import BeamError
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


@pytest.mark.parametrize(
  ("action", "error", "message"),
  [
    ("die", BeamError, "worker process of Apache Beam died"),
    ("full disk", DataError, "No space left on device"),
  ],
)
def test_failures_of_workers_are_one_line(tmp_path, action, error, message):
  tasks = [
    beam_tasks.Task(str(tmp_path / each), each) for each in (action, "none")
  ]
  options = beam_shards.pipeline_options(TWO_WORKERS)
  with pytest.raises(error, match=message) as caught:
    beam_shards.run(beam_tasks.act, tasks, "DirectRunner", options)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ("direct_num_workers=two", "invalid int value: 'two'"),
    ("direct_running_mode=fast", "invalid choice: 'fast'"),
    ("direct_num_worker=2", "Did you mean direct_num_workers"),
    ("direct_num_workers=2,", "expected NAME=VALUE"),
  ],
)
def test_invalid_options_are_one_line(options, message):
  with pytest.raises(BeamError, match=message) as caught:
    beam_shards.pipeline_options(options)
  assert "\n" not in str(caught.value)


def test_unknown_runner_is_one_line(tmp_path):
  with pytest.raises(BeamError, match="DirectRunner") as caught:
    beam_shards.run(beam_tasks.act, [], "Direkt", None)
  assert "\n" not in str(caught.value)
