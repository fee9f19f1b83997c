"""The network against torchvision's geometry and a numpy ResNet."""

import functools

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import resnet34
from galmet_jax import models
from galmet_jax import schedules
from galmet_jax import train_state

FULL = {
  18: {"stage_sizes": (2, 2, 2, 2)},
  34: {"stage_sizes": (3, 4, 6, 3)},
  50: {"stage_sizes": (3, 4, 6, 3), "block": models.BottleneckBlock},
}


def tiny(**changes):
  defaults = {"stage_sizes": (1, 1), "width": 8, "head_width": 16}
  return models.ResNet(**{**defaults, **changes})


def images(*shape, seed=0):
  values = np.random.default_rng(seed).normal(size=(*shape, 3))
  return jnp.asarray(values, jnp.float32)


def run(model, variables, x, **keywords):
  return jax.jit(functools.partial(model.apply, **keywords))(variables, x)


def abstract_variables(model):
  x = jnp.zeros((1, 32, 32, 3))
  return jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))


def drawn(model, seed=0):
  """Draws variables in which no part of a BatchNorm or bias is neutral."""
  rng = np.random.default_rng(seed)
  draw = {
    "kernel": lambda shape: rng.normal(0, np.prod(shape[:-1]) ** -0.5, shape),
    "scale": lambda shape: rng.uniform(0.5, 1.5, shape),
    "bias": lambda shape: rng.normal(0, 0.3, shape),
    "mean": lambda shape: rng.normal(0, 0.3, shape),
    "var": lambda shape: rng.uniform(0.5, 2.0, shape),
  }
  flat = traverse_util.flatten_dict(abstract_variables(model))
  for path, leaf in flat.items():
    flat[path] = jnp.asarray(draw[path[-1]](leaf.shape), jnp.float32)
  return traverse_util.unflatten_dict(flat)


@pytest.fixture(scope="module")
def network():
  """A tiny network without dropout and a batch: (model, variables, x)."""
  model = tiny(dropout_rates=(0.0, 0.0))
  return model, drawn(model), images(4, 32, 32)


def abstract(model, size):
  """Returns abstract variables and the abstract outputs of all modules."""
  x = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
  variables = abstract_variables(model)
  output, captured = jax.eval_shape(
    lambda v, x: model.apply(
      v,
      x,
      train=False,
      capture_intermediates=True,
      mutable=["intermediates"],
    ),
    variables,
    x,
  )
  shapes = {
    "/".join(path[:-1]): calls[0].shape
    for path, calls in traverse_util.flatten_dict(
      captured["intermediates"]
    ).items()
  }
  return variables, output, shapes


def size_of(tree):
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
  ("depth", "backbone", "features"),
  [(18, 11_176_512, 512), (34, 21_284_672, 512), (50, 23_508_032, 2048)],
)
@pytest.mark.parametrize("targets", [1, 3])
def test_counts_and_shapes_of_the_full_networks(
  depth, backbone, features, targets
):
  model = models.ResNet(**FULL[depth], num_targets=targets)
  variables, output, shapes = abstract(model, 128)
  params = dict(variables["params"])
  assert set(params) == set(models.MODULES)
  pooled = 2 * features
  head = (
    2 * pooled + (pooled + 1) * 512 + 2 * 512 + (512 + 1) * targets
  )  # BN, linear, BN, linear
  assert size_of(params.pop("head")) == head
  # torchvision's resnetNN without its fc layer.
  assert size_of(params) == backbone
  assert output.shape == (2, targets)
  assert output.dtype == jnp.float32
  assert shapes["head/bn1"] == (2, pooled)


