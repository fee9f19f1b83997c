"""Parameters and sizes of feature maps: torchvision's."""

from flax import traverse_util
import jax
import jax.numpy as jnp
import pytest

from galmet_jax.devices.cpu import xla
from galmet_jax.models import resnet
from tests.galmet_jax.models import small_networks

FULL = {
  18: {"stage_sizes": (2, 2, 2, 2)},
  34: {"stage_sizes": (3, 4, 6, 3)},
  50: {"stage_sizes": (3, 4, 6, 3), "block": resnet.BottleneckBlock},
}


def parameters(stage_sizes, num_targets):
  """Returns the shape of every variable of a ResNet of basic blocks."""
  shapes = {}

  def bn(name, features):
    for leaf in ("params/{}/scale", "params/{}/bias"):
      shapes[leaf.format(name)] = (features,)
    for leaf in ("batch_stats/{}/mean", "batch_stats/{}/var"):
      shapes[leaf.format(name)] = (features,)

  def conv_bn(module, suffix, *shape):
    shapes[f"params/{module}/conv{suffix}/kernel"] = shape
    bn(f"{module}/bn{suffix}", shape[-1])

  def dense(name, *shape):
    shapes[f"params/{name}/kernel"] = shape
    shapes[f"params/{name}/bias"] = shape[-1:]

  conv_bn("stem", "", 7, 7, 3, 64)
  for stage, blocks in enumerate(stage_sizes):
    n = 64 * 2**stage
    for i in range(blocks):
      block = f"stage{stage + 1}/block{i}"
      first = i == 0 and stage > 0
      conv_bn(block, "1", 3, 3, n // 2 if first else n, n)
      conv_bn(block, "2", 3, 3, n, n)
      if first:
        conv_bn(block, "_short", 1, 1, n // 2, n)
  bn("head/bn1", 1024)
  dense("head/dense1", 1024, 512)
  bn("head/bn2", 512)
  dense("head/dense2", 512, num_targets)
  return shapes


@pytest.mark.parametrize("depth", [18, 34])
def test_checkpoints_keep_their_paths_and_shapes(depth):
  model = resnet.ResNet(**FULL[depth], num_targets=3)
  variables = small_networks.abstract_variables(model)
  flat = traverse_util.flatten_dict(variables, sep="/")
  expected = parameters(FULL[depth]["stage_sizes"], num_targets=3)
  assert {path: leaf.shape for path, leaf in flat.items()} == expected


@pytest.mark.parametrize(
  ("depth", "backbone"), [(18, 11_176_512), (34, 21_284_672), (50, 23_508_032)]
)
def test_number_of_parameters_equals_torchvision_without_fc(depth, backbone):
  model = resnet.ResNet(**FULL[depth])
  params = dict(small_networks.abstract_variables(model)["params"])
  assert set(params) == set(resnet.MODULES)
  del params["head"]
  assert sum(leaf.size for leaf in jax.tree.leaves(params)) == backbone


def module_outputs(model, size):
  """Returns the abstract outputs of the network and of its modules."""

  def forward(variables, x):
    return model.apply(
      variables,
      x,
      train=True,
      rngs={"dropout": jax.random.key(0)},
      capture_intermediates=True,
      mutable=["intermediates", "batch_stats"],
    )

  variables = small_networks.abstract_variables(model)
  x = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
  output, captured = jax.eval_shape(forward, variables, x)
  flat = traverse_util.flatten_dict(captured["intermediates"])
  # A module's own output comes after those of its ConvBNs.
  return output, {"/".join(path[:-1]): out[-1] for path, out in flat.items()}


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
def test_sizes_of_feature_maps(size, sides, depth, expansion):
  model = resnet.ResNet(**FULL[depth], num_targets=3)
  output, modules = module_outputs(model, size)
  names = ("stem/bn", "stem", "stage1", "stage2", "stage3", "stage4")
  widths = (64, 64, *(expansion * n for n in (64, 128, 256, 512)))
  for name, side, width in zip(names, sides, widths, strict=True):
    assert modules[name].shape == (2, side, side, width), name
  assert modules["head/bn1"].shape == (2, 2 * expansion * 512)
  assert output.shape == (2, 3)
  assert output.dtype == jnp.float32


def test_bottleneck_block():
  model = resnet.ResNet(**FULL[50])
  _, modules = module_outputs(model, 128)
  params = small_networks.abstract_variables(model)["params"]
  kernels = {
    name: leaf["kernel"].shape
    for name, leaf in params["stage2"]["block0"].items()
    if "kernel" in leaf
  }
  assert kernels == {
    "conv1": (1, 1, 256, 128),
    "conv2": (3, 3, 128, 128),
    "conv3": (1, 1, 128, 512),
    "conv_short": (1, 1, 256, 512),
  }
  # The 3×3 convolution has the stride.
  assert modules["stage2/block0/bn1"].shape == (2, 32, 32, 128)
  assert modules["stage2/block0/bn2"].shape == (2, 16, 16, 128)
  assert modules["stage2/block0/bn_short"].shape == (2, 16, 16, 512)
  # The shortcut has a convolution only if the shape changes.
  assert "conv_short" in params["stage1"]["block0"]
  assert "conv_short" not in params["stage1"]["block1"]


def test_number_of_convolutions_in_the_gradient(monkeypatch):
  monkeypatch.setattr(xla, "in_use", lambda: False)
  model = resnet.ResNet(**FULL[34])
  variables = small_networks.abstract_variables(model)
  x = jax.ShapeDtypeStruct((2, 128, 128, 3), jnp.float32)

  def loss(params, rest, x):
    return model.apply(
      {"params": params, **rest},
      x,
      train=True,
      rngs={"dropout": jax.random.key(0)},
      mutable=["batch_stats"],
    )[0].sum()

  params = variables.pop("params")
  text = jax.jit(jax.grad(loss)).lower(params, variables, x).as_text()
  # Forward, for the kernels, and for the inputs except the images.
  assert text.count("stablehlo.convolution") == 36 + 36 + 35
