"""Loads ImageNet weights and exports weights for PyTorch.

Both use the names of torchvision's ResNet state dict, which timm shares.
`load` fills the convolutions and BatchNorms of a new network; the head keeps
its weights because ImageNet's `fc` predicts 1000 classes. `save` writes the
whole network, with the head as `head.*`. In PyTorch:

  class ConcatPool(nn.Module):
    def forward(self, x):
      return torch.cat([x.amax((2, 3)), x.mean((2, 3))], dim=1)

  net = torchvision.models.resnet34()
  net.avgpool, net.fc = ConcatPool(), nn.Identity()
  net.head = nn.Sequential(collections.OrderedDict(
    bn1=nn.BatchNorm1d(1024), dropout1=nn.Dropout(0.25),
    dense1=nn.Linear(1024, 512), relu=nn.ReLU(),
    bn2=nn.BatchNorm1d(512), dropout2=nn.Dropout(0.5),
    dense2=nn.Linear(512, num_targets)))
  net.load_state_dict(safetensors.torch.load_file(path))
  net.eval()
  predictions = net.head(net(images))

Images are `[B, 3, H, W]`, RGB / 255, minus ImageNet's mean and divided by its
deviation. ResNet-50 is `resnet50()` with 4096 features instead of 1024.
"""

from collections.abc import Mapping
import pathlib
import re
from typing import Any

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from galmet_jax import errors
from galmet_jax.models import weight_files
from tfds_sdss import files

# Models of timm on Hugging Face, pinned because their weights may be replaced.
_TIMM_REVISIONS = {
  "resnet34.tv_in1k": "c983eba7f5e69bc3548a626d1b0b0b914e5de3a6",
}

# Our modules and torchvision's.
_LAYERS = (
  (r"stem/(conv|bn)", r"\g<1>1"),
  (r"stage(\d)/block(\d+)/((?:conv|bn)\d)", r"layer\1.\2.\3"),
  (r"stage(\d)/block(\d+)/conv_short", r"layer\1.\2.downsample.0"),
  (r"stage(\d)/block(\d+)/bn_short", r"layer\1.\2.downsample.1"),
  (r"head/(\w+)", r"head.\1"),
)
_LEAVES = {
  "kernel": "weight",
  "scale": "weight",
  "bias": "bias",
  "mean": "running_mean",
  "var": "running_var",
}
# Our axes in torch's order, by the number of axes: vectors, Dense (I, O) to
# (O, I), convolution HWIO to OIHW.
_AXES = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}


def load(source: str, variables: Mapping[str, Any]) -> dict[str, Any]:
  """Fills a new network with the weights of a torchvision state dict.

  Args:
    source: FILE.safetensors, FILE.pth or FILE.pt (the last two need PyTorch),
      or timm:resnet34.tv_in1k, which is downloaded and cached.
    variables: the network's `params` and `batch_stats`.

  Returns:
    Variables of the same structure: float32 stem and stages from `source`, and
    the head of `variables`.

  Raises:
    ConfigError: if the weights cannot be downloaded or read, do not fit the
      network, or are not finite.
  """
  if source.startswith("timm:"):
    path = _download(source.removeprefix("timm:"))
  else:
    path = files.local_path(source, "--config.model.pretrained")
  state = weight_files.read(path)
  flat = traverse_util.flatten_dict(dict(variables))
  names = {leaf: _torch_name(leaf) for leaf in flat if leaf[1] != "head"}
  shapes = {
    name: tuple(flat[leaf].shape[axis] for axis in _AXES[flat[leaf].ndim])
    for leaf, name in names.items()
  }
  _check_shapes(source, shapes, state)
  for leaf, name in names.items():
    weights = state[name].astype(np.float32)
    if not np.isfinite(weights).all():
      raise errors.ConfigError(
        f"{name} in {source} has values that are not finite in float32. Set "
        "--config.model.pretrained to another file."
      )
    axes = np.argsort(_AXES[weights.ndim])
    flat[leaf] = jnp.asarray(weights.transpose(axes))
  return traverse_util.unflatten_dict(flat)


