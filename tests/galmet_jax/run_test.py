"""Checks of the config before training."""

import json

import pytest

from galmet_jax import errors
from galmet_jax import train
from galmet_jax.run import Run
from tests import shrunk


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
