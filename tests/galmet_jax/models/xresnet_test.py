"""xresnet with self-attention: NumPy, initial weights, frozen, trained."""

import copy
import functools

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from galmet_jax.models import batch_norm
from galmet_jax.models import layers
from galmet_jax.models import resnet
from galmet_jax.models import xresnet
from tests.galmet_jax.models import small_networks

CONV_BN = functools.partial(
  layers.ConvBN,
  norm=functools.partial(batch_norm.BatchNorm, dtype=jnp.float32),
  kernel_init=layers.he_normal("fan_in"),
)


def mish(x):
  return x * np.tanh(np.log1p(np.exp(x)))


def pool_mean(x):
  """Returns the means of 2×2 windows, without padding at odd edges."""
  rows, columns = (range(0, side, 2) for side in x.shape[1:3])
  windows = [[x[:, i : i + 2, j : j + 2] for j in columns] for i in rows]
  means = np.array([[w.mean((1, 2)) for w in row] for row in windows])
  return np.moveaxis(means, 2, 0)


class NumpyXResNet(small_networks.NumpyResNet):
  """The forward pass in float64, independent of JAX."""

  def attend(self, x, stage, name):
    params = self.params[stage][name]["attention"]
    # [out, in], as in torch.
    matrix = np.asarray(params["kernel"], np.float64).T
    u = np.asarray(self.stats[stage][name]["attention"]["u"], np.float64)
    v = matrix.T @ u / np.linalg.norm(matrix.T @ u)
    matrix = matrix / np.linalg.norm(matrix @ v)
    maps = []
    for image in x:
      pixels = image.reshape(-1, image.shape[-1]).T  # [C, N]
      y = pixels @ pixels.T @ (matrix @ pixels)
      maps.append((float(params["gamma"]) * y).T.reshape(image.shape) + image)
    return np.stack(maps)

  def block(self, x, path, stride):
    params = self.params[path[0]][path[1]]
    y = mish(self.conv_bn(x, path, "1", stride))
    y = self.conv_bn(y, path, "2", 1)
    if "attention" in params:
      y = self.attend(y, *path)
    if stride == 2:
      x = pool_mean(x)
    if "conv_short" in params:
      x = self.conv_bn(x, path, "short", 1)
    return mish(x + y)

  def __call__(self, x):
    x = np.asarray(x, np.float64)
    for i in (1, 2, 3):
      x = mish(self.conv_bn(x, ("stem",), str(i), 2 if i == 1 else 1))
    x = self.pool(x)
    x = self.block(x, ("stage1", "block0"), 1)
    x = self.block(x, ("stage2", "block0"), 2)
    last = self.params["head"]["dense2"]
    return x.mean((1, 2)) @ np.asarray(last["kernel"]) + last["bias"]


@pytest.fixture(scope="module")
def network():
  """A tiny network and a batch of 32 pixels: (model, variables, x)."""
  model = xresnet.xresnet34(stage_sizes=(1, 1), width=8, num_targets=2)
  return model, small_networks.drawn(model), small_networks.images(3, 32, 32)


@pytest.fixture(scope="module")
def evaluated(network):
  return small_networks.run_modules(*network, train=False)


def check_against_numpy(variables, x, found):
  with jax.numpy_rank_promotion("allow"):
    expected = NumpyXResNet(variables)(x)
  assert np.std(expected) > 0.1
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_forward_pass_equals_numpy(network, evaluated):
  _, variables, x = network
  found, _, _ = evaluated
  check_against_numpy(variables, x, found)
  # The attention contributes.
  without = copy.deepcopy(variables)
  without["params"]["stage1"]["block0"]["attention"]["gamma"] *= 0
  with jax.numpy_rank_promotion("allow"):
    assert np.abs(NumpyXResNet(without)(x) - found).max() > 0.01


