"""Forward pass, frozen modules, dropout and initial weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import resnet34
from galmet_jax import train_state
from galmet_jax.models import batch_norm
from galmet_jax.models import layers
from galmet_jax.models import network
from galmet_jax.models import resnet
from tests.galmet_jax.models import small_networks

NORM = functools.partial(batch_norm.BatchNorm, dtype=jnp.float32)
FAN_OUT = layers.he_normal("fan_out")
CONV_BN = functools.partial(layers.ConvBN, norm=NORM, kernel_init=FAN_OUT)


def head(*, width=256, dropout_rates=(0.25, 0.5), num_targets=1):
  return resnet.Head(num_targets, NORM, width, dropout_rates)


@pytest.fixture(scope="module")
def small_network():
  """A tiny network without dropout and a batch: (model, variables, x)."""
  model = small_networks.tiny(dropout_rates=(0.0, 0.0))
  return model, small_networks.drawn(model), small_networks.images(4, 32, 32)


@pytest.mark.parametrize(("block", "size"), [("basic", 45), ("bottleneck", 32)])
def test_forward_pass_equals_numpy(block, size):
  model = small_networks.tiny(
    stage_sizes=(1, 2), block=resnet.BLOCKS[block], num_targets=2
  )
  x = small_networks.images(3, size, size)
  variables = small_networks.drawn(model)
  found = small_networks.run(model, variables, x, train=False)
  with jax.numpy_rank_promotion("allow"):
    expected = small_networks.NumpyResNet(variables)(x)
  assert np.std(expected) > 0.1
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_frozen_modules_stay_in_evaluation_mode(small_network):
  frozen = ("stem", "stage1", "head")
  _, before, _ = small_networks.run_modules(*small_network, train=False)
  _, after, updates = small_networks.run_modules(
    *small_network, train=True, frozen=frozen, mutable=["batch_stats"]
  )
  _, variables, _ = small_network
  for name in ("stem", "stage1", "stage2", "head"):
    old, new = (
      jax.tree.leaves(tree["batch_stats"][name])
      for tree in (variables, updates)
    )
    unchanged = [np.array_equal(*pair) for pair in zip(old, new, strict=True)]
    assert unchanged == [name in frozen] * len(old), name
  for name in ("stem", "stage1"):
    np.testing.assert_allclose(after[name], before[name], rtol=1e-6)
  assert np.abs(after["stage2"] - before["stage2"]).max() > 0.1


def test_frozen_batch_norm_trains_with_the_running_statistics(small_network):
  model, variables, x = small_network
  frozen = model.clone(freeze_batch_norm=True)
  expected = small_networks.run(model, variables, x, train=False)
  found, updates = small_networks.run(
    frozen, variables, x, train=True, mutable=["batch_stats"]
  )
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  jax.tree.map(
    np.testing.assert_array_equal,
    updates["batch_stats"],
    variables["batch_stats"],
  )


def test_running_statistics_have_momentum_0_9(small_network):
  model, variables, x = small_network
  _, updates = small_networks.run(
    model,
    variables,
    x,
    train=True,
    capture_intermediates=lambda module, _: module.name == "dense1",
    mutable=["intermediates", "batch_stats"],
  )
  kernel = variables["params"]["stem"]["conv"]["kernel"]
  maps = small_networks.NumpyResNet.convolve(
    np.asarray(x, np.float64), kernel, 2
  )
  dense = updates["intermediates"]["head"]["dense1"]["__call__"][0]
  # With four values per channel, the unbiased variance is a third larger.
  vectors = np.maximum(np.asarray(dense, np.float64), 0)
  for path, values in ((("stem", "bn"), maps), (("head", "bn2"), vectors)):
    old, new = (
      tree["batch_stats"][path[0]][path[1]] for tree in (variables, updates)
    )
    batch = values.reshape(-1, values.shape[-1])
    for name, moment in (
      ("mean", batch.mean(0)),
      ("var", batch.var(0, ddof=0)),
    ):
      expected = 0.9 * np.asarray(old[name]) + 0.1 * moment
      np.testing.assert_allclose(new[name], expected, rtol=1e-4, atol=1e-6)


def test_dropout_is_active_in_training_only_even_if_the_backbone_is_frozen():
  x = small_networks.images(4, 32, 32)
  dropping, keeping = (
    small_networks.tiny(),
    small_networks.tiny(dropout_rates=(0.0, 0.0)),
  )
  variables = small_networks.drawn(dropping)
  np.testing.assert_array_equal(
    small_networks.run(dropping, variables, x, train=False),
    small_networks.run(keeping, variables, x, train=False),
  )

  @jax.jit
  def train(key):
    return dropping.apply(
      variables,
      x,
      train=True,
      frozen=("stem", "stage1", "stage2"),
      rngs={"dropout": key},
      mutable=["batch_stats"],
    )[0]

  one, two, again = (
    train(jax.random.key(seed, impl="rbg")) for seed in (0, 1, 0)
  )
  assert np.abs(one - two).min() > 1e-3
  np.testing.assert_array_equal(one, again)


def test_dropout_rates():
  x = jnp.asarray(np.random.default_rng(0).normal(size=(64, 2, 2, 128)))
  variables = head().init(jax.random.key(0), x, train=False)
  _, captured = head().apply(
    variables,
    x,
    train=True,
    rngs={"dropout": jax.random.key(1, impl="rbg")},
    capture_intermediates=True,
    mutable=["intermediates", "batch_stats"],
  )
  outputs = captured["intermediates"]
  for i, rate in enumerate((0.25, 0.5)):
    found = np.asarray(outputs[f"Dropout_{i}"]["__call__"][0])
    dropped = found == 0
    assert dropped.mean() == pytest.approx(rate, abs=0.02)
    if i == 0:
      before = np.asarray(outputs["bn1"]["__call__"][0])
      np.testing.assert_allclose(
        found[~dropped], before[~dropped] / (1 - rate), rtol=1e-6
      )


def test_concat_pool_is_the_maximum_then_the_mean():
  x = np.random.default_rng(0).normal(size=(5, 3, 3, 4)).astype(np.float32)
  module = head(width=8, dropout_rates=(0.0, 0.0))
  variables = module.init(jax.random.key(0), x, train=False)
  _, captured = module.apply(
    variables,
    x,
    train=False,
    capture_intermediates=lambda module, _: module.name == "bn1",
    mutable=["intermediates"],
  )
  found = captured["intermediates"]["bn1"]["__call__"][0]
  expected = np.concatenate([x.max((1, 2)), x.mean((1, 2))], 1)
  np.testing.assert_allclose(
    found, expected / np.sqrt(1 + 1e-5), rtol=1e-5, atol=1e-6
  )


def test_bfloat16_computes_coarsely_and_keeps_float32(small_network):
  model, variables, x = small_network
  coarse = model.clone(dtype=jnp.bfloat16)
  fresh = jax.tree.leaves(small_networks.abstract_variables(coarse))
  assert {leaf.dtype.name for leaf in fresh} == {"float32"}
  expected = small_networks.run(model, variables, x, train=False)
  found, outputs, _ = small_networks.run_modules(
    coarse, variables, x, train=False
  )
  assert outputs["stem"].dtype == outputs["stage2"].dtype == jnp.bfloat16
  assert found.dtype == jnp.float32
  assert 0 < np.abs(found - expected).max() < 0.1 * np.std(expected)
  _, updates = jax.eval_shape(
    functools.partial(coarse.apply, train=True, mutable=["batch_stats"]),
    variables,
    x,
  )
  assert {leaf.dtype.name for leaf in jax.tree.leaves(updates)} == {"float32"}


def test_initial_weights_are_kaiming_normal():
  def init(module, shape):
    x = jnp.zeros(shape)
    return jax.jit(functools.partial(module.init, train=False))(
      jax.random.key(0), x
    )["params"]

  def check(kernel, std):
    z = np.asarray(kernel).ravel() / std
    assert np.std(z) == pytest.approx(1, abs=4 / np.sqrt(2 * z.size))
    assert np.mean(z) == pytest.approx(0, abs=4 / np.sqrt(z.size))
    # Flax's default truncates the normal at two standard deviations.
    assert np.mean(np.abs(z) > 2.5) == pytest.approx(0.0124, abs=0.005)

  stem = init(resnet.Stem(64, CONV_BN), (1, 32, 32, 3))
  # The fan-out is the output channels times the kernel's area.
  check(stem["conv"]["kernel"], np.sqrt(2 / (64 * 49)))
  assert (stem["bn"]["scale"] == 1).all()
  params = init(head(num_targets=20), (1, 2, 2, 64))
  # The fan-in is 64 maxima and 64 means.
  check(params["dense1"]["kernel"], np.sqrt(2 / 128))
  check(params["dense2"]["kernel"], np.sqrt(2 / 256))
  for name in ("dense1", "dense2"):
    assert not params[name]["bias"].any()


def test_first_predictions_are_the_label_means():
  # Drawing the weights of stages takes long.
  config = resnet34.get_config()
  config.model.stage_sizes = ()
  config.model.width = 8
  config.model.head_width = 16
  config.model.dtype = "float32"
  config.model.start_at_mean = True
  config.data.targets = ("oh_p50", "lgm_tot_p50")
  config.data.crop = 32
  config.optim.groups = {"early": ("stem",), "head": ("head",)}
  config.optim.phases = ("only",)
  config.optim.only = {
    "schedule": "constant",
    "epochs": 1,
    "frozen": (),
    "rates": {"early": 0.1, "head": 0.1},
  }
  model = network.from_config(config.model, 2)
  means = np.float32([8.9065, 10.056])
  state = train_state.create(model, config, 32, means)
  found = small_networks.run(
    model, state.variables, small_networks.images(4, 32, 32), train=False
  )
  np.testing.assert_array_equal(found, np.tile(means, (4, 1)))
  assert int(state.step) == 0
