"""Checks of a config that need neither data nor devices."""

from collections.abc import Callable
from collections.abc import Mapping
import math
from typing import Any

import ml_collections

from galmet_jax import errors
from galmet_jax import optimizers
from galmet_jax import train_step
from galmet_jax.data import augment
from galmet_jax.data import placement
from galmet_jax.data import splits
from galmet_jax.models import network
from galmet_jax.models import resnet
from tfds_sdss import files

# What is wrong with a value is found before the first step, for all of a
# recipe's steps.
_MANY_STEPS = 1_000_000


def _is_int(low: int, high: float = math.inf) -> Callable[[Any], bool]:
  return lambda x: type(x) is int and low <= x <= high


def _is_number(low: float, high: float = math.inf) -> Callable[[Any], bool]:
  return lambda x: (
    isinstance(x, (int, float)) and math.isfinite(x) and low <= x <= high
  )


def _is_one_of(*choices: str) -> tuple[Callable[[Any], bool], str]:
  return lambda x: x in choices, f"{', '.join(choices[:-1])} or {choices[-1]}"


def _each(check: Callable[[Any], bool], length: int) -> Callable[[Any], bool]:
  return lambda x: (
    isinstance(x, (tuple, list)) and len(x) == length and all(map(check, x))
  )


def _is_fraction(x: Any) -> bool:
  return _is_number(0, 1)(x) and x < 1


def _are_names(x: Any) -> bool:
  return (
    isinstance(x, (tuple, list))
    and len(x) > 0
    and len(set(x)) == len(x)
    and all(isinstance(name, str) for name in x)
  )


_SPLITS = ("train", "validation", "test")
_POSITIVE = (_is_int(1), "an integer from 1")
_BOOL = (lambda x: isinstance(x, bool), "True or False")
_PROBABILITY = (_is_number(0, 1), "a number from 0 to 1")
_NOT_NEGATIVE = (_is_number(0), "a finite number from 0")
_DECAY = (_is_fraction, "a number from 0 to below 1")
# {field: (test, what is expected)}
_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
  "seed": (_is_int(0, 2**32 - 1), "an integer from 0 to 4294967295"),
  "data.targets": (_are_names, "a tuple of different columns"),
  "data.name": (lambda x: isinstance(x, str), "the name of a data set"),
  "data.bands": (_each(lambda x: x in augment.BANDS, 3), "three of i, r and g"),
  "data.crop": _POSITIVE,
  "data.num_folds": (lambda x: x in (2, 5, 10), "2, 5 or 10"),
  "data.placement": _is_one_of(*placement.KINDS),
  "data.control": _is_one_of(*splits.CONTROLS),
  "model.stage_sizes": (_each(_is_int(1), 4), "four integers from 1"),
  "model.width": _POSITIVE,
  "model.head_width": _POSITIVE,
  "model.dropout_rates": (_each(_is_fraction, 2), "two numbers in [0, 1)"),
  "model.dtype": _is_one_of("float32", "bfloat16", "float16"),
  "augment.max_zoom": (_is_number(1), "a number from 1"),
  "augment.zoom_probability": _PROBABILITY,
  "augment.max_rotation": (_is_number(0, 180), "degrees from 0 to 180"),
  "augment.rotation_probability": _PROBABILITY,
  "augment.symmetries": _BOOL,
  "augment.lighting": _PROBABILITY,
  "optim.loss": _is_one_of(*train_step.LOSSES),
  "optim.huber_delta": (lambda x: _is_number(0)(x) and x > 0, "above 0"),
  "optim.momentum": _DECAY,
  "optim.weight_decay": _NOT_NEGATIVE,
  "optim.phases": (_are_names, "a tuple of different phases"),
  "train.batch_size": _POSITIVE,
  "train.views_per_image": _POSITIVE,
  "train.log_every_steps": _POSITIVE,
  "train.checkpoint_every_steps": _POSITIVE,
  "eval.batch_size": _POSITIVE,
  "eval.splits": (
    lambda x: _are_names(x) and set(x) <= set(_SPLITS),
    f"a tuple of some of {', '.join(_SPLITS)}, such as ('test',)",
  ),
  "eval.tta": _is_one_of(*augment.TTA),
  "eval.figures": _BOOL,
  "eval.gp_svr_weight": _PROBABILITY,
  "eval.checkpoint": _is_one_of("latest", "best"),
  "eval.bootstrap_draws": _POSITIVE,
}
# Fields that may be None.
_OPTIONAL: dict[str, tuple[Callable[[Any], bool], str]] = {
  "data.resolution": _POSITIVE,
  "data.fold": (_is_int(0), "an integer from 0, or None"),
  "data.num_train": (_is_int(1), "an integer from 1, or None"),
}
# Fields of the phases, by schedule.
_EPOCHS = {"epochs": _POSITIVE}
_SCHEDULES: dict[str, dict[str, tuple[Callable[[Any], bool], str]]] = {
  "constant": _EPOCHS,
  "sgdr": {
    "cycles": _POSITIVE,
    "cycle_len": _POSITIVE,
    "cycle_mult": _POSITIVE,
    "slow_start": _PROBABILITY,
  },
  "one_cycle": {
    **_EPOCHS,
    "rise": _PROBABILITY,
    "anneal": _PROBABILITY,
    "start_ratio": (_is_number(1), "a number from 1"),
    "end_ratio": (_is_number(1), "a number from 1"),
    "momenta": (_each(_is_fraction, 2), "two numbers in [0, 1)"),
  },
}
_PATHS = ("cache_dir", "data.data_dir", "data.manual_dir", "model.pretrained")


