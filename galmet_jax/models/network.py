"""Builds the network that a config describes."""

import functools
from typing import Any

import jax.numpy as jnp
import ml_collections

from galmet_jax import errors
from galmet_jax.models import resnet
from galmet_jax.models import small
from galmet_jax.models import xresnet


def from_config(
  config: ml_collections.ConfigDict, num_targets: int, shards: int = 1
) -> resnet.ResNet:
  """Builds the network.

  Args:
    config: the `model` block.
    num_targets: number of predictions per image.
    shards: number of devices that share a training batch.

  Raises:
    ConfigError: for an unknown network, block or batch_norm.
  """
  _check("batch_norm", config.batch_norm, ("global", "per_device", "frozen"))
  _check("network", config.network, ("resnet", "small", "xresnet"))
  _check("block", config.block, tuple(resnet.BLOCKS))
  shared: dict[str, Any] = {
    "stage_sizes": tuple(config.stage_sizes),
    "width": config.width,
    "num_targets": num_targets,
    "dtype": jnp.dtype(config.dtype),
    "shards": shards,
    "sync_batch_norm": config.batch_norm == "global",
    "freeze_batch_norm": config.batch_norm == "frozen",
  }
  if config.network == "xresnet":
    return xresnet.xresnet34(**shared)
  if config.network == "small":
    shared["stem"] = small.Stem
  return resnet.ResNet(
    **shared,
    block=resnet.BLOCKS[config.block],
    head=functools.partial(
      resnet.Head,
      width=config.head_width,
      dropout_rates=tuple(config.dropout_rates),
    ),
  )


def _check(field: str, value: str, expected: tuple[str, ...]) -> None:
  if value not in expected:
    raise errors.ConfigError(
      f"model.{field} is {value!r}; expected {' or '.join(expected)}. Change "
      f"--config.model.{field}."
    )
