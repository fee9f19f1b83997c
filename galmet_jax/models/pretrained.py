"""ImageNet weights for the ResNets, and weights for users of PyTorch.

Both ways go through torchvision's state dict of a plain ResNet, which timm
shares. `load` fills the convolutions and BatchNorms of a fresh network; its
head stays, for ImageNet's `fc` names 1000 classes. `save` writes the whole
network under the same names, with our head as `head.*`. In PyTorch:

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

Images are `[B, 3, H, W]`, RGB / 255 less ImageNet's mean, over its deviation.
For ResNet-50, `resnet50()` and 4096 features instead of 1024.
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

# The revisions of the models at Hugging Face's timm that are known to fit: a
# name alone may mean other weights tomorrow.
_TIMM_REVISIONS = {
  "resnet34.tv_in1k": "c983eba7f5e69bc3548a626d1b0b0b914e5de3a6",
}
_SOURCES = "FILE.safetensors, FILE.pth, FILE.pt or timm:resnet34.tv_in1k"

# Our modules, and what torchvision calls them.
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
# By number of axes: vectors, Dense (I, O) -> (O, I), Conv HWIO -> OIHW.
_AXES = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}
# Outputs that are not ours, ours of another network, and a count which only
# torch's BatchNorm without momentum reads.
_PASSED_OVER = re.compile(r"fc\..*|head\..*|.*\.num_batches_tracked")


def load(source: str, variables: Mapping[str, Any]) -> dict[str, Any]:
  """Fills a fresh network with the weights of a torchvision state dict.

  Args:
    source: FILE.safetensors, FILE.pth or FILE.pt (these two need PyTorch), or
      timm:resnet34.tv_in1k, which is downloaded once.
    variables: the network's `params` and `batch_stats`.

  Returns:
    Variables of the same structure: stem and stages from `source` as float32,
    the head as it was.

  Raises:
    ConfigError: for weights that cannot be had or read, are of another network
      than `variables`, or not finite.
  """
  if source.startswith("timm:"):
    path = _download(source.removeprefix("timm:"))
  else:
    path = pathlib.Path(source).expanduser()
  state = _read(path)
  flat = traverse_util.flatten_dict(dict(variables))
  names = {place: _name(place) for place in flat if place[1] != "head"}
  shapes = {
    name: tuple(flat[place].shape[i] for i in _AXES[len(flat[place].shape)])
    for place, name in names.items()
  }
  _check_fits(source, shapes, state)
  for place, name in names.items():
    weights = state[name].astype(np.float32)
    if not np.isfinite(weights).all():
      raise errors.ConfigError(
        f"{name} of {source} is not finite; expected numbers that float32 can "
        "hold. Give model.pretrained another file."
      )
    axes = np.argsort(_AXES[weights.ndim])
    flat[place] = jnp.asarray(weights.transpose(axes))
  return traverse_util.unflatten_dict(flat)


def to_torchvision(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Returns a network's variables as torchvision's state dict.

  The inverse of `load`, and the head besides: `head.bn1`, `head.dense1`,
  `head.bn2` and `head.dense2`, each with torch's names (`head.bn1.weight`,
  `head.bn1.running_mean`, `head.dense1.weight` `[O, I]`, `head.dense1.bias`).
  There is no `num_batches_tracked`, which `load_state_dict` does not miss.
  The module's docstring has the network they belong to.

  Raises:
    ConfigError: for a network that is no ResNet of torchvision's.
  """
  flat = traverse_util.flatten_dict(dict(jax.device_get(variables)))
  return {
    _name(place): np.ascontiguousarray(leaf.transpose(_AXES[leaf.ndim]))
    for place, leaf in flat.items()
  }


def save(variables: Mapping[str, Any], path: pathlib.Path) -> None:
  """Writes `to_torchvision(variables)` as a .safetensors file.

  Raises:
    ConfigError: for a network that is no ResNet of torchvision's.
  """
  import safetensors.numpy

  # safetensors writes strided views in the wrong order: all are contiguous. Its
  # save_file would make a file that nobody else may read.
  state = to_torchvision(variables)
  path.write_bytes(safetensors.numpy.save(state, metadata={"format": "pt"}))