def check(config: ml_collections.ConfigDict) -> None:
  """Checks all that can be checked without data and devices.

  Raises:
    ConfigError: for the first field that is invalid; names it.
    PathError: if a path is a URL.
  """
  fields = config.to_dict()
  for name, (test, expected) in _FIELDS.items():
    _check(name, _get(fields, name), test, expected)
  for name, (test, expected) in _OPTIONAL.items():
    if _get(fields, name) is not None:
      _check(name, _get(fields, name), test, expected)
  for name in _PATHS:
    path = _get(fields, name)
    if path and not path.startswith("timm:"):
      files.local_path(path.removeprefix("run:"), f"--config.{name}")
  for name in config.optim.phases:
    _check_phase(name, config.optim)
  if config.data.fold is not None:
    splits.check_fold(config.data.fold, config.data.num_folds)
  optimizers.group_of_module(config.optim.groups, resnet.MODULES)
  optimizers.make_phases(config.optim, _MANY_STEPS)
  augment.make_frame(config.data)
  augment.make_frame(config.data, config.eval.bands)
  network.from_config(config.model, len(config.data.targets))


def _check_phase(name: str, config: ml_collections.ConfigDict) -> None:
  block = config.get(name)
  if not isinstance(block, ml_collections.ConfigDict) or "rates" not in block:
    raise errors.ConfigError(
      f"optim.phases is {tuple(config.phases)}; expected names of blocks of "
      f"optim with rates, found none called {name}. Change "
      "--config.optim.phases."
    )
  fields = {"optim": {name: block.to_dict()}}
  for field, (test, expected) in _SCHEDULES.get(block.schedule, {}).items():
    field = f"optim.{name}.{field}"
    _check(field, _get(fields, field), test, expected)
  for group, rate in block.rates.items():
    _check(f"optim.{name}.rates.{group}", rate, *_NOT_NEGATIVE)
  is_valid = isinstance(block.frozen, (tuple, list))
  if not is_valid or set(block.frozen) >= set(config.groups):
    raise errors.ConfigError(
      f"optim.{name}.frozen is {block.frozen}; expected a tuple of some layer "
      f"groups, not of all. Change --config.optim.{name}.frozen."
    )


def _get(fields: Mapping[str, Any], name: str) -> Any:
  for part in name.split("."):
    if part not in fields:
      raise errors.ConfigError(
        f"the config has no field {name}; expected all fields of "
        "configs/resnet34.py. Start from its get_config()."
      )
    fields = fields[part]
  return fields


def _check(
  name: str, value: Any, test: Callable[[Any], bool], expected: str
) -> None:
  if not test(value):
    raise errors.ConfigError(
      f"{name} is {value!r}; expected {expected}. Change --config.{name}."
    )
