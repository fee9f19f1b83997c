"""Reads files of weights by names: safetensors, and PyTorch's own format."""

from collections.abc import Mapping
import pathlib
import re

import jax.numpy as jnp
import numpy as np

from galmet_jax import errors

_SOURCES = "FILE.safetensors, FILE.pth, FILE.pt or timm:resnet34.tv_in1k"

# ImageNet's classes, the head of an exported network, and a counter that torch
# uses only for a BatchNorm without momentum.
IGNORED = re.compile(r"fc\..*|head\..*|.*\.num_batches_tracked")


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Reads the weights in a file by their names.

  Args:
    path: FILE.safetensors; or FILE.pth or FILE.pt, which need PyTorch.

  Raises:
    ConfigError: if the file is absent, of another kind or damaged, or if a
      tensor that is not `IGNORED` has no floating-point numbers.
    OSError: if the file cannot be opened.
  """
  state = _read(path)
  _check_dtypes(path, state)
  return state


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
  if path.suffix not in (".safetensors", ".pth", ".pt"):
    raise errors.ConfigError(
      f"model.pretrained is {path}; expected {_SOURCES}."
    )
  if not path.is_file():
    raise errors.ConfigError(
      f"model.pretrained is {path}, which does not exist; expected {_SOURCES}."
    )
  if path.suffix != ".safetensors":
    return _read_torch(path)
  import safetensors.numpy

  try:
    return safetensors.numpy.load_file(path)
  except OSError:
    raise
  # NumPy raises others for unknown types and odd shapes.
  except Exception as error:
    raise errors.ConfigError(
      f"{path} cannot be read as safetensors ({error}). Download it again."
    ) from error


def _read_torch(path: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    import torch
  except ImportError as error:
    raise errors.ConfigError(
      f"Reading {path} needs PyTorch, which is not installed. Run pip install "
      "torch, or set --config.model.pretrained to a .safetensors file or "
      "timm:resnet34.tv_in1k."
    ) from error
  advice = "Write it with torch.save(model.state_dict(), PATH)."
  try:
    # weights_only: unpickling can run arbitrary code.
    state = torch.load(path, map_location="cpu", weights_only=True)
  # A damaged file can raise any error of torch or pickle.
  except Exception as error:
    raise errors.ConfigError(
      f"{path} cannot be read as weights of PyTorch ({error}). {advice}"
    ) from error
  if not isinstance(state, dict) or not all(
    isinstance(name, str) and isinstance(tensor, torch.Tensor)
    for name, tensor in state.items()
  ):
    found = list(state)[:10] if isinstance(state, dict) else type(state)
    raise errors.ConfigError(
      f"{path} contains {found}; expected tensors by name. {advice}"
    )
  state = {n: t for n, t in state.items() if not IGNORED.fullmatch(n)}
  odd = [
    f"{name} ({tensor.dtype}, {tensor.layout}, {tensor.device})"
    for name, tensor in state.items()
    if tensor.layout != torch.strided
    or tensor.device.type != "cpu"
    or not tensor.dtype.is_floating_point
  ]
  if odd:
    raise errors.ConfigError(
      f"{path}: expected dense tensors of floating-point numbers on the CPU, "
      f"found {', '.join(odd[:10])}. {advice}"
    )
  # NumPy has no bfloat16.
  return {
    name: tensor.detach().float().numpy() for name, tensor in state.items()
  }


def _check_dtypes(path: pathlib.Path, state: Mapping[str, np.ndarray]) -> None:
  """Raises ConfigError for weights that are not floating-point numbers."""
  odd = [
    f"{name} ({leaf.dtype})"
    for name, leaf in state.items()
    if not IGNORED.fullmatch(name)
    and not jnp.issubdtype(leaf.dtype, jnp.floating)
  ]
  if odd:
    raise errors.ConfigError(
      f"{path}: expected floating-point numbers, found "
      f"{', '.join(odd[:10])}. Set --config.model.pretrained to weights that "
      "are not quantized."
    )
