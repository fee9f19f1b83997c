"""Weights and outputs of torchvision itself; needs torchvision."""

import jax
import numpy as np
import pytest
import safetensors.numpy

from galmet_jax import errors
from galmet_jax.models import pretrained
from galmet_jax.models import resnet
from tests.galmet_jax.models import small_networks
from tests.galmet_jax.models import torchvision_names

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")
from tests.goldens import make_resnet_goldens  # noqa: E402

SIZES = {
  "resnet18": ("basic", (2, 2, 2, 2)),
  "resnet34": ("basic", (3, 4, 6, 3)),
  "resnet50": ("bottleneck", (3, 4, 6, 3)),
}


@pytest.mark.parametrize("name", list(SIZES))
def test_names_and_shapes_equal_torchvision(name):
  state = getattr(torchvision.models, name)().state_dict()
  assert {key: tuple(leaf.shape) for key, leaf in state.items()} == (
    torchvision_names.shapes(*SIZES[name])
  )


@pytest.mark.parametrize("name", ["resnet34", "resnet50"])
def test_exported_network_computes_the_same_in_pytorch(name, tmp_path):
  block, stage_sizes = SIZES[name]
  model = resnet.ResNet(stage_sizes, resnet.BLOCKS[block], num_targets=3)
  shapes = torchvision_names.shapes(block, stage_sizes)
  state = torchvision_names.draw(shapes, seed=1)
  theirs = tmp_path / "theirs.safetensors"
  safetensors.numpy.save_file(state, theirs)
  variables = pretrained.load(str(theirs), small_networks.drawn(model, seed=1))
  x = small_networks.images(3, 97, 80, seed=2)
  found, captured = small_networks.run(
    model,
    variables,
    x,
    train=False,
    capture_intermediates=lambda module, _: module.name in resnet.MODULES,
    mutable=["intermediates"],
  )
  ours = tmp_path / "ours.safetensors"
  pretrained.save(variables, ours)
  exported = safetensors.numpy.load_file(ours)
  fc = {key: leaf for key, leaf in state.items() if key.startswith("fc.")}
  expected = make_resnet_goldens.outputs(name, {**exported, **fc}, np.array(x))
  maps = {
    stage: np.asarray(captured["intermediates"][stage]["__call__"][0])
    for stage in torchvision_names.STAGES
  }
  logits = maps["stage4"].mean((1, 2)) @ fc["fc.weight"].T
  results = {
    **maps,
    "logits": logits + fc["fc.bias"][None],
    "targets": np.asarray(found),
  }
  assert results.keys() == expected.keys()
  for key, values in results.items():
    print(name, key, np.abs(values - expected[key]).max(), np.std(values))
    np.testing.assert_allclose(
      values, expected[key], rtol=0, atol=1e-4, err_msg=key
    )


@pytest.fixture
def small():
  """A small network's variables, and tensors with torchvision's names."""
  variables = small_networks.abstract_variables(small_networks.tiny())
  shapes = torchvision_names.shapes("basic", (1, 1), width=8, classes=10)
  state = torchvision_names.draw(shapes)
  return variables, make_resnet_goldens.tensors(state)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_pth_and_safetensors_load_alike(small, dtype, suffix, tmp_path):
  variables, state = small
  state = {
    # torchvision's oldest files contain Parameters.
    name: torch.nn.Parameter(leaf.to(getattr(torch, dtype)))
    if leaf.is_floating_point()
    else leaf
    for name, leaf in state.items()
  }
  path = tmp_path / f"weights{suffix}"
  torch.save(state, path)
  plain = {name: leaf.detach().float().numpy() for name, leaf in state.items()}
  other = tmp_path / "weights.safetensors"
  safetensors.numpy.save_file(plain, other)
  stages = [
    pretrained.load(str(source), variables)["params"]["stage2"]
    for source in (path, other)
  ]
  jax.tree.map(np.testing.assert_array_equal, *stages)


def test_pth_without_a_state_dict(small, tmp_path):
  variables, state = small
  path = tmp_path / "weights.pth"
  torch.save({"model": state, "epoch": 3}, path)
  with pytest.raises(
    errors.ConfigError, match=r"contains \['model', 'epoch'\]"
  ):
    pretrained.load(str(path), variables)
  torch.save(torch.nn.Linear(2, 2), path)
  with pytest.raises(errors.ConfigError, match=r"torch\.save\(model\.state"):
    pretrained.load(str(path), variables)
  path.write_bytes(path.read_bytes()[:100])
  with pytest.raises(errors.ConfigError, match="cannot be read as weights"):
    pretrained.load(str(path), variables)