def _name(place: tuple[str, ...]) -> str:
  """Returns torchvision's name of the leaf at a place in the variables."""
  _, *modules, leaf = place
  ours = "/".join(modules)
  for pattern, theirs in _LAYERS:
    match = re.fullmatch(pattern, ours)
    if match and leaf in _LEAVES:
      return f"{match.expand(theirs)}.{_LEAVES[leaf]}"
  raise errors.ConfigError(
    f"{ours}/{leaf} is in no ResNet of torchvision's; expected a plain ResNet, "
    "as of configs/resnet34.py. Others have neither ImageNet weights "
    "(model.pretrained) nor an export."
  )


def _download(name: str) -> pathlib.Path:
  """Returns the weights' file in the cache, after a download if need be."""
  if name not in _TIMM_REVISIONS:
    raise errors.ConfigError(
      f"model.pretrained is timm:{name}; expected timm: and one of "
      f"{sorted(_TIMM_REVISIONS)}. Of other models download the .safetensors "
      "file and give its path."
    )
  import huggingface_hub

  revision = _TIMM_REVISIONS[name]
  try:
    return pathlib.Path(
      huggingface_hub.hf_hub_download(
        repo_id=f"timm/{name}", filename="model.safetensors", revision=revision
      )
    )
  # Its own errors and those of its HTTP and Rust clients share no base.
  except Exception as error:
    raise errors.ConfigError(
      f"timm:{name} is not in the cache and could not be downloaded ({error}) "
      f"Where there is a network, run\n"
      f"  hf download timm/{name} model.safetensors --revision {revision} "
      "--local-dir .\n"
      "and give its path as --config.model.pretrained; or start from random "
      "weights: --config.model.pretrained="
    ) from error


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Reads a state dict."""
  if path.suffix not in (".safetensors", ".pth", ".pt"):
    raise errors.ConfigError(
      f"model.pretrained is {path}; expected {_SOURCES}."
    )
  if not path.is_file():
    raise errors.ConfigError(
      f"model.pretrained names {path}, where there is no file; expected "
      f"{_SOURCES}."
    )
  if path.suffix != ".safetensors":
    return _read_torch(path)
  import safetensors.numpy

  try:
    return safetensors.numpy.load_file(path)
  except safetensors.SafetensorError as error:
    raise errors.ConfigError(
      f"{path} cannot be read as safetensors ({error}). Download it again."
    ) from error


def _read_torch(path: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    import torch
  except ImportError as error:
    raise errors.ConfigError(
      f"Reading {path} needs PyTorch, which is not installed. Set "
      "model.pretrained to a .safetensors file or timm:resnet34.tv_in1k, or "
      "run pip install torch."
    ) from error
  try:
    # Tensors only: a pickle could run any code.
    state = torch.load(path, map_location="cpu", weights_only=True)
  # torch and pickle raise whatever the damage leads them to.
  except Exception as error:
    raise errors.ConfigError(
      f"{path} cannot be read as weights of PyTorch ({error}). Download it "
      "again, or write it with torch.save(model.state_dict(), PATH)."
    ) from error
  if not isinstance(state, dict) or not all(
    isinstance(tensor, torch.Tensor) for tensor in state.values()
  ):
    found = list(state)[:10] if isinstance(state, dict) else type(state)
    raise errors.ConfigError(
      f"{path} holds {found}; expected tensors by name. Write it with "
      "torch.save(model.state_dict(), PATH)."
    )
  # NumPy has no bfloat16.
  return {name: leaf.detach().float().numpy() for name, leaf in state.items()}


def _check_fits(
  source: str,
  expected: Mapping[str, tuple[int, ...]],
  state: Mapping[str, np.ndarray],
) -> None:
  found = {
    name: leaf.shape
    for name, leaf in state.items()
    if not _PASSED_OVER.fullmatch(name)
  }
  differing = {
    "missing": [
      f"{name}, expected {shape}"
      for name, shape in expected.items()
      if name not in found
    ],
    "unexpected": [
      f"{name}, found {shape}"
      for name, shape in found.items()
      if name not in expected
    ],
    "of another shape": [
      f"{name}, expected {shape}, found {found[name]}"
      for name, shape in expected.items()
      if found.get(name, shape) != shape
    ],
  }
  if any(differing.values()):
    lines = []
    for kind, items in differing.items():
      if items:
        lines.append(f"  {len(items)} {kind}:")
        lines += [f"    {item}" for item in items[:10]]
        lines += ["    ..."] * (len(items) > 10)
    raise errors.ConfigError(
      f"{source} does not fit the network:\n" + "\n".join(lines) + "\n"
      "Give the weights of this network (model.block, model.stage_sizes, "
      "model.width), named as torchvision does."
    )
