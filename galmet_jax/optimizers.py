"""Layer groups and the optimiser of a phase.

A layer group is a set of the network's top-level modules. Frozen groups are
left out of what the optimiser sees, so that neither their gradients nor their
momenta exist.
"""

from collections.abc import Mapping
from typing import Any

import jax
import ml_collections
import optax

from galmet_jax import errors
from galmet_jax import schedules


def group_of_module(
  groups: Mapping[str, tuple[str, ...]], modules: tuple[str, ...]
) -> dict[str, str]:
  """Inverts the config's groups: module -> layer group.

  Args:
    groups: layer group -> top-level modules (`optim.groups`).
    modules: the network's top-level modules.

  Returns:
    For each module its group, in the order of `modules`.

  Raises:
    ConfigError: unless each module stands in exactly one group and each group
      holds a module that exists. (`optax.multi_transform` lets both pass.)
  """
  listed = [module for group in groups.values() for module in group]
  if sorted(listed) != sorted(modules) or not all(groups.values()):
    raise errors.ConfigError(
      f"optim.groups is {dict(groups)}; expected each of {modules} in exactly "
      "one group, and no empty group."
    )
  group_of = {module: group for group in groups for module in groups[group]}
  return {module: group_of[module] for module in modules}


def split(
  params: Mapping[str, Any],
  groups: Mapping[str, tuple[str, ...]],
  frozen: tuple[str, ...],
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Parts the parameters into (trained, frozen) top-level modules."""
  group_of = group_of_module(groups, tuple(params))
  trained = {m: p for m, p in params.items() if group_of[m] not in frozen}
  rest = {m: p for m, p in params.items() if group_of[m] in frozen}
  return trained, rest


def make_optimizer(
  config: ml_collections.ConfigDict, phase: schedules.Phase
) -> optax.GradientTransformation:
  """Makes the optimiser of one phase, with a rate per layer group.

  Args:
    config: the `optim` block: `optimizer` 'sgd' (with `momentum`; weight
      decay is L2, added to the gradient before the momentum as torch does) or
      'adamw' (`momentum` is its first decay rate; weight decay is decoupled),
      `weight_decay`, `groups`.
    phase: supplies the rates of its trained groups.

  Returns:
    A transformation of the trained part of `split`'s parameters.

  Raises:
    ConfigError: for an optimiser that does not exist.
  """
  momentum, decay = config.momentum, config.weight_decay

  def of_rate(rate):
    if config.optimizer == "sgd":
      return optax.chain(
        optax.add_decayed_weights(decay), optax.sgd(rate, momentum=momentum)
      )
    if config.optimizer == "adamw":
      return optax.adamw(rate, b1=momentum, weight_decay=decay)
    raise errors.ConfigError(
      f"optim.optimizer is {config.optimizer!r}; expected sgd or adamw."
    )

  def labels(params):
    group_of = {m: g for g, ms in config.groups.items() for m in ms}
    return {
      module: jax.tree.map(lambda _, m=module: group_of[m], tree)
      for module, tree in params.items()
    }

  return optax.multi_transform(
    {group: of_rate(rate) for group, rate in phase.rates.items()}, labels
  )
