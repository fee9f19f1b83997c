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
from tfds_sdss.mock import population
from tfds_sdss.mock import render
from tfds_sdss.sdss_metallicity import demo500
from tfds_sdss.sdss_metallicity import sdss_metallicity_dataset_builder

REPOSITORY = pathlib.Path(__file__).parents[3]
RAW = {"image": tfds.decode.SkipDecoding()}


@pytest.fixture
def mock(mock_data_dir):
  return build.load("mock", str(mock_data_dir))


def build_demo(tmp_path, layout):
  return build.build("demo500", str(tmp_path / "data"), str(layout))


def test_mock_galaxies_are_generated_and_split_by_hash(mock):
  found = {}
  for split, source in mock.as_data_source(decoders=RAW).items():
    for example in source:
      objid = example["objid"]
      found[objid] = example
      assert split == splits.split_of(objid)
      assert example.pop("fold") == splits.fold_of(objid)
  assert len(found) == 120
  for expected in render.generate(5, processes=1):
    expected["oh_p50"] = np.float32(expected["oh_p50"])
    assert found[expected["objid"]] == expected
  # The version of a sample with changes of its own.
  assert mock.version == "3.0.0"
  assert set(mock.release_notes) == {"3.0.0"}


def test_galaxies_to_pre_train_have_derived_columns(tmp_path, monkeypatch):
  config = sdss_metallicity_dataset_builder.Builder.builder_configs[
    "mock_pretrain"
  ]
  monkeypatch.setattr(config, "num_examples", 40)
  builder = build.build("mock_pretrain", str(tmp_path))
  source = builder.as_data_source(decoders=RAW)
  rows = [row for split in source.values() for row in split]
  assert len(rows) == 40
  for row in rows:
    expected = {
      "log_r90": np.log10(row["petroR90_r"]),
      "log_z": np.log10(row["z"]),
      "colour_gr": row["modelMag_g"] - row["modelMag_r"],
      "colour_ri": row["modelMag_r"] - row["modelMag_i"],
      "cos_inclination": np.cos(np.radians(row["inclination"])),
    }
    assert set(expected) == set(population.DERIVED)
    for name, value in expected.items():
      np.testing.assert_allclose(row[name], value, rtol=1e-4, atol=1e-5)
  # No galaxy of `mock`.
  first = population.draw(0, np.arange(2_000))["objid"]
  assert not set(first.tolist()) & {row["objid"] for row in rows}


def test_metadata_are_complete():
  metadata = sdss_metallicity_dataset_builder.Builder.get_metadata()
  assert set(metadata.tags) <= set(dataset_metadata.valid_tags())
  assert metadata.tags
  assert "1810.12913" in metadata.citation
  mock = [*population.FEATURES, *population.DERIVED]
  for name in ["fold", "image", *columns.BY_NAME, *mock]:
    assert f"`{name}`" in metadata.description
  assert demo500.COMMIT in metadata.description


def test_unknown_sample_suggests_a_name():
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


def test_data_dir_defaults_to_the_environment(tmp_path, monkeypatch, layout):
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
  built = build.build("demo500", manual_dir=str(layout))
  assert built.data_path == build.load("demo500").data_path
  assert built.data_path.is_relative_to(tmp_path / "data")


def test_stock_tfds_reads_without_this_project(tmp_path, mock, mock_data_dir):
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
          print(split, example['objid'], float(example['oh_p50']))
    assert not {'tensorflow', 'jax'} & set(sys.modules)
  """
  environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
  read = subprocess.run(
    [sys.executable, "-c", script, mock_data_dir, mock.data_path],
    cwd=tmp_path,
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  assert read.returncode == 0, read.stderr
  expected = [
    f"{split} {example['objid']} {float(example['oh_p50'])}"
    for split, source in mock.as_data_source(decoders=RAW).items()
    for example in source
  ]
  assert read.stdout.splitlines() == 2 * expected
