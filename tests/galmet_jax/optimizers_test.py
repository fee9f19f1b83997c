"""Layer groups, and update rules against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import resnet34
from galmet_jax import optimizers
from galmet_jax import train_state
from galmet_jax.models import resnet

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


def make_config(optimizer, weight_decay):
  config = resnet34.get_config().optim
  config.optimizer = optimizer
  config.weight_decay = weight_decay
  config.groups = GROUPS
  return config


# Rates that change at every step.
RATES = {
  "early": lambda step: 0.01 * (1 + step),
  "late": lambda step: 0.1 / (1 + step),
  "head": lambda step: 0.5 + 0.25 * step,
}


def phase_of(config, frozen=()):
  rates = {group: RATES[group] for group in GROUPS if group not in frozen}
  modules = tuple(module for group in frozen for module in GROUPS[group])
  tx = optimizers.make_optimizer(config, rates, 0.9)
  return optimizers.Phase("p", 0, 9, modules, rates, tx)


def update(config, gradients, params, momentum=0.9):
  """Returns the parameters after one update per gradient."""
  tx = optimizers.make_optimizer(config, RATES, momentum)
  state = tx.init(params)
  step = jax.jit(tx.update)
  for gradient in gradients:
    updates, state = step(gradient, state, params)
    params = optax.apply_updates(params, updates)
  return params


def compare(found, gradients, params, rule):
  """Checks every leaf against `rule(leaf, gradients, rate)` in float64."""
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


def falling(step):
  return 0.95 - 0.1 * step / 3


@pytest.mark.parametrize("momentum", [0.9, falling])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_sgd_matches_torch(sample, decay, momentum):
  params, gradients = sample

  def torch_sgd(p, steps, rate):
    velocity = 0
    for t, gradient in enumerate(steps):
      kept = momentum(t) if callable(momentum) else momentum
      velocity = kept * velocity + (gradient + decay * p)
      p = p - rate(t) * velocity
    return p

  found = update(make_config("sgd", decay), gradients, params, momentum)
  compare(found, gradients, params, torch_sgd)


@pytest.mark.parametrize(("decay", "momentum"), [(0.0, 0.9), (0.1, 0.7)])
def test_adamw_matches_its_formulas(sample, decay, momentum):
  params, gradients = sample

  def adamw(p, steps, rate):
    mean, square = 0, 0
    for t, gradient in enumerate(steps):
      mean = momentum * mean + (1 - momentum) * gradient
      square = 0.999 * square + 0.001 * gradient**2
      unbiased = mean / (1 - momentum ** (t + 1))
      scale = np.sqrt(square / (1 - 0.999 ** (t + 1))) + 1e-8
      p = p - rate(t) * (unbiased / scale + decay * p)
    return p

  found = update(make_config("adamw", decay), gradients, params, momentum)
  compare(found, gradients, params, adamw)


@pytest.mark.parametrize("momentum", [lambda step: 0.95, falling])
def test_ranger_is_radam_with_lookahead(momentum):
  rng = np.random.default_rng(1)
  params, gradients = draw(rng), [draw(rng) for _ in range(15)]
  rectified = []

  def ranger(p, steps, rate):
    mean, square, slow = 0, 0, p
    longest = 2 / (1 - 0.99) - 1
    for t, gradient in enumerate(steps):
      k, decay = t + 1, momentum(t)
      mean = decay * mean + (1 - decay) * gradient
      square = 0.99 * square + 0.01 * gradient**2
      move = mean / (1 - decay**k)
      length = longest - 2 * k * 0.99**k / (1 - 0.99**k)
      rectified.append(length > 5)
      if length > 5:
        scale = (length - 4) * (length - 2) * longest
        scale /= (longest - 4) * (longest - 2) * length
        deviation = np.sqrt(square / (1 - 0.99**k)) + 1e-6
        move = np.sqrt(scale) * move / deviation
      p = p - rate(t) * (move + 0.01 * p)
      if k % 6 == 0:
        p = slow = slow + 0.5 * (p - slow)
    return p

  # With rising rates the rounding errors of float32 would grow without bound.
  with pytest.MonkeyPatch.context() as patch:
    for group, rate in (("early", 0.01), ("late", 0.02), ("head", 0.1)):
      patch.setitem(RATES, group, lambda step, r=rate: r / (1 + step))
    found = update(make_config("ranger", 0.01), gradients, params, momentum)
    compare(found, gradients, params, ranger)
  assert set(rectified) == {True, False}


@pytest.mark.parametrize("variant", ["as_published", "one_cycle"])
def test_phases_use_the_momentum_of_the_config(variant):
  config = resnet34.get_config(variant).optim
  config.weight_decay = 0.0
  config.momentum = 0.6
  phase = optimizers.make_phases(config, 40)[-1]
  params = {module: jnp.ones(1) for module in resnet.MODULES}
  state = phase.tx.init(params)
  first, state = phase.tx.update(params, state, params)
  second, _ = phase.tx.update(params, state, params)
  # The gradient is 1 at both steps: the second velocity is 1 + momentum.
  rates = [float(phase.rates["head"](step)) for step in (0, 1)]
  kept = -float(second["head"][0]) / rates[1] - 1
  assert -float(first["head"][0]) == pytest.approx(rates[0])
  # A cycle has its own momenta, and starts with the highest.
  expected = 0.6 if variant == "as_published" else config.cycle.momenta[0]
  assert kept == pytest.approx(expected, abs=0.001)


def test_unknown_optimizer_is_refused():
  with pytest.raises(ValueError, match="'adam'; expected sgd, adamw or ranger"):
    optimizers.make_optimizer(make_config("adam", 0.0), RATES, 0.9)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_frozen_groups_have_no_optimizer_state(sample, optimizer):
  params, _ = sample
  config = make_config(optimizer, 0.1)
  state = train_state.TrainState(jnp.zeros((), int), params, {}, None)
  state = train_state.start_phase(state, phase_of(config, ("early", "late")))
  shapes = [leaf.shape for leaf in jax.tree.leaves(state.opt_state)]
  moments = sorted(shape for shape in shapes if shape)
  each = 1 if optimizer == "sgd" else 2
  assert moments == sorted([(2, 3), (3,)] * each)
  whole = train_state.start_phase(state, phase_of(config))
  leaves = [x for x in jax.tree.leaves(whole.opt_state) if x.ndim]
  assert len(leaves) == each * len(jax.tree.leaves(params))
  assert not any(leaf.any() for leaf in leaves)


def test_optimizer_state_has_the_layout_of_stored_checkpoints(sample):
  params, _ = sample
  state = optimizers.make_optimizer(make_config("sgd", 0.1), RATES, 0.9).init(
    params
  )
  traces = state.inner_states["late"].inner_state[1][0].trace
  masked, kept = (
    {
      jax.tree_util.keystr(path)
      for path, leaf in jax.tree_util.tree_leaves_with_path(
        traces, is_leaf=lambda x: isinstance(x, optax.MaskedNode)
      )
      if isinstance(leaf, optax.MaskedNode) == wanted
    }
    for wanted in (True, False)
  )
  assert kept == {"['stage2']['kernel']"}
  # Each masked parameter has its own node.
  assert "['head']['dense']['bias']" in masked
  assert len(masked) == 5


def test_split_separates_frozen_modules(sample):
  params, _ = sample
  trained, frozen = optimizers.split(params, ("stem", "stage1"))
  assert set(trained) == {"stage2", "head"}
  assert set(frozen) == {"stem", "stage1"}
  assert frozen["stem"] is params["stem"]
  assert optimizers.split(params, ())[1] == {}


def test_groups_of_the_config_cover_the_network():
  groups = resnet34.get_config().optim.groups
  assert optimizers.group_of_module(groups, resnet.MODULES) == {
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
  ids=["missing", "repeated", "empty", "unknown", "misspelled"],
)
def test_groups_must_have_each_module_once(groups):
  with pytest.raises(ValueError, match="in exactly one group") as error:
    optimizers.group_of_module(groups, tuple(SHAPES))
  assert str(groups) in str(error.value)
  assert "stage2" in str(error.value)