def test_forward_pass_of_odd_sizes_equals_numpy(network):
  model, variables, _ = network
  # The stem reduces 33 pixels to 9, an odd side, and 45 pixels to 12.
  x = small_networks.images(3, 33, 45)
  found = small_networks.run(model, variables, x, train=False)
  check_against_numpy(variables, x, found)


def test_activation_is_mish():
  x = np.linspace(-20, 20, 401)
  found = jax.nn.mish(jnp.asarray(x, jnp.float32))
  np.testing.assert_allclose(found, mish(x), rtol=1e-5, atol=1e-6)
  assert mish(1.0) == pytest.approx(0.86509839, rel=1e-8)


@pytest.mark.parametrize("sides", [(4, 6), (5, 3), (1, 2)])
def test_average_pool_ignores_padding(sides):
  x = np.random.default_rng(0).normal(size=(2, *sides, 3)).astype(np.float32)
  found = xresnet.average_pool(jnp.asarray(x))
  np.testing.assert_allclose(found, pool_mean(x), rtol=1e-5, atol=1e-6)


def test_counts_and_shapes_of_xresnet34():
  model = xresnet.xresnet34(num_targets=1000)
  variables = small_networks.abstract_variables(model)
  assert set(variables["params"]) == set(resnet.MODULES)
  found = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
  # torchvision's resnet34 with another stem, plus the matrix and the gamma of
  # the attention.
  stem34 = 7 * 7 * 3 * 64 + 2 * 64
  stem = 9 * (3 * 32 + 32 * 32 + 32 * 64) + 2 * (32 + 32 + 64)
  assert found == 21_797_672 - stem34 + stem + 64 * 64 + 1 == 21_821_001
  paths = traverse_util.flatten_dict(variables["params"])
  attention = [path[:2] for path in paths if path[-1] == "gamma"]
  assert attention == [("stage1", "block2")]

  model = xresnet.xresnet34()
  output, shapes, _ = jax.eval_shape(
    functools.partial(small_networks.run_modules, model, train=False),
    small_networks.abstract_variables(model),
    jax.ShapeDtypeStruct((2, 75, 75, 3), jnp.float32),
  )
  maps = [shapes[name].shape for name in resnet.MODULES[:-1]]
  assert [side for _, side, _, _ in maps] == [19, 19, 10, 5, 3]
  assert [width for *_, width in maps] == [64, 64, 128, 256, 512]
  assert output.shape == (2, 1)
  assert output.dtype == jnp.float32


@pytest.fixture(scope="module")
def fresh():
  """A new block with all its parts, an input and the output."""
  block = xresnet.Block(128, 2, CONV_BN, attention=True)
  x = jnp.concatenate([small_networks.images(2, 5, 5)] * 16, axis=-1)
  init = functools.partial(block.init_with_output, train=False)
  y, variables = jax.jit(init)(jax.random.key(0), x)
  return variables, x, y


def test_initial_block_computes_its_shortcut(fresh):
  variables, x, y = fresh
  shortcut = small_networks.NumpyResNet.convolve(
    pool_mean(np.asarray(x, np.float64)),
    variables["params"]["conv_short"]["kernel"],
    1,
  )
  expected = mish(shortcut / np.sqrt(1 + 1e-5))
  np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_initial_weights(fresh):
  params = fresh[0]["params"]
  head = xresnet.Head(20, norm=None).init(
    jax.random.key(0), jnp.zeros((1, 1, 1, 512)), train=False
  )
  params = {**params, "dense2": head["params"]["dense2"]}
  # Kaiming normal: the variance is two over the fan-in.
  for name, fan_in in (
    ("conv1", 9 * 48),
    ("conv2", 9 * 128),
    ("conv_short", 48),
    ("attention", 128),
    ("dense2", 512),
  ):
    z = np.asarray(params[name]["kernel"]).ravel() / np.sqrt(2 / fan_in)
    assert np.std(z) == pytest.approx(1, abs=4 / np.sqrt(2 * z.size)), name
    assert np.mean(z) == pytest.approx(0, abs=4 / np.sqrt(z.size)), name
  assert not params["dense2"]["bias"].any()
  for name, scale in (("bn1", 1), ("bn2", 0), ("bn_short", 1)):
    assert (params[name]["scale"] == scale).all()
    assert not params[name]["bias"].any()
  assert params["attention"]["gamma"].item() == 0