@pytest.mark.parametrize(
  ("size", "sides"),
  [
    (128, (64, 32, 32, 16, 8, 4)),
    (96, (48, 24, 24, 12, 6, 3)),
    # Odd at each level; torchvision rounds up.
    (75, (38, 19, 19, 10, 5, 3)),
  ],
)
@pytest.mark.parametrize(("depth", "expansion"), [(34, 1), (50, 4)])
def test_feature_maps_are_as_large_as_torchvisions(
  size, sides, depth, expansion
):
  _, _, shapes = abstract(models.ResNet(**FULL[depth]), size)
  names = ("stem/conv", "stem", "stage1", "stage2", "stage3", "stage4")
  assert tuple(shapes[name][1] for name in names) == sides
  assert all(shapes[name][1] == shapes[name][2] for name in names)
  widths = tuple(shapes[name][3] for name in names[2:])
  assert widths == tuple(expansion * w for w in (64, 128, 256, 512))


def test_bottleneck_strides_in_its_3x3_convolution():
  variables, _, shapes = abstract(models.ResNet(**FULL[50]), 128)
  block = variables["params"]["stage2"]["block0"]
  kernels = {
    name: leaf["kernel"].shape
    for name, leaf in block.items()
    if "kernel" in leaf
  }
  assert kernels == {
    "conv1": (1, 1, 256, 128),
    "conv2": (3, 3, 128, 128),
    "conv3": (1, 1, 128, 512),
    "conv_short": (1, 1, 256, 512),
  }
  assert shapes["stage2/block0/conv1"] == (2, 32, 32, 128)
  assert shapes["stage2/block0/conv2"] == (2, 16, 16, 128)
  assert shapes["stage2/block0/conv_short"] == (2, 16, 16, 512)
  # Only where the shape changes is there a convolution in the shortcut.
  assert "conv_short" in variables["params"]["stage1"]["block0"]
  assert "conv_short" not in variables["params"]["stage1"]["block1"]


class NumpyResNet:
  """The forward pass once more, in float64 and without a framework."""

  def __init__(self, variables):
    self.params = variables["params"]
    self.stats = variables["batch_stats"]

  @staticmethod
  def convolve(x, kernel, stride):
    side = kernel.shape[0]
    edge = side // 2
    x = np.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (side, side), (1, 2))
    return np.einsum(
      "bhwcij,ijco->bhwo",
      windows[:, ::stride, ::stride],
      np.asarray(kernel, np.float64),
      optimize=True,
    )

  @staticmethod
  def pool(x):
    edges = ((0, 0), (1, 1), (1, 1), (0, 0))
    x = np.pad(x, edges, constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))
    return windows[:, ::2, ::2].max((-1, -2))

  @staticmethod
  def normalise(x, params, stats):
    p, s = (
      {k: np.asarray(v, np.float64) for k, v in tree.items()}
      for tree in (params, stats)
    )
    scale = p["scale"] / np.sqrt(s["var"] + 1e-5)
    return (x - s["mean"]) * scale + p["bias"]

  def conv_bn(self, x, path, index, stride):
    params, stats = self.params, self.stats
    for name in path:
      params, stats = params[name], stats[name]
    separator = "_" if index == "short" else ""
    x = self.convolve(x, params[f"conv{separator}{index}"]["kernel"], stride)
    name = f"bn{separator}{index}"
    return self.normalise(x, params[name], stats[name])

  def block(self, x, path, stride):
    params = self.params[path[0]][path[1]]
    # A bottleneck strides in its second convolution, a basic block in its
    # first.
    bottleneck = "conv3" in params
    strides = (1, stride, 1) if bottleneck else (stride, 1)
    y = x
    for i, s in enumerate(strides, start=1):
      y = self.conv_bn(y, path, str(i), s)
      if i < len(strides):
        y = np.maximum(y, 0)
    if "conv_short" in params:
      x = self.conv_bn(x, path, "short", stride)
    return np.maximum(x + y, 0)

  def __call__(self, x):
    x = np.asarray(x, np.float64)
    x = self.pool(np.maximum(self.conv_bn(x, ("stem",), "", 2), 0))
    stages = sorted(name for name in self.params if name.startswith("stage"))
    for stage in stages:
      for name in sorted(self.params[stage]):
        first = stage != "stage1" and name == "block0"
        x = self.block(x, (stage, name), 2 if first else 1)
    head, stats = self.params["head"], self.stats["head"]
    x = np.concatenate([x.max((1, 2)), x.mean((1, 2))], axis=1)
    x = self.normalise(x, head["bn1"], stats["bn1"])
    x = x @ np.asarray(head["dense1"]["kernel"]) + head["dense1"]["bias"]
    x = self.normalise(np.maximum(x, 0), head["bn2"], stats["bn2"])
    return x @ np.asarray(head["dense2"]["kernel"]) + head["dense2"]["bias"]


