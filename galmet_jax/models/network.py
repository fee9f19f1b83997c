"""The network that a config describes."""

from typing import Any

import jax.numpy as jnp
import ml_collections

from galmet_jax import errors
from galmet_jax.models import resnet
from galmet_jax.models import xresnet

Network = resnet.ResNet | xresnet.XResNet


def from_config(
  config: ml_collections.ConfigDict, num_targets: int, shards: int = 1
) -> Network:
  """Makes the network.

  Both kinds are called alike and have the top-level modules of
  `resnet.MODULES`.

  Args:
    config: the `model` block.
    num_targets: numbers that it predicts.
    shards: devices over which a batch is laid in training.

  Raises:
    ConfigError: for a network, block or batch_norm that does not exist.
  """
  if config.batch_norm not in ("global", "per_device"):
    raise errors.ConfigError(
      f"model.batch_norm is {config.batch_norm!r}; expected global or "
      "per_device."
    )
  alike: dict[str, Any] = {
    "stage_sizes": tuple(config.stage_sizes),
    "width": config.width,
    "num_targets": num_targets,
    "dtype": jnp.dtype(config.dtype),
    "shards": shards,
    "sync_batch_norm": config.batch_norm == "global",
  }
  if config.network == "xresnet":
    return xresnet.XResNet(**alike)
  if config.network != "resnet":
    raise errors.ConfigError(
      f"model.network is {config.network!r}; expected resnet or xresnet."
    )
  if config.block not in resnet.BLOCKS:
    raise errors.ConfigError(
      f"model.block is {config.block!r}; expected one of "
      f"{sorted(resnet.BLOCKS)}."
    )
  return resnet.ResNet(
    **alike,
    block=resnet.BLOCKS[config.block],
    head_width=config.head_width,
    dropout_rates=tuple(config.dropout_rates),
  )
