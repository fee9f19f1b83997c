"""Samples that exist are compared with the folder that is given."""

import shutil
import subprocess
import sys

import ml_collections
import numpy as np
import pandas as pd
import pytest

from galmet_jax.data import dataset
from tests.tfds_sdss import fake_staging
from tfds_sdss import build
from tfds_sdss import files
from tfds_sdss import origin
from tfds_sdss import shards

OBJID = fake_staging.OBJID

pytestmark = pytest.mark.usefixtures("no_figures")


def build_from(folder, tmp_path, name="dr17"):
  return build.build(name, str(tmp_path / "data"), str(folder), max_loss=1)


def write_staging(folder, number=30, **options):
  return fake_staging.write(folder, fake_staging.table(number), **options).root


@pytest.fixture
def staged(tmp_path):
  """A staging folder without one image, and a sample built from it."""
  folder = write_staging(tmp_path / "staging", failed=[OBJID + 3])
  build_from(folder, tmp_path)
  return folder


def add_galaxies(folder):
  shutil.rmtree(folder)
  frame = pd.concat([fake_staging.table(30), fake_staging.table(31).tail(1)])
  fake_staging.write(folder, frame, failed=[OBJID + 3])


def add_image(folder):
  shutil.rmtree(folder)
  write_staging(folder)


def change_column(folder):
  staging = fake_staging.staging.Staging(folder)
  staging.write_catalog(staging.read_catalog().assign(z=np.float32(0.1)))


def change_image(folder):
  staging = fake_staging.staging.Staging(folder)
  entry = staging.read_manifest()[OBJID]
  with staging.open_manifest() as append:
    append(fake_staging.staging.Entry(OBJID, entry.url, sha256="0" * 64))


@pytest.mark.parametrize(
  "change", [add_galaxies, add_image, change_column, change_image]
)
def test_changed_staging_folder_is_another_source(staged, tmp_path, change):
  before = origin.read(built_folder(tmp_path))
  assert before["source"] == str(staged)
  change(staged)
  with pytest.raises(origin.AnotherSourceError, match=r"Delete .*dr17/2\.0\.0"):
    build_from(staged, tmp_path)
  assert origin.read(built_folder(tmp_path)) == before
  # Without a folder, the sample is used as it is.
  assert build.build("dr17", str(tmp_path / "data")).info.splits


def built_folder(tmp_path):
  (folder,) = tmp_path.glob("data/sdss_metallicity/*/[0-9]*")
  return folder


def test_same_galaxies_in_another_folder_are_the_same_source(staged, tmp_path):
  shuffled = fake_staging.table(30).sample(frac=1, random_state=1)
  copy = fake_staging.write(tmp_path / "b", shuffled, failed=[OBJID + 3]).root
  # A galaxy without an image is in neither set.
  frame = pd.concat([shuffled, fake_staging.table(31).tail(1)])
  failed = [OBJID + 3, OBJID + 30]
  other = fake_staging.write(tmp_path / "c", frame, failed=failed).root
  for folder in (staged, copy, other):
    assert build_from(folder, tmp_path).info.splits.total_num_examples == 29


def test_another_folder_of_demo500_is_refused(tmp_path, layout):
  other = tmp_path / "other"
  shutil.copytree(layout, other)
  build_from(layout, tmp_path, "demo500")
  build_from(other, tmp_path, "demo500")
  path = other / "catalogs" / "test.csv"
  path.write_text(path.read_text().replace(",8.5", ",8.7"))
  for load in (build_from, load_as_main_does):
    with pytest.raises(
      origin.AnotherSourceError, match=f"of {other}, found those of {layout}"
    ):
      load(other, tmp_path, "demo500")
  load_as_main_does(layout, tmp_path, "demo500")
  load_as_main_does(None, tmp_path, "demo500")


def load_as_main_does(manual_dir, tmp_path, name):
  config = ml_collections.ConfigDict(
    {
      "name": name,
      "data_dir": str(tmp_path / "data"),
      "manual_dir": manual_dir and str(manual_dir),
    }
  )
  return dataset._find_or_build(config)