@pytest.mark.parametrize(("block", "size"), [("basic", 45), ("bottleneck", 32)])
def test_forward_pass_is_that_of_numpy(block, size):
  model = tiny(stage_sizes=(1, 2), block=models.BLOCKS[block], num_targets=2)
  x = images(3, size, size)
  variables = drawn(model)
  found = run(model, variables, x, train=False)
  with jax.numpy_rank_promotion("allow"):
    expected = NumpyResNet(variables)(x)
  assert np.std(expected) > 0.1
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def pool_of_lax(x):
  edges = ((0, 0), (1, 1), (1, 1), (0, 0))
  return jax.lax.reduce_window(
    x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), edges
  )


@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (2, 7, 9, 3), (1, 1, 2, 1)])
def test_max_pool_is_reduce_window(shape):
  rng = np.random.default_rng(1)
  # No two alike, so that each maximum has one gradient.
  x = rng.permutation(np.prod(shape)).reshape(shape) + 1.0
  x = jnp.asarray(x, jnp.float32)
  expected = pool_of_lax(x)
  found = models.max_pool(x)
  np.testing.assert_array_equal(found, expected)
  weights = jnp.asarray(rng.normal(size=found.shape), jnp.float32)
  gradients = [
    jax.jit(jax.vjp(pool, x)[1])(weights)[0]
    for pool in (models.max_pool, pool_of_lax)
  ]
  assert (gradients[1] == 0).any()
  np.testing.assert_allclose(*gradients, rtol=1e-6)


def modules_of(captured):
  outputs = captured["intermediates"]
  return {name: outputs[name]["__call__"][0] for name in outputs}


def capture(module, method):
  return method == "__call__" and module.name in models.MODULES


def test_frozen_modules_stay_in_evaluation_mode(network):
  model, variables, x = network
  frozen = ("stem", "stage1")
  _, plain = run(
    model,
    variables,
    x,
    train=False,
    capture_intermediates=capture,
    mutable=["intermediates"],
  )
  _, updates = run(
    model,
    variables,
    x,
    train=True,
    frozen=frozen,
    capture_intermediates=capture,
    mutable=["intermediates", "batch_stats"],
  )
  before, after = modules_of(plain), modules_of(updates)
  for name in ("stem", "stage1", "stage2", "head"):
    pairs = list(
      zip(
        jax.tree.leaves(variables["batch_stats"][name]),
        jax.tree.leaves(updates["batch_stats"][name]),
        strict=True,
      )
    )
    if name in frozen:
      assert all((old == new).all() for old, new in pairs)
      np.testing.assert_allclose(after[name], before[name], rtol=1e-6)
    else:
      assert all((old != new).all() for old, new in pairs)
      assert np.abs(after[name] - before[name]).max() > 0.1


def test_frozen_head_keeps_its_statistics(network):
  model, variables, x = network
  _, updates = run(
    model,
    variables,
    x,
    train=True,
    frozen=("head",),
    mutable=["batch_stats"],
  )
  jax.tree.map(
    np.testing.assert_array_equal,
    variables["batch_stats"]["head"],
    updates["batch_stats"]["head"],
  )


