"""The network that a config describes."""

import jax.numpy as jnp
import ml_collections

from galmet_jax import errors
from galmet_jax import models
from galmet_jax import xresnet

Network = models.ResNet | xresnet.XResNet


def from_config(config: ml_collections.ConfigDict, num_targets: int) -> Network:
  """Makes the network.

  Both kinds are called alike and have the top-level modules of
  `models.MODULES`.

  Args:
    config: the `model` block.
    num_targets: numbers that it predicts.

  Raises:
    ConfigError: for a network or block that does not exist.
  """
  if config.network == "xresnet":
    return xresnet.XResNet(
      stage_sizes=tuple(config.stage_sizes),
      width=config.width,
      num_targets=num_targets,
      dtype=jnp.dtype(config.dtype),
    )
  if config.network != "resnet":
    raise errors.ConfigError(
      f"model.network is {config.network!r}; expected resnet or xresnet."
    )
  if config.block not in models.BLOCKS:
    raise errors.ConfigError(
      f"model.block is {config.block!r}; expected one of "
      f"{sorted(models.BLOCKS)}."
    )
  return models.ResNet(
    stage_sizes=tuple(config.stage_sizes),
    block=models.BLOCKS[config.block],
    width=config.width,
    head_width=config.head_width,
    dropout_rates=tuple(config.dropout_rates),
    num_targets=num_targets,
    dtype=jnp.dtype(config.dtype),
  )
