"""Sizes, strides and padding of the network: torchvision's."""

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


def abstract(model, size):
  """Returns abstract variables and the abstract outputs of all modules."""
  x = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
  variables = small_networks.abstract_variables(model)
  output, captured = jax.eval_shape(
    lambda v, x: model.apply(
      v,
      x,
      train=True,
      rngs={"dropout": jax.random.key(0)},
      capture_intermediates=True,
      mutable=["intermediates", "batch_stats"],
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
  model = resnet.ResNet(**FULL[depth], num_targets=targets)
  variables, output, shapes = abstract(model, 128)
  params = dict(variables["params"])
  assert set(params) == set(resnet.MODULES)
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
  _, _, shapes = abstract(resnet.ResNet(**FULL[depth]), size)
  names = ("stem/bn", "stem", "stage1", "stage2", "stage3", "stage4")
  assert tuple(shapes[name][1] for name in names) == sides
  assert all(shapes[name][1] == shapes[name][2] for name in names)
  widths = tuple(shapes[name][3] for name in names[2:])
  assert widths == tuple(expansion * w for w in (64, 128, 256, 512))


def test_bottleneck_strides_in_its_3x3_convolution():
  variables, _, shapes = abstract(resnet.ResNet(**FULL[50]), 128)
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
  assert shapes["stage2/block0/bn1"] == (2, 32, 32, 128)
  assert shapes["stage2/block0/bn2"] == (2, 16, 16, 128)
  assert shapes["stage2/block0/bn_short"] == (2, 16, 16, 512)
  # Only where the shape changes is there a convolution in the shortcut.
  assert "conv_short" in variables["params"]["stage1"]["block0"]
  assert "conv_short" not in variables["params"]["stage1"]["block1"]


def test_gradient_of_resnet_34_has_no_convolution_too_many(monkeypatch):
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
  # Forward, for each kernel, and for each input but the image's.
  assert text.count("stablehlo.convolution") == 36 + 36 + 35