def test_running_statistics_move_by_a_tenth(network):
  model, variables, x = network
  _, updates = run(
    model,
    variables,
    x,
    train=True,
    capture_intermediates=lambda module, _: module.name == "dense1",
    mutable=["intermediates", "batch_stats"],
  )
  kernel = variables["params"]["stem"]["conv"]["kernel"]
  maps = NumpyResNet.convolve(np.asarray(x, np.float64), kernel, 2)
  dense = updates["intermediates"]["head"]["dense1"]["__call__"][0]
  # Four values a channel: their unbiased variance would be a third larger.
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


def test_dropout_is_off_in_evaluation_and_on_beneath_a_frozen_backbone():
  x = images(4, 32, 32)
  dropping, keeping = tiny(), tiny(dropout_rates=(0.0, 0.0))
  variables = drawn(dropping)
  np.testing.assert_array_equal(
    run(dropping, variables, x, train=False),
    run(keeping, variables, x, train=False),
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
  head = models.Head(
    num_targets=1, width=256, dropout_rates=(0.25, 0.5), dtype=jnp.float32
  )
  x = jnp.asarray(np.random.default_rng(0).normal(size=(64, 2, 2, 128)))
  variables = head.init(jax.random.key(0), x, train=False)
  _, captured = head.apply(
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
  head = models.Head(1, 8, (0.0, 0.0), jnp.float32)
  variables = head.init(jax.random.key(0), x, train=False)
  _, captured = head.apply(
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


def test_bfloat16_computes_coarsely_and_keeps_float32(network):
  model, variables, x = network
  coarse = model.clone(dtype=jnp.bfloat16)
  fresh = jax.tree.leaves(abstract_variables(coarse))
  assert {leaf.dtype.name for leaf in fresh} == {"float32"}
  expected = run(model, variables, x, train=False)
  found, captured = run(
    coarse,
    variables,
    x,
    train=False,
    capture_intermediates=capture,
    mutable=["intermediates"],
  )
  outputs = modules_of(captured)
  assert outputs["stem"].dtype == outputs["stage2"].dtype == jnp.bfloat16
  assert found.dtype == jnp.float32
  assert 0 < np.abs(found - expected).max() < 0.05 * np.std(expected)
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
    # Whole normals, not cut at two standard deviations as Flax's default.
    assert np.mean(np.abs(z) > 2.5) == pytest.approx(0.0124, abs=0.005)

  stem = init(models.Stem(64, jnp.float32), (1, 32, 32, 3))
  # Fan-out: output channels times the kernel's area.
  check(stem["conv"]["kernel"], np.sqrt(2 / (64 * 49)))
  assert (stem["bn"]["scale"] == 1).all()
  head = init(models.Head(20, 256, (0.25, 0.5), jnp.float32), (1, 2, 2, 64))
  # Fan-in: 64 maxima and 64 means.
  check(head["dense1"]["kernel"], np.sqrt(2 / 128))
  check(head["dense2"]["kernel"], np.sqrt(2 / 256))
  for name in ("dense1", "dense2"):
    assert not head[name]["bias"].any()


def test_first_predictions_are_the_label_means():
  # Without stages, whose weights take long to draw.
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
  model = models.from_config(config.model, 2)
  phase = schedules.make_phases(config.optim, 3)[0]
  means = np.float32([8.9065, 10.056])
  state = train_state.create(model, config, phase, means)
  found = run(model, state.variables, images(4, 32, 32), train=False)
  np.testing.assert_array_equal(found, np.tile(means, (4, 1)))
  assert int(state.step) == 0


def test_config_describes_the_network():
  config = resnet34.get_config().model
  model = models.from_config(config, 3)
  assert model == models.ResNet(
    stage_sizes=(3, 4, 6, 3),
    block=models.BasicBlock,
    width=64,
    head_width=512,
    dropout_rates=(0.25, 0.5),
    num_targets=3,
    dtype=jnp.dtype("bfloat16"),
  )
  config.block = "bottleneck"
  assert models.from_config(config, 1).block is models.BottleneckBlock
