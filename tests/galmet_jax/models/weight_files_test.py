"""Files of weights whose tensors are of other kinds, or that are damaged.

The tests of .pth files run only if PyTorch is installed.
"""

import collections
import struct

import numpy as np
import pytest
import safetensors.numpy

from galmet_jax import errors
from galmet_jax.models import weight_files


def refused(path, message):
  with pytest.raises(errors.ConfigError, match=message):
    weight_files.read(path)


@pytest.mark.parametrize(
  "dtype", [np.bool_, np.int8, np.uint8, np.int32, np.int64]
)
def test_tensors_that_are_not_floats_are_named(tmp_path, dtype):
  path = tmp_path / "weights.safetensors"
  tensors = {
    "conv1.weight": np.ones(2, np.float16),
    "bn1.num_batches_tracked": np.array(3),
    "fc.weight": np.ones(2, dtype),
  }
  safetensors.numpy.save_file(tensors, path)
  assert set(weight_files.read(path)) == set(tensors)
  tensors["layer1.0.conv1.weight"] = np.ones(2, dtype)
  safetensors.numpy.save_file(tensors, path)
  refused(path, rf"layer1\.0\.conv1\.weight \({np.dtype(dtype)}\)")


@pytest.mark.parametrize(
  "header",
  [
    b"",
    b"{",
    b"[]",
    b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
    b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,0]}}',
    b'{"a":{"dtype":"X9","shape":[],"data_offsets":[0,0]}}',
    b'{"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}',
    b'{"a":{"dtype":"F8_E8M0","shape":[0],"data_offsets":[0,0]}}',
    b"[" * 10_000,
  ],
)
def test_damaged_headers(tmp_path, header):
  path = tmp_path / "weights.safetensors"
  path.write_bytes(struct.pack("<Q", len(header)) + header)
  refused(path, "cannot be read as safetensors|expected floating-point")


@pytest.mark.parametrize("length", [2**20, 2**40, 2**63 + 1, 2**64 - 1])
def test_header_longer_than_the_file(tmp_path, length):
  path = tmp_path / "weights.safetensors"
  path.write_bytes(struct.pack("<Q", length) + b"{}")
  refused(path, "cannot be read as safetensors")


def odd_tensors(torch):
  weight = torch.ones(2, 2)
  return {
    "sparse": weight.to_sparse(),
    "quantized": torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8),
    "complex": weight.to(torch.complex64),
    "meta": weight.to("meta"),
    "int": weight.to(torch.int32),
    "bool": weight.to(torch.bool),
  }


@pytest.mark.parametrize(
  "kind", ["sparse", "quantized", "complex", "meta", "int", "bool"]
)
@pytest.mark.filterwarnings("default")
def test_odd_tensors_of_pytorch_are_named(tmp_path, kind):
  torch = pytest.importorskip("torch")
  path = tmp_path / "weights.pth"
  tensors = {
    "conv1.weight": torch.ones(2, dtype=torch.bfloat16, requires_grad=True),
    "bn1.num_batches_tracked": torch.tensor(3),
  }
  torch.save(tensors, path)
  found = weight_files.read(path)
  assert found["conv1.weight"].dtype == np.float32
  torch.save({**tensors, "odd.weight": odd_tensors(torch)[kind]}, path)
  refused(path, r"odd\.weight|cannot be read as weights of PyTorch")


@pytest.mark.parametrize(
  "content",
  ["text", 3, ["a"], {"state_dict": {}}, {1: 2}, {"epoch": 3, "a": "b"}],
)
@pytest.mark.filterwarnings("default")
def test_other_contents_of_pytorch(tmp_path, content):
  torch = pytest.importorskip("torch")
  path = tmp_path / "weights.pt"
  torch.save(content, path)
  refused(path, "expected tensors by name")


@pytest.mark.filterwarnings("default")
def test_names_of_tensors_must_be_texts(tmp_path):
  torch = pytest.importorskip("torch")
  path = tmp_path / "weights.pt"
  torch.save(collections.OrderedDict({1: torch.ones(1)}), path)
  refused(path, r"contains \[1\]; expected tensors by name")
