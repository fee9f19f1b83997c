"""Invalid fields are named before anything is read or trained."""

import pathlib

import ml_collections
import pytest

from configs import demo500
from configs import quickstart
from configs import reproduce
from configs import reproduce_demo500
from configs import reproduce_mock
from configs import resnet34
from configs import zenodo
from galmet_jax import config_checks
from galmet_jax import errors
from galmet_jax import train
from galmet_jax.paper import systems
from tests import shrunk
from tfds_sdss import files


def changed(**changes) -> ml_collections.ConfigDict:
  config = resnet34.get_config()
  config.update_from_flattened_dict(
    {name.replace("__", "."): value for name, value in changes.items()}
  )
  return config


@pytest.mark.parametrize(
  "config",
  [
    *map(resnet34.get_config, resnet34.VARIANTS),
    zenodo.get_config(),
    quickstart.get_config(),
    demo500.get_config(),
  ],
)
def test_configs_are_valid(config):
  config_checks.check(config)


@pytest.mark.parametrize(
  "module", [reproduce, reproduce_demo500, reproduce_mock]
)
def test_systems_are_valid(module):
  runs = pathlib.Path("runs")
  configs = systems.configs_of(module.get_config(), runs)
  for config in configs.values():
    config_checks.check(config)


NAN = float("nan")


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("seed", -1),
    ("seed", 2**32),
    ("data.targets", ()),
    ("data.targets", ("oh_p50", "oh_p50")),
    ("data.name", None),
    ("data.bands", None),
    ("data.crop", 0),
    ("data.crop", None),
    ("data.crop", -128),
    ("data.resolution", 0),
    ("data.resolution", 127),
    ("data.bands", ("r",)),
    ("data.bands", ("u", "g", "r")),
    ("data.fold", -1),
    ("data.fold", 5),
    ("data.num_folds", 0),
    ("data.num_folds", 1),
    ("data.num_folds", 3),
    ("data.num_train", 0),
    ("data.num_train", -5),
    ("data.placement", "gpu"),
    ("data.control", "shuffled"),
    ("model.network", "resnet35"),
    ("model.block", "botleneck"),
    ("model.batch_norm", "none"),
    ("model.stage_sizes", (3, 4, 6)),
    ("model.stage_sizes", (3, 4, 6, 0)),
    ("model.width", 0),
    ("model.head_width", -1),
    ("model.dropout_rates", (0.5,)),
    ("model.dropout_rates", (0.5, 1.0)),
    ("model.dropout_rates", (-0.1, 0.5)),
    ("model.dropout_rates", (NAN, 0.5)),
    ("model.dtype", "fp32"),
    ("model.dtype", "int8"),
    ("augment.max_zoom", 0.5),
    ("augment.max_zoom", NAN),
    ("augment.zoom_probability", 1.5),
    ("augment.max_rotation", -1.0),
    ("augment.rotation_probability", -0.1),
    ("augment.lighting", 2.0),
    ("optim.loss", "rsme"),
    ("optim.huber_delta", 0.0),
    ("optim.optimizer", "adam"),
    ("optim.momentum", 1.0),
    ("optim.weight_decay", -1e-4),
    ("optim.weight_decay", float("inf")),
    ("optim.phases", ()),
    ("optim.phases", ("all_sgdr", "all_sgdr")),
    ("optim.phases", ("sgdr",)),
    ("optim.phases", ("groups",)),
    ("optim.all_sgdr.schedule", "cosine"),
    ("optim.all_sgdr.cycles", 0),
    ("optim.all_sgdr.cycle_len", 0),
    ("optim.all_sgdr.cycle_mult", 0),
    ("optim.all_sgdr.slow_start", 1.5),
    ("optim.all_sgdr.frozen", ("early", "late", "head")),
    ("optim.all_sgdr.frozen", None),
    ("optim.all_sgdr.rates.head", -0.1),
    ("optim.all_sgdr.rates.head", NAN),
    ("optim.head_only.epochs", 0),
    ("train.batch_size", 0),
    ("train.views_per_image", 0),
    ("train.log_every_steps", 0),
    ("train.checkpoint_every_steps", 0),
    ("eval.batch_size", 0),
    ("eval.batch_size", -8),
    ("eval.splits", ()),
    ("eval.splits", ("tset",)),
    ("eval.splits", ("test", "test")),
    ("eval.tta", "dihederal"),
    ("eval.checkpoint", "lastest"),
    ("eval.bands", ("i", "r")),
    ("eval.bands", ("i", "r", "z")),
    ("eval.bootstrap_draws", 0),
  ],
)
def test_invalid_field_is_named_in_one_line(name, value):
  with pytest.raises(errors.ConfigError, match=f"^{name} is") as error:
    config_checks.check(changed(**{name: value}))
  assert "expected" in str(error.value)
  assert "Change --config." in str(error.value)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("rise", 0.0),
    ("anneal", 1.0),
    ("shape", "square"),
    ("start_ratio", 0.0),
    ("end_ratio", NAN),
    ("momenta", (0.95,)),
    ("momenta", (0.95, 1.0)),
    ("epochs", 0),
  ],
)
def test_invalid_cycle(field, value):
  config = resnet34.get_config("one_cycle")
  config.optim.cycle[field] = value
  with pytest.raises(errors.ConfigError, match=field):
    config_checks.check(config)


@pytest.mark.parametrize(
  "name", ["cache_dir", "data.data_dir", "data.manual_dir", "model.pretrained"]
)
def test_urls_are_no_paths(name):
  with pytest.raises(files.PathError, match=f"--config.{name}=gs://a/b"):
    config_checks.check(changed(**{name: "gs://a/b"}))


@pytest.mark.parametrize("name", ["seed", "eval.tta", "optim.all_sgdr.cycles"])
def test_config_without_a_field(name):
  config = resnet34.get_config()
  *blocks, field = name.split(".")
  block = config
  for part in blocks:
    block = block[part]
  with config.unlocked():
    del block[field]
  with pytest.raises(errors.ConfigError, match=f"no field {name}; expected"):
    config_checks.check(config)


def test_nothing_is_written(tmp_path):
  config = shrunk.config(tmp_path / "data", eval__tta="dihederal")
  with pytest.raises(errors.ConfigError, match="is 'dihederal'"):
    train.train_and_evaluate(config, tmp_path / "w")
  assert not list(tmp_path.iterdir())
