import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import dataset_metadata

from tests.tfds_sdss import fake_layout
from tfds_sdss import build
from tfds_sdss import columns
from tfds_sdss import splits
import tfds_sdss.mock
from tfds_sdss.mock import population
from tfds_sdss.sdss_metallicity import demo500
from tfds_sdss.sdss_metallicity import sdss_metallicity_dataset_builder

REPOSITORY = pathlib.Path(__file__).parents[3]
OBJID = fake_layout.OBJID
RAW = {"image": tfds.decode.SkipDecoding()}


@pytest.fixture
def layout(tmp_path, monkeypatch):
  return fake_layout.replace_upstream(tmp_path, monkeypatch)


def use_mock(monkeypatch, examples):
  module = fake_layout.mock_module(examples)
  monkeypatch.setitem(sys.modules, "tfds_sdss.mock.render", module)
  monkeypatch.setattr(tfds_sdss.mock, "render", module, raising=False)


def build_demo(tmp_path, layout):
  return build.build("demo500", str(tmp_path / "data"), str(layout))


def test_mock_splits_by_hash(tmp_path, monkeypatch):
  examples = [fake_layout.example(OBJID + i) for i in range(30)]
  use_mock(monkeypatch, examples)
  config = sdss_metallicity_dataset_builder.Builder.builder_configs["mock"]
  monkeypatch.setattr(config, "num_examples", 24)
  sources = build.build("mock", str(tmp_path)).as_data_source(decoders=RAW)
  found = {
    example["objid"]: split
    for split, source in sources.items()
    for example in source
  }
  assert found == {OBJID + i: splits.split_of(OBJID + i) for i in range(24)}
  for example in sources["train"]:
    assert example["z"] == np.float32(0.1)
    assert example["fold"] == splits.fold_of(example["objid"])


def test_mock_galaxies_fit_the_features(tmp_path, monkeypatch):
  config = sdss_metallicity_dataset_builder.Builder.builder_configs["mock"]
  monkeypatch.setattr(config, "num_examples", 8)
  builder = build.build("mock", str(tmp_path))
  assert builder.info.splits.total_num_examples == 8
  example = builder.as_data_source("train")[0]
  names = {"image", "objid", "oh_p50", "fold", *population.FEATURES}
  assert set(example) == names
  # The other samples have not changed since 2.0.0.
  assert builder.version == "3.0.0"
  assert set(builder.release_notes) == {"3.0.0"}


def test_array_record_is_the_default(tmp_path):
  builder = tfds.builder("sdss_metallicity/demo500", data_dir=tmp_path)
  assert builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD


def test_metadata():
  metadata = sdss_metallicity_dataset_builder.Builder.get_metadata()
  assert set(metadata.tags) <= set(dataset_metadata.valid_tags())
  assert metadata.tags
  assert "1810.12913" in metadata.citation
  for name in ["fold", "image", *columns.BY_NAME, *population.FEATURES]:
    assert f"`{name}`" in metadata.description
  assert demo500.COMMIT in metadata.description


def test_unknown_sample():
  with pytest.raises(build.UnknownConfigError, match=r"mean sdss.*/demo500"):
    build.build("dem500")
  with pytest.raises(build.UnknownConfigError, match="sdss_metallicity/mock"):
    build.load("sdss_metallicity/xyz")


def test_older_version_can_be_loaded(tmp_path, layout):
  fake_layout.make_older(build_demo(tmp_path, layout).data_path)
  builder = build.load("demo500", str(tmp_path / "data"))
  assert builder.version == "1.0.0"
  assert len(builder.as_data_source("test")) == 4
  # The current version is built beside it.
  assert build_demo(tmp_path, layout).version > "1.0.0"


@pytest.mark.parametrize("pattern", ["*test.array*", "dataset_info.json", "*"])
def test_incomplete_folder_is_refused(tmp_path, layout, pattern):
  folder = build_demo(tmp_path, layout).data_path
  for path in folder.glob(pattern):
    path.unlink()
  for function in (build.load, build.build):
    with pytest.raises(build.DatasetNotBuiltError, match="Delete that folder"):
      function("demo500", str(tmp_path / "data"))


def test_data_dir_from_the_environment(tmp_path, monkeypatch, layout):
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
  built = build.build("demo500", manual_dir=str(layout))
  assert built.data_path == build.load("demo500").data_path
  assert built.data_path.is_relative_to(tmp_path / "data")


def test_stock_tfds_reads_without_this_project(tmp_path, monkeypatch):
  examples = [fake_layout.example(OBJID + i) for i in range(12)]
  use_mock(monkeypatch, examples)
  built = build.build("mock", str(tmp_path / "data"))
  script = """if True:
    import importlib.util, sys
    import tensorflow_datasets as tfds
    assert importlib.util.find_spec('tfds_sdss') is None
    named = tfds.data_source('sdss_metallicity/mock', data_dir=sys.argv[1])
    found = tfds.builder_from_directory(sys.argv[2]).as_data_source()
    for splits in (named, found):
      for split, source in splits.items():
        for example in source:
          assert example['image'].shape == (128, 128, 3)
          assert abs(example['oh_p50'] - 8.9) < 1e-6
          print(split, example['objid'])
    assert not {'tensorflow', 'jax'} & set(sys.modules)
  """
  environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
  read = subprocess.run(
    [sys.executable, "-c", script, tmp_path / "data", built.data_path],
    cwd=tmp_path,
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  assert read.returncode == 0, read.stderr
  expected = [
    f"{splits.split_of(OBJID + i)} {OBJID + i}" for i in range(12)
  ] * 2
  assert sorted(read.stdout.split("\n")[:-1]) == sorted(expected)