def test_spectral_norm_converges_to_one():
  module = xresnet.SelfAttention()
  # x xᵀ is the identity, so that with gamma 1 the layer computes W + 1.
  x = jnp.eye(3).reshape(1, 1, 3, 3)
  variables = module.init(jax.random.key(1), x, train=False)
  variables["params"]["gamma"] = jnp.ones(())
  kernel = np.asarray(variables["params"]["kernel"])
  assert np.linalg.norm(kernel, 2) > 1.2
  step = functools.partial(module.apply, train=True, mutable=["batch_stats"])
  step = jax.jit(step)
  for _ in range(60):
    y, updates = step(variables, x)
    variables = {**variables, **updates}
  expected = kernel / np.linalg.norm(kernel, 2) + np.eye(3)
  np.testing.assert_allclose(y.reshape(3, 3), expected, rtol=1e-4, atol=1e-5)


def test_frozen_modules_keep_their_state_and_mode(network, evaluated):
  frozen = ("stem", "stage1", "head")
  _, outputs, updates = small_networks.run_modules(
    *network, train=True, frozen=frozen, mutable=["batch_stats"]
  )
  before = traverse_util.flatten_dict(network[1]["batch_stats"])
  after = traverse_util.flatten_dict(updates["batch_stats"])
  assert set(before) == set(after)
  assert ("stage1", "block0", "attention", "u") in after
  for path, old in before.items():
    assert (old == after[path]).all() == (path[0] != "stage2"), path
  for name in ("stem", "stage1"):
    np.testing.assert_allclose(
      outputs[name], evaluated[1][name], rtol=1e-5, atol=1e-5
    )
  assert np.abs(outputs["stage2"] - evaluated[1]["stage2"]).max() > 0.1


def test_training_reaches_all_state_and_all_parameters(network):
  model, variables, x = network

  def loss(params):
    y, updates = model.apply(
      {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
    )
    return (y**2).mean(), updates["batch_stats"]

  grads, stats = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
  for path, grad in traverse_util.flatten_dict(grads).items():
    assert np.isfinite(grad).all(), path
    assert np.abs(grad).max() > 1e-6, path
  before = traverse_util.flatten_dict(variables["batch_stats"])
  for path, new in traverse_util.flatten_dict(stats).items():
    assert np.isfinite(new).all(), path
    assert (new != before[path]).any(), path


def test_bfloat16_computes_coarsely_and_keeps_float32(network, evaluated):
  model, variables, x = network
  expected, _, _ = evaluated
  coarse = model.clone(dtype=jnp.bfloat16)
  found, outputs, _ = small_networks.run_modules(
    coarse, variables, x, train=False
  )
  for name in ("stem", "stage1", "stage2"):
    assert outputs[name].dtype == jnp.bfloat16
  assert found.dtype == jnp.float32
  assert 0 < np.abs(found - expected).max() < 0.05 * np.std(expected)
  for leaf in jax.tree.leaves(small_networks.abstract_variables(coarse)):
    assert leaf.dtype == jnp.float32


def test_attention_of_bfloat16_is_computed_in_float32():
  module = xresnet.SelfAttention()
  x = small_networks.images(2, 8, 8).astype(jnp.bfloat16)
  variables = module.init(jax.random.key(0), x, train=False)
  variables["params"]["gamma"] = jnp.ones(())
  found = module.apply(variables, x, train=False)
  expected = module.apply(variables, x.astype(jnp.float32), train=False)
  assert found.dtype == jnp.bfloat16
  np.testing.assert_array_equal(found, expected.astype(jnp.bfloat16))
