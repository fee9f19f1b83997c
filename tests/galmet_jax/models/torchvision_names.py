"""Random state dicts with torchvision's names, without torchvision.

goldens/resnets.npz contains torchvision's outputs for two of them. The weights
are drawn again in each test, which keeps the file small.
"""

import math
import pathlib

import numpy as np

GOLDENS = pathlib.Path(__file__).parents[2] / "goldens" / "resnets.npz"
EXPANSION = {"basic": 1, "bottleneck": 4}
# Golden networks: block, blocks per stage, height and width of the images.
NETWORKS = {
  "resnet34": ("basic", (3, 4, 6, 3), (64, 53)),
  "resnet50": ("bottleneck", (3, 4, 6, 3), (64, 64)),
}
STAGES = ("stem", "stage1", "stage2", "stage3", "stage4")


def shapes(block, stage_sizes, width=64, classes=1000, head=None):
  """Returns the shapes of all tensors in torchvision's order.

  `head` is (features, targets) of our head, which comes last.
  """
  found = {}

  def conv(name, out, inner, side):
    found[f"{name}.weight"] = (out, inner, side, side)

  def bn(name, size):
    for leaf in ("weight", "bias", "running_mean", "running_var"):
      found[f"{name}.{leaf}"] = (size,)
    found[f"{name}.num_batches_tracked"] = ()

  def linear(name, out, inner):
    found[f"{name}.weight"] = (out, inner)
    found[f"{name}.bias"] = (out,)

  conv("conv1", width, 3, 7)
  bn("bn1", width)
  size = width
  for stage, blocks in enumerate(stage_sizes):
    inner = width * 2**stage
    out = inner * EXPANSION[block]
    sides = (3, 3) if block == "basic" else (1, 3, 1)
    for i in range(blocks):
      path = f"layer{stage + 1}.{i}"
      outs = [inner] * (len(sides) - 1) + [out]
      for j, side in enumerate(sides):
        conv(f"{path}.conv{j + 1}", outs[j], outs[j - 1] if j else size, side)
        bn(f"{path}.bn{j + 1}", outs[j])
      if i == 0 and (stage > 0 or size != out):
        conv(f"{path}.downsample.0", out, size, 1)
        bn(f"{path}.downsample.1", out)
      size = out
  linear("fc", classes, size)
  if head:
    features, targets = head
    bn("head.bn1", 2 * size)
    linear("head.dense1", features, 2 * size)
    bn("head.bn2", features)
    linear("head.dense2", targets, features)
  return found


def draw(shapes_by_name, seed=0):
  """Draws weights that differ from all defaults and keep features near one.

  Each tensor has its own generator, so that the order does not matter.
  """
  state = {}
  for name, shape in shapes_by_name.items():
    rng = np.random.default_rng([seed, *name.encode()])
    if name.endswith("num_batches_tracked"):
      state[name] = np.array(7, np.int64)
      continue
    if name.endswith("running_var"):
      values = rng.uniform(0.5, 2.0, shape)
    elif len(shape) > 1:
      # A smaller gain in blocks, because their sums would grow with depth.
      gain = 0.5 if ".conv" in name else 1.0
      std = gain * math.sqrt(2 / math.prod(shape[1:]))
      values = std * rng.standard_normal(shape, np.float32)
    elif name.endswith("weight"):
      values = rng.uniform(0.5, 1.5, shape)
    else:
      values = rng.normal(0, 0.3, shape)
    state[name] = values.astype(np.float32)
  return state


def without(state, *prefixes):
  """Returns the state dict without names that have these prefixes."""
  return {
    name: leaf for name, leaf in state.items() if not name.startswith(prefixes)
  }


def draw_network(name):
  """Draws the weights of a golden network with both fc and our head."""
  block, stage_sizes, _ = NETWORKS[name]
  return draw(shapes(block, stage_sizes, head=(512, 2)))


def images(name):
  """Draws the normalised images `[2, H, W, 3]` of a golden network."""
  shape = (2, *NETWORKS[name][2], 3)
  return np.random.default_rng(1).standard_normal(shape, np.float32)


def thin(maps):
  """Returns eight channels of `[B, H, W, C]`, which keeps the file small."""
  return maps[..., :: maps.shape[-1] // 8]
