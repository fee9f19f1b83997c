"""The network that a config describes."""

import jax.numpy as jnp
import pytest

from configs import resnet34
from galmet_jax import errors
from galmet_jax.models import network
from galmet_jax.models import resnet
from galmet_jax.models import xresnet


def test_config_describes_the_network():
  config = resnet34.get_config().model
  model = network.from_config(config, 3)
  assert model.head.func is resnet.Head
  assert model.head.keywords == {"width": 512, "dropout_rates": (0.25, 0.5)}
  assert model == resnet.ResNet(
    stage_sizes=(3, 4, 6, 3),
    block=resnet.BasicBlock,
    head=model.head,
    width=64,
    num_targets=3,
    dtype=jnp.dtype("bfloat16"),
  )
  config.block = "bottleneck"
  assert network.from_config(config, 1).block is resnet.BottleneckBlock
  config.network = "xresnet"
  config.stage_sizes = (1, 2)
  expected = xresnet.xresnet34(stage_sizes=(1, 2), dtype=jnp.dtype("bfloat16"))
  assert network.from_config(config, 1) == expected


def test_statistics_per_device():
  config = resnet34.get_config().model
  assert network.from_config(config, 1, shards=4).sync_batch_norm
  config.batch_norm = "per_device"
  model = network.from_config(config, 1, shards=4)
  assert (model.shards, model.sync_batch_norm) == (4, False)


@pytest.mark.parametrize(
  ("field", "message"),
  [
    ("network", "model.network is 'other'; expected resnet or small or xr"),
    ("block", "model.block is 'other'; expected basic or bottleneck"),
    ("batch_norm", "model.batch_norm is 'other'; expected global or per_dev"),
  ],
)
def test_unknown_parts(field, message):
  config = resnet34.get_config().model
  config[field] = "other"
  with pytest.raises(errors.ConfigError, match=message):
    network.from_config(config, 1)
