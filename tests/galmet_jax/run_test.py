"""Checks of the config before training."""

import json
import shutil

import numpy as np
import pytest

from galmet_jax import errors
from galmet_jax import train
from galmet_jax.data import dataset
from galmet_jax.data import splits
from galmet_jax.run import Run
from tests import shrunk
from tfds_sdss.errors import DataError


def test_config_may_change_before_the_first_checkpoint(mock_data_dir, tmp_path):
  Run.prepare(shrunk.config(mock_data_dir), tmp_path)
  Run.prepare(shrunk.config(mock_data_dir, optim__weight_decay=0.5), tmp_path)
  written = json.loads((tmp_path / "config.json").read_text())
  assert written["optim"]["weight_decay"] == 0.5


def test_batch_must_divide_over_the_devices(mock_data_dir, tmp_path):
  config = shrunk.config(mock_data_dir, train__batch_size=18)
  with pytest.raises(
    errors.ConfigError, match=r"train\.batch_size=18 does not divide"
  ):
    train.train_and_evaluate(config, tmp_path)


def test_unknown_block_is_refused(mock_data_dir, tmp_path):
  config = shrunk.config(mock_data_dir, model__block="botleneck")
  with pytest.raises(errors.ConfigError, match="'botleneck'; expected basic"):
    train.train_and_evaluate(config, tmp_path)


def test_missing_data_set_names_the_commands(tmp_path):
  config = shrunk.config(tmp_path, data__name="sdss_metallicity/dr17")
  with pytest.raises(FileNotFoundError, match="python -m tfds_sdss fetch"):
    train.train_and_evaluate(config, tmp_path / "w")
  assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("folder", ["", "figures"])
@pytest.mark.parametrize("kind", ["file", "link to nothing"])
def test_folder_that_cannot_be_written_is_found_before_training(
  mock_data_dir, tmp_path, monkeypatch, folder, kind
):
  monkeypatch.setattr(train, "_train_phase", None)
  path = tmp_path / "w" / folder
  path.parent.mkdir(exist_ok=True)
  if kind == "file":
    path.write_text("not a folder")
  else:
    path.symlink_to(tmp_path / "absent" / "x")
  with pytest.raises((errors.ConfigError, OSError), match="w"):
    train.train_and_evaluate(shrunk.config(mock_data_dir), tmp_path / "w")


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"train__batch_size": 96, "data__fold": 0}, "batch_size is 96; expected"),
    (
      {"data__num_train": 96, "data__fold": 0},
      "num_train is 96; expected 1 to",
    ),
    ({"data__num_train": 900}, "num_train is 900; expected 1 to"),
    ({"train__batch_size": 900}, "batch_size is 900; expected at most"),
  ],
)
def test_sizes_of_all_folds_are_checked(mock_data_dir, changes, message):
  config = shrunk.config(mock_data_dir, **changes)
  with pytest.raises(errors.ConfigError, match=message):
    dataset.load(config)


def test_shard_of_another_data_set_is_noticed(mock_data_dir, tmp_path):
  shutil.copytree(mock_data_dir, tmp_path / "copy")
  config = shrunk.config(tmp_path / "copy")
  train, test = (
    next((tmp_path / "copy").rglob(f"*{name}.array_record*"))
    for name in ("train", "test")
  )
  test.write_bytes(train.read_bytes())
  with pytest.raises(
    DataError, match=rf"{test.name} is damaged.*verify sdss_metallicity/mock"
  ):
    dataset.read(config)


def test_empty_folds_are_refused(mock_data_dir):
  config = shrunk.config(mock_data_dir)
  data = dataset.read(config)
  few = {
    name: splits.take(split, np.flatnonzero(split.columns["fold"] != 3))
    for name, split in data.items()
  }
  config.data.num_folds = 10
  with pytest.raises(
    errors.ConfigError, match=r"galaxies in each fold, .*, 0,"
  ):
    dataset.check_sizes(few, config, in_folds=True)


@pytest.mark.parametrize("control", ["none", "shuffled_pixels"])
@pytest.mark.parametrize(
  ("changes", "in_folds", "message"),
  [
    ({"data__num_train": 20}, False, "some of the 20 training galaxies, found"),
    ({}, True, r"galaxies outside fold 2, found it for none.*data\.targets"),
    ({"data__fold": 2}, False, "outside fold 2, found"),
  ],
)
def test_training_set_without_a_target_is_refused(
  mock_data_dir, changes, in_folds, message, control
):
  targets = ("oh_p50", "lgm_tot_p50")
  config = shrunk.config(
    mock_data_dir, data__targets=targets, data__control=control, **changes
  )
  data = dataset.read(config)
  sample = splits.apply_splits(data, config.data, config.seed)["train"]
  for split in data.values():
    lacking = split.columns["fold"] != 2
    if config.data.num_train:
      lacking = np.isin(split.objid, sample.objid)
    split.columns["lgm_tot_p50"][lacking] = np.nan
  with pytest.raises(errors.ConfigError, match=message):
    dataset.check_sizes(data, config, in_folds=in_folds)


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_system_without_a_target_in_a_split_is_refused(mock_data_dir, name):
  data = dataset.read(shrunk.config(mock_data_dir))
  data[name].columns["lgm_tot_p50"][:] = np.nan
  config = shrunk.config(mock_data_dir, data__targets=("oh_p50", "lgm_tot_p50"))
  with pytest.raises(
    errors.ConfigError, match=f"has lgm_tot_p50; .* split '{name}', found"
  ):
    dataset.check_sizes(data, config, in_folds=False)


def test_system_with_an_unknown_target_is_refused(mock_data_dir):
  data = dataset.read(shrunk.config(mock_data_dir))
  config = shrunk.config(mock_data_dir, data__targets=("oh_p50", "mass"))
  with pytest.raises(
    errors.ConfigError, match=r"has mass; expected some of .*lgm_tot_p50"
  ):
    dataset.check_sizes(data, config, in_folds=False)
