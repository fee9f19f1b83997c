"""The training step: gradients, frozen modules, views and devices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import resnet34
from galmet_jax import optimizers
from galmet_jax import train_state
from galmet_jax import train_step
from galmet_jax.data import augment
from galmet_jax.data import placement
from galmet_jax.devices import sharding
from galmet_jax.models import network
from tests.galmet_jax.models import small_networks

SIZE, NUM_EXAMPLES, BATCH = 32, 24, 8
FROZEN = ("stem", "stage1")


def make_config(
  views_per_image=1, dropout_rates=(0.25, 0.5), batch_norm="global"
):
  config = resnet34.get_config("as_intended")
  config.model.stage_sizes = (1,)
  config.model.width = 8
  config.model.head_width = 16
  config.model.dropout_rates = dropout_rates
  config.model.batch_norm = batch_norm
  config.model.dtype = "float32"
  config.data.crop = SIZE
  config.optim.groups = {
    "early": ("stem",),
    "late": ("stage1",),
    "head": ("head",),
  }
  config.optim.weight_decay = 0.0
  config.train.batch_size = BATCH
  config.train.views_per_image = views_per_image
  return config


def phase_of(config, name):
  phases = optimizers.make_phases(config.optim, 3)
  return next(phase for phase in phases if phase.name == name)


@pytest.fixture(scope="module")
def start():
  """Fresh parameters and statistics: numpy arrays by module."""
  model = network.from_config(make_config().model, 1)
  return jax.device_get(small_networks.drawn(model))


class Step:
  """The compiled step of one phase, with its own data."""

  def __init__(self, start, phase, num_devices=1, **changes):
    self.config = make_config(**changes)
    self.phase = phase_of(self.config, phase)
    self.mesh = sharding.make_mesh(jax.devices()[:num_devices])
    rng = np.random.default_rng(1)
    split = small_networks.split(rng, NUM_EXAMPLES, SIZE)
    self.data = placement.OnDevice(split, self.mesh, seed=0, batch_size=BATCH)
    self.start = start
    self.compiled = train_step.compile_train_step(
      self.state(),
      self.data,
      self.mesh,
      model=network.from_config(self.config.model, 1, num_devices),
      phase=self.phase,
      frame=augment.make_frame(self.config.data),
      config=self.config,
    )

  def state(self, step=0):
    params = jax.tree.map(jnp.array, self.start["params"])
    stats = jax.tree.map(jnp.array, self.start["batch_stats"])
    state = train_state.TrainState(jnp.int32(step), params, stats, None)
    state = train_state.start_phase(state, self.phase)
    return sharding.replicate(state, self.mesh)

  def __call__(self, state, indices):
    indices = sharding.shard_batch(np.asarray(indices, np.int32), self.mesh)
    return self.compiled(state, (*self.data.arrays, indices))

  @property
  def flops(self):
    return self.compiled.func.cost_analysis()["flops"]


INDICES = np.random.default_rng(2).permutation(NUM_EXAMPLES)[:BATCH]


@pytest.fixture(scope="module")
def unfrozen(start):
  return Step(start, "all_constant")


@pytest.fixture(scope="module")
def frozen(start):
  return Step(start, "head_only")


def same(one, other):
  """Returns whether each pair of leaves is equal."""
  return jax.tree.leaves(
    jax.tree.map(lambda x, y: np.array_equal(x, y), one, other)
  )


def test_unfrozen_step_changes_every_parameter(unfrozen, start):
  state, values = unfrozen(unfrozen.state(), INDICES)
  assert int(state.step) == 1
  assert set(values) == {"loss", "grad_norm"}
  assert not any(same(state.batch_stats, start["batch_stats"]))
  changes = jax.tree.map(
    lambda x, y: np.abs(x - y).max(), state.params, start["params"]
  )
  assert min(jax.tree.leaves(changes)) > 0


def test_first_update_is_the_gradient_times_the_groups_rate(unfrozen, start):
  state, values = unfrozen(unfrozen.state(), INDICES)
  total = 0
  for group, rate in (("early", 1e-3), ("late", 1e-2), ("head", 1e-1)):
    for module in unfrozen.config.optim.groups[group]:
      gradient = jax.tree.map(
        lambda old, new, rate=rate: (np.float64(old) - new) / rate,
        start["params"][module],
        state.params[module],
      )
      total += sum((leaf**2).sum() for leaf in jax.tree.leaves(gradient))
  assert float(values["grad_norm"]) == pytest.approx(np.sqrt(total), rel=1e-3)


def test_randomness_is_a_function_of_the_step(unfrozen):
  first, again, later = (
    unfrozen(unfrozen.state(step), INDICES) for step in (0, 0, 1)
  )
  assert all(same(first, again))
  # The views and the dropout differ.
  assert float(later[1]["loss"]) != float(first[1]["loss"])


def test_repeated_steps_on_one_batch_lower_its_loss(unfrozen):
  state, losses = unfrozen.state(), []
  for _ in range(25):
    state, values = unfrozen(state, INDICES)
    losses.append(float(values["loss"]))
  assert int(state.step) == 25
  assert np.mean(losses[-5:]) < 0.5 * losses[0]


def test_later_steps_do_not_compile(unfrozen, compilations):
  state = unfrozen.state()
  state, _ = unfrozen.compiled(state, unfrozen.data.batch(0))
  compilations.clear()
  # Three steps per epoch.
  for step in range(1, 7):
    state, values = unfrozen.compiled(state, unfrozen.data.batch(step))
  assert np.isfinite(values["loss"])
  assert int(state.step) == 7
  assert compilations == []


def test_state_is_donated(unfrozen):
  state = unfrozen.state()
  unfrozen(state, INDICES)
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
  assert not any(array.is_deleted() for array in unfrozen.data.arrays)


def test_frozen_step_does_not_change_frozen_modules(frozen, start):
  state = frozen.state()
  for _ in range(2):
    state, _ = frozen(state, INDICES)
  for module in FROZEN:
    for tree, before in (
      (state.params, start["params"]),
      (state.batch_stats, start["batch_stats"]),
    ):
      assert all(same(tree[module], before[module]))
  assert not any(same(state.params["head"], start["params"]["head"]))
  assert not any(same(state.batch_stats["head"], start["batch_stats"]["head"]))


def test_frozen_step_has_no_backward_pass_of_the_backbone(frozen, unfrozen):
  # Forward: the stem and two in the block. Backward: the gradient of each
  # kernel, and of each input except the stem's.
  assert frozen.compiled.func.as_text().count(" convolution(") == 3
  assert unfrozen.compiled.func.as_text().count(" convolution(") == 3 + 3 + 2


def test_views_per_image_multiply_the_batch_size(start, monkeypatch):
  numbers = []

  def plain(key, n, config):
    numbers.append(n)
    return augment.plain_views(n)

  monkeypatch.setattr(augment, "random_views", plain)
  one, five = (
    Step(start, "head_only", views_per_image=n, dropout_rates=(0.0, 0.0))
    for n in (1, 5)
  )
  assert numbers == [BATCH, 5 * BATCH]
  assert five.flops == pytest.approx(5 * one.flops, rel=0.1)
  # Each image appears five times with its label, so all means are equal.
  for a, b in zip(
    jax.tree.leaves(one(one.state(), INDICES)),
    jax.tree.leaves(five(five.state(), INDICES)),
    strict=True,
  ):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def spread(start):
  return Step(start, "all_constant", num_devices=4)


def test_per_device_statistics_need_fewer_all_reduces(spread, start):
  alone = Step(start, "all_constant", num_devices=4, batch_norm="per_device")
  synced, separate = (
    step.compiled.func.as_text().count(" all-reduce(")
    for step in (spread, alone)
  )
  # Five BatchNorms sum once in each direction; gradients are always summed.
  assert synced - separate >= 2 * 5 - 2
  assert separate >= 1
  losses = [
    float(step(step.state(), INDICES)[1]["loss"]) for step in (spread, alone)
  ]
  assert losses[0] != losses[1]


def test_one_device_and_four_agree(unfrozen, spread):
  one, values = unfrozen(unfrozen.state(), INDICES)
  four, same_values = spread(spread.state(), INDICES)
  for name in values:
    assert float(same_values[name]) == pytest.approx(
      float(values[name]), rel=1e-4
    )
  for field in ("params", "batch_stats", "opt_state"):
    for a, b in zip(
      jax.tree.leaves(getattr(one, field)),
      jax.tree.leaves(getattr(four, field)),
      strict=True,
    ):
      assert len(b.devices()) == 4
      np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)


def test_new_phase_resets_the_optimizer(unfrozen):
  state, _ = unfrozen(unfrozen.state(), INDICES)
  assert any(leaf.any() for leaf in jax.tree.leaves(state.opt_state))
  fresh = train_state.start_phase(state, unfrozen.phase)
  assert not any(leaf.any() for leaf in jax.tree.leaves(fresh.opt_state))
  assert dataclasses.replace(fresh, opt_state=None) == dataclasses.replace(
    state, opt_state=None
  )


@pytest.mark.parametrize("num_devices", [1, 4])
def test_layout_of_kernels_changes_no_number(start, monkeypatch, num_devices):
  expected = Step(start, "all_constant", num_devices)
  wanted = expected(expected.state(), INDICES)[0]
  layout = sharding._KERNEL_LAYOUTS["gpu"]
  monkeypatch.setitem(sharding._KERNEL_LAYOUTS, "cpu", layout)
  found = Step(start, "all_constant", num_devices)
  state = found.state()
  for _ in range(2):
    kernel = state.params["stem"]["conv"]["kernel"]
    assert kernel.shape == (7, 7, 3, 8)
    assert kernel.format.layout.major_to_minor == (3, 0, 1, 2)
    before = state.params["stem"]["conv"]["kernel"]
    state, _ = found(state, INDICES)
    assert before.is_deleted()
    if wanted is not None:
      jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        jax.device_get(state),
        jax.device_get(wanted),
      )
      wanted = None
