"""Layer groups, and the update rules against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import resnet34
from galmet_jax import models
from galmet_jax import optimizers
from galmet_jax import schedules
from galmet_jax import train_state

SHAPES = {
  "stem": {"conv": {"kernel": (3, 2)}},
  "stage1": {"bn": {"scale": (2,), "bias": (2,)}},
  "stage2": {"kernel": (4,)},
  "head": {"dense": {"kernel": (2, 3), "bias": (3,)}},
}
GROUPS = {"early": ("stem", "stage1"), "late": ("stage2",), "head": ("head",)}


def draw(rng):
  return jax.tree.map(
    lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32),
    SHAPES,
    is_leaf=lambda x: isinstance(x, tuple),
  )


def config_of(optimizer, weight_decay):
  config = resnet34.get_config().optim
  config.optimizer = optimizer
  config.weight_decay = weight_decay
  config.groups = GROUPS
  return config


# Rates that change from step to step.
RATES = {
  "early": lambda step: 0.01 * (1 + step),
  "late": lambda step: 0.1 / (1 + step),
  "head": lambda step: 0.5 + 0.25 * step,
}


def phase_of(frozen=()):
  rates = {group: RATES[group] for group in GROUPS if group not in frozen}
  return schedules.Phase("p", 0, 9, frozen, rates)


def updated(config, gradients, params):
  """Takes the gradients' steps with the optimiser; returns the parameters."""
  tx = optimizers.make_optimizer(config, phase_of())
  state = tx.init(params)
  update = jax.jit(tx.update)
  for gradient in gradients:
    updates, state = update(gradient, state, params)
    params = optax.apply_updates(params, updates)
  return params


def compare(found, gradients, params, rule):
  """Checks every leaf against `rule` (leaf, gradients, rate) in float64."""
  for group, modules in GROUPS.items():
    for module in modules:
      leaves = [
        [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree)]
        for tree in (
          params[module],
          found[module],
          *(gradient[module] for gradient in gradients),
        )
      ]
      for start, end, *steps in zip(*leaves, strict=True):
        expected = rule(start, steps, RATES[group])
        np.testing.assert_allclose(end, expected, rtol=2e-5, atol=1e-6)


@pytest.fixture
def sample():
  rng = np.random.default_rng(0)
  return draw(rng), [draw(rng) for _ in range(3)]


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_sgd_is_torchs(sample, decay):
  params, gradients = sample

  def torch_sgd(p, steps, rate):
    velocity = 0
    for t, gradient in enumerate(steps):
      velocity = 0.9 * velocity + (gradient + decay * p)
      p = p - rate(t) * velocity
    return p

  found = updated(config_of("sgd", decay), gradients, params)
  compare(found, gradients, params, torch_sgd)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adamw(sample, decay):
  params, gradients = sample

  def adamw(p, steps, rate):
    mean, square = 0, 0
    for t, gradient in enumerate(steps):
      mean = 0.9 * mean + 0.1 * gradient
      square = 0.999 * square + 0.001 * gradient**2
      unbiased = mean / (1 - 0.9 ** (t + 1))
      scale = np.sqrt(square / (1 - 0.999 ** (t + 1))) + 1e-8
      p = p - rate(t) * (unbiased / scale + decay * p)
    return p

  found = updated(config_of("adamw", decay), gradients, params)
  compare(found, gradients, params, adamw)


def test_unknown_optimizer():
  with pytest.raises(ValueError, match="'adam'; expected sgd or adamw"):
    optimizers.make_optimizer(config_of("adam", 0.0), phase_of())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_frozen_groups_have_no_optimiser_state(sample, optimizer):
  params, _ = sample
  config = config_of(optimizer, 0.1)
  state = train_state.TrainState(jnp.zeros((), int), params, {}, None)
  state = train_state.start_phase(state, config, phase_of(("early", "late")))
  shapes = [leaf.shape for leaf in jax.tree.leaves(state.opt_state)]
  moments = sorted(shape for shape in shapes if shape)
  each = 1 if optimizer == "sgd" else 2
  assert moments == sorted([(2, 3), (3,)] * each)
  whole = train_state.start_phase(state, config, phase_of())
  leaves = [x for x in jax.tree.leaves(whole.opt_state) if x.ndim]
  assert len(leaves) == each * len(jax.tree.leaves(params))
  assert not any(leaf.any() for leaf in leaves)


def test_split_parts_the_modules(sample):
  params, _ = sample
  trained, frozen = optimizers.split(params, GROUPS, ("early",))
  assert set(trained) == {"stage2", "head"}
  assert set(frozen) == {"stem", "stage1"}
  assert frozen["stem"] is params["stem"]
  assert optimizers.split(params, GROUPS, ())[1] == {}


def test_groups_of_the_config_cover_the_network():
  groups = resnet34.get_config().optim.groups
  assert optimizers.group_of_module(groups, models.MODULES) == {
    "stem": "early",
    "stage1": "early",
    "stage2": "early",
    "stage3": "late",
    "stage4": "late",
    "head": "head",
  }


@pytest.mark.parametrize(
  "groups",
  [
    {"early": ("stem", "stage1"), "head": ("head",)},
    {**GROUPS, "late": ("stage2", "stem")},
    {**GROUPS, "more": ()},
    {**GROUPS, "late": ("stage2", "stage9")},
    {**GROUPS, "late": ("stage9",)},
  ],
  ids=["missing", "doubled", "empty", "unknown", "misspelt"],
)
def test_groups_that_do_not_cover(groups):
  with pytest.raises(ValueError, match="in exactly one group") as error:
    optimizers.group_of_module(groups, tuple(SHAPES))
  assert str(groups) in str(error.value)
  assert "stage2" in str(error.value)