def to_torchvision(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Returns a network's variables as a state dict with torchvision's names.

  The inverse of `load`, with the head as well: `head.bn1`, `head.dense1`,
  `head.bn2` and `head.dense2`. `num_batches_tracked` is left out;
  `load_state_dict` accepts that. The module docstring shows the network that
  loads it.

  Raises:
    ConfigError: if torchvision has no such network.
  """
  flat = traverse_util.flatten_dict(dict(jax.device_get(variables)))
  # Contiguous because safetensors ignores strides.
  return {
    _torch_name(path): np.ascontiguousarray(leaf.transpose(_AXES[leaf.ndim]))
    for path, leaf in flat.items()
  }


def save(variables: Mapping[str, Any], path: pathlib.Path) -> None:
  """Writes `to_torchvision(variables)` as a .safetensors file.

  Raises:
    ConfigError: if torchvision has no such network.
  """
  import safetensors.numpy

  # safetensors.numpy.save_file makes a file that only its owner can read.
  state = to_torchvision(variables)
  data = safetensors.numpy.save(state, metadata={"format": "pt"})
  files.write_atomically(path, data)


def _torch_name(path: tuple[str, ...]) -> str:
  _, *modules, leaf = path
  name = "/".join(modules)
  for pattern, template in _LAYERS:
    match = re.fullmatch(pattern, name)
    if match and leaf in _LEAVES:
      return f"{match.expand(template)}.{_LEAVES[leaf]}"
  raise errors.ConfigError(
    f"torchvision's ResNets have no {name}/{leaf}. Pretrained weights "
    "work with --config.model.network=resnet only; to train another network, "
    "set --config.model.pretrained= (empty)."
  )


def _download(name: str) -> pathlib.Path:
  """Returns the path of cached weights; downloads them if necessary."""
  if name not in _TIMM_REVISIONS:
    raise errors.ConfigError(
      f"model.pretrained is timm:{name}; expected timm: and one of "
      f"{sorted(_TIMM_REVISIONS)}. For another model, download its "
      ".safetensors file and set --config.model.pretrained to the path."
    )
  import huggingface_hub

  revision = _TIMM_REVISIONS[name]
  try:
    return pathlib.Path(
      huggingface_hub.hf_hub_download(
        repo_id=f"timm/{name}", filename="model.safetensors", revision=revision
      )
    )
  # huggingface_hub and its HTTP and Rust clients have no common base error.
  except Exception as error:
    raise errors.ConfigError(
      f"timm:{name} is not cached and could not be downloaded ({error}). "
      "On a machine with network access, run\n"
      f"  hf download timm/{name} model.safetensors --revision {revision} "
      "--local-dir .\n"
      "and set --config.model.pretrained to the file; or start from random "
      "weights with --config.model.pretrained="
    ) from error


def _check_shapes(
  source: str,
  expected: Mapping[str, tuple[int, ...]],
  state: Mapping[str, np.ndarray],
) -> None:
  found = {
    name: leaf.shape
    for name, leaf in state.items()
    if not weight_files.IGNORED.fullmatch(name)
  }
  faults = {
    "missing": [
      f"{name}, expected {expected[name]}"
      for name in expected
      if name not in found
    ],
    "unexpected": [
      f"{name}, found {found[name]}" for name in found if name not in expected
    ],
    "of another shape": [
      f"{name}, expected {shape}, found {found[name]}"
      for name, shape in expected.items()
      if found.get(name, shape) != shape
    ],
  }
  if not any(faults.values()):
    return
  lines = [f"{source} does not fit the network:"]
  for kind, items in faults.items():
    if items:
      lines.append(f"  {len(items)} {kind}:")
      lines += [f"    {item}" for item in items[:10]]
      lines += ["    ..."] * (len(items) > 10)
  lines.append(
    "Set --config.model.pretrained to weights of this network (model.block, "
    "model.stage_sizes, model.width) with torchvision's names."
  )
  raise errors.ConfigError("\n".join(lines))