def test_folder_without_use_is_refused(mock_data_dir):
  record = origin.read(next(mock_data_dir.glob("sdss_metallicity/mock/3*")))
  assert record["source"] == "sdss_metallicity/mock/3.0.0"
  for function in (build.build, build.load):
    with pytest.raises(build.UnknownConfigError, match="built without"):
      function("mock", str(mock_data_dir), str(mock_data_dir))


def test_sample_without_a_record_cannot_be_compared(staged, tmp_path):
  (built_folder(tmp_path) / origin.FILE).unlink()
  build.load("dr17", str(tmp_path / "data"))
  with pytest.raises(origin.AnotherSourceError, match="no record of its sour"):
    build_from(staged, tmp_path)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"source": 1}', "\0"])
def test_damaged_record(staged, tmp_path, content):
  path = built_folder(tmp_path) / origin.FILE
  path.write_text(content)
  with pytest.raises(files.DamagedFileError, match=rf"{path}.*Delete"):
    build_from(staged, tmp_path)


def test_sample_that_another_process_finishes_first_is_used(
  tmp_path, layout, monkeypatch, caplog
):
  caplog.set_level("INFO")
  write, racing = shards.write, [True]

  def write_after_another_build(*args):
    if racing:
      racing.clear()
      build_from(layout, tmp_path, "demo500")
    write(*args)

  monkeypatch.setattr(shards, "write", write_after_another_build)
  builder = build_from(layout, tmp_path, "demo500")
  assert "another process has built" in caplog.text
  assert builder.info.splits["test"].num_examples == 4
  assert not list(tmp_path.glob("data/*/*/incomplete*"))


def test_faster_process_with_another_source_is_not_used(
  tmp_path, layout, monkeypatch
):
  other = tmp_path / "other"
  shutil.copytree(layout, other)
  path = other / "catalogs" / "test.csv"
  path.write_text(path.read_text().replace(",8.5", ",8.7"))
  write, racing = shards.write, [True]

  def write_after_another_build(*args):
    if racing:
      racing.clear()
      build_from(other, tmp_path, "demo500")
    write(*args)

  monkeypatch.setattr(shards, "write", write_after_another_build)
  with pytest.raises(origin.AnotherSourceError, match=f"those of {other}"):
    build_from(layout, tmp_path, "demo500")


def test_leftovers_of_killed_builds_are_deleted(tmp_path, layout, caplog):
  caplog.set_level("INFO")
  parent = tmp_path / "data" / "sdss_metallicity" / "demo500"
  left, running, unknown, locking = (
    parent / f"incomplete.{name}_2.0.0" for name in "abcd"
  )
  for folder in (left, unknown, locking):
    folder.mkdir(parents=True)
    (folder / "shard").touch()
  (left / files.LOCK).write_text("a process that was killed")
  (locking / files.LOCK).touch()
  with files.lock(running):
    build_from(layout, tmp_path, "demo500")
    assert running.exists()
  assert not left.exists()
  assert unknown.exists()
  assert locking.exists()
  assert f"deleted {left}" in caplog.text
  assert f"building in {running}" in caplog.text
  assert f"{unknown} is left over" in caplog.text
  assert not (built_folder(tmp_path) / files.LOCK).exists()


def test_stock_tfds_reads_a_sample_with_a_record(staged, tmp_path):
  script = """if True:
    import sys
    import tensorflow_datasets as tfds
    sets = tfds.builder_from_directory(sys.argv[1]).as_data_source()
    print(sum(len(source) for source in sets.values()))
  """
  read = subprocess.run(
    [sys.executable, "-c", script, built_folder(tmp_path)],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    check=True,
  )
  assert read.stdout.strip() == "29"


def test_digest_depends_on_each_cell():
  frame = fake_staging.table(4).assign(split="train")
  found = {origin.digest(frame)}
  for name in frame:
    changed = frame.copy()
    is_text = name == "split"
    changed.loc[2, name] = "test" if is_text else frame[name].iloc[2] + 1
    found.add(origin.digest(changed))
  assert len(found) == 1 + len(frame.columns)
  assert origin.digest(frame[::-1]) not in found
  assert origin.digest(frame.copy()) in found
