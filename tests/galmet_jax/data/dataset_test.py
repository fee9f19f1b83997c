"""Values of a config that depend on its data set."""

import ml_collections
import pytest

from configs import custom
from configs import quickstart
from galmet_jax import config_checks
from galmet_jax import errors
from galmet_jax.data import dataset
from tests.tfds_sdss.own import own_galaxies
from tfds_sdss import prepare


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("own")
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr("tfds_sdss.quality.plot", lambda *_: None)
    own_galaxies.write(folder)
    assert own_galaxies.run(folder) == 0
  return folder


def config_of(folder, sample="mine", **fields) -> ml_collections.ConfigDict:
  config = custom.get_config(sample)
  config.data.data_dir = str(folder / "data")
  config.data.update(fields)
  config.lock()
  return config


def test_label_and_image_size_are_those_of_the_sample(folder):
  config = config_of(folder)

  resolved = dataset.resolve(config)

  assert tuple(resolved.data.targets) == ("logm",)
  assert resolved.data.crop == own_galaxies.SIZE
  assert config.data.crop is None
  config_checks.check(resolved)


def test_given_values_stay(folder):
  data = dataset.resolve(config_of(folder, crop=20)).data
  assert (data.crop, tuple(data.targets)) == (20, ("logm",))
  data = dataset.resolve(config_of(folder, targets=("count",))).data
  assert (data.crop, tuple(data.targets)) == (24, ("count",))


def test_config_with_both_needs_no_data_set(tmp_path):
  config = quickstart.get_config()
  config.data.data_dir = str(tmp_path / "absent")
  assert dataset.resolve(config) is config
  assert not (tmp_path / "absent").exists()


def test_name_is_missing(folder, tmp_path):
  with pytest.raises(errors.ConfigError) as error:
    dataset.resolve(config_of(folder, ""))
  assert f"{folder / 'data'} has mine: python main.py" in str(error.value)
  assert "--config=configs/custom.py:mine" in str(error.value)

  with pytest.raises(errors.ConfigError) as error:
    dataset.resolve(config_of(tmp_path, ""))
  assert "has none of your own. Build one: python -m" in str(error.value)
  assert "\n" not in str(error.value)


def test_unknown_sample(folder):
  with pytest.raises(prepare.UnknownConfigError) as error:
    dataset.resolve(config_of(folder, "mien"))
  message = str(error.value)
  assert f"unknown sample 'mien' in {folder / 'data'}, expected" in message
  assert "Did you mean sdss_metallicity/mine?" in message
  assert "\n" not in message
