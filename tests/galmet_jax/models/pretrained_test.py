"""Weights from torchvision and back, and files that do not fit."""

import functools
import sys

import huggingface_hub
from huggingface_hub import constants
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from galmet_jax import errors
from galmet_jax.models import pretrained
from galmet_jax.models import resnet
from tests.galmet_jax.models import small_networks
from tests.galmet_jax.models import torchvision_names

REVISION = "c983eba7f5e69bc3548a626d1b0b0b914e5de3a6"


def write(state, path):
  safetensors.numpy.save_file(state, path)
  return str(path)


def head_of(state):
  """Converts the head of a state dict to Flax, independent of pretrained."""
  params, stats = {}, {}
  for i in (1, 2):
    bn, dense = f"head.bn{i}", f"head.dense{i}"
    params[f"bn{i}"] = {
      "scale": state[f"{bn}.weight"],
      "bias": state[f"{bn}.bias"],
    }
    stats[f"bn{i}"] = {
      "mean": state[f"{bn}.running_mean"],
      "var": state[f"{bn}.running_var"],
    }
    params[f"dense{i}"] = {
      "kernel": state[f"{dense}.weight"].T,
      "bias": state[f"{dense}.bias"],
    }
  return params, stats


def load_all(state, model, path):
  """Loads a state dict, and adds its head, which `load` leaves out."""
  write(torchvision_names.without(state, "head."), path)
  variables = small_networks.abstract_variables(model)
  loaded = pretrained.load(str(path), variables)
  path.unlink()
  for collection, head in zip(
    ("params", "batch_stats"), head_of(state), strict=True
  ):
    assert loaded[collection]["head"] == variables[collection]["head"]
    loaded[collection]["head"] = head
  return loaded


@pytest.mark.parametrize("name", list(torchvision_names.NETWORKS))
def test_every_stage_equals_torchvision(name, tmp_path):
  state = torchvision_names.draw_network(name)
  block, stage_sizes, _ = torchvision_names.NETWORKS[name]
  model = resnet.ResNet(stage_sizes, resnet.BLOCKS[block], num_targets=2)
  variables = load_all(state, model, tmp_path / "weights.safetensors")
  x = torchvision_names.images(name)
  found, outputs, _ = small_networks.run_modules(
    model, variables, x, train=False
  )
  close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-4)
  with np.load(torchvision_names.GOLDENS) as goldens:
    for stage in torchvision_names.STAGES:
      maps = np.asarray(outputs[stage])
      expected = goldens[f"{name}/{stage}"]
      assert 0.1 < np.std(expected) < 10
      close(torchvision_names.thin(maps), expected)
      close(maps.mean((1, 2)), goldens[f"{name}/{stage}/means"])
    logits = maps.mean((1, 2)) @ state["fc.weight"].T
    close(logits + state["fc.bias"][None], goldens[f"{name}/logits"])
    close(found, goldens[f"{name}/targets"])


@pytest.fixture(params=["basic", "bottleneck"])
def small(request):
  """A small network and its state dict with torchvision's names."""
  model = small_networks.tiny(
    stage_sizes=(2, 1), block=resnet.BLOCKS[request.param], num_targets=2
  )
  shapes = torchvision_names.shapes(
    request.param, (2, 1), width=8, classes=10, head=(16, 2)
  )
  return model, torchvision_names.draw(shapes)


def assert_same_bits(found, expected):
  assert found.keys() == expected.keys()
  for name in found:
    assert found[name].dtype == expected[name].dtype == np.float32
    np.testing.assert_array_equal(found[name], expected[name])


def test_round_trip_is_exact(small, tmp_path):
  model, state = small
  variables = load_all(state, model, tmp_path / "theirs.safetensors")
  expected = {
    name: leaf
    for name, leaf in state.items()
    if not name.startswith("fc.") and "num_batches" not in name
  }
  assert_same_bits(pretrained.to_torchvision(variables), expected)
  path = tmp_path / "ours.safetensors"
  pretrained.save(jax.tree.map(jnp.asarray, variables), path)
  assert_same_bits(safetensors.numpy.load_file(path), expected)
  with safetensors.safe_open(path, "np") as file:
    assert file.metadata() == {"format": "pt"}
  # A new network starts from an exported one and keeps its own head.
  fresh = small_networks.drawn(model, seed=1)
  again = pretrained.load(str(path), fresh)
  for collection in ("params", "batch_stats"):
    body = {**variables[collection], "head": fresh[collection]["head"]}
    jax.tree.map(np.testing.assert_array_equal, again[collection], body)


@pytest.fixture
def basic():
  """A small network's variables, and a state dict with torchvision's names."""
  variables = small_networks.abstract_variables(small_networks.tiny())
  shapes = torchvision_names.shapes("basic", (1, 1), width=8, classes=10)
  return variables, torchvision_names.draw(shapes)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_precisions_become_float32(basic, dtype, tmp_path):
  variables, state = basic
  coarse = {
    name: leaf.astype(dtype) if leaf.dtype == np.float32 else leaf
    for name, leaf in state.items()
  }
  path = write(coarse, tmp_path / "coarse.safetensors")
  found = pretrained.load(path, variables)["params"]["stem"]["conv"]["kernel"]
  assert found.dtype == np.float32
  np.testing.assert_array_equal(
    found,
    coarse["conv1.weight"].astype(np.float32).transpose(2, 3, 1, 0),
  )


def test_error_lists_what_does_not_fit(basic, tmp_path):
  variables, state = basic
  del state["bn1.running_var"]
  state["conv1.weight"] = state["conv1.weight"][:, :1]
  for i in range(12):
    state[f"layer3.{i}.conv1.weight"] = np.zeros((2, 2, 3, 3), np.float32)
  path = write(state, tmp_path / "other.safetensors")
  with pytest.raises(errors.ConfigError) as caught:
    pretrained.load(path, variables)
  message = str(caught.value)
  assert f"{path} does not fit" in message
  assert "1 missing:\n    bn1.running_var, expected (8,)\n" in message
  assert (
    "1 of another shape:\n"
    "    conv1.weight, expected (8, 3, 7, 7), found (8, 1, 7, 7)\n"
  ) in message
  assert (
    "12 unexpected:\n    layer3.0.conv1.weight, found (2, 2, 3, 3)\n"
  ) in message
  assert message.count("layer3.") == 10
  assert message.count("...") == 1
  assert "model.stage_sizes" in message


def test_other_kinds_of_network(basic, tmp_path):
  _, state = basic
  path = write(state, tmp_path / "weights.safetensors")
  variables = {"params": {"stem": {"conv3": {"kernel": jnp.zeros(1)}}}}
  for call in (
    functools.partial(pretrained.load, path),
    pretrained.to_torchvision,
  ):
    with pytest.raises(
      errors.ConfigError, match="ResNets have no stem/conv3/kernel"
    ):
      call(variables)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite(basic, bad, tmp_path):
  variables, state = basic
  state["layer2.0.bn2.bias"][3] = bad
  path = write(state, tmp_path / "bad.safetensors")
  with pytest.raises(
    errors.ConfigError, match=r"layer2\.0\.bn2\.bias in .*bad"
  ):
    pretrained.load(path, variables)


@pytest.mark.parametrize("length", [0, 20, -1])
def test_damaged_files(basic, length, tmp_path):
  variables, state = basic
  path = tmp_path / "damaged.safetensors"
  write(state, path)
  path.write_bytes(path.read_bytes()[:length])
  with pytest.raises(errors.ConfigError, match="cannot be read"):
    pretrained.load(str(path), variables)


@pytest.mark.parametrize(
  ("source", "message"),
  [
    ("gone.safetensors", "does not exist; expected FILE.safetensors, FILE.pth"),
    ("resnet34", "model.pretrained is resnet34; expected FILE.safetensors"),
    ("timm:resnet50.a1_in1k", r"expected timm: .*'resnet34\.tv_in1k'"),
  ],
)
def test_sources_that_do_not_exist(basic, source, message):
  with pytest.raises(errors.ConfigError, match=message):
    pretrained.load(source, basic[0])


def test_pth_without_pytorch(basic, tmp_path, monkeypatch):
  path = tmp_path / "weights.pth"
  path.touch()
  monkeypatch.setitem(sys.modules, "torch", None)
  with pytest.raises(errors.ConfigError, match=r"pip install torch") as caught:
    pretrained.load(str(path), basic[0])
  assert "timm:resnet34.tv_in1k" in str(caught.value)


@pytest.fixture
def cache(tmp_path, monkeypatch):
  """An empty cache of huggingface_hub, which is set offline."""
  monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
  monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
  return tmp_path


def test_timm_weights_from_the_cache(basic, cache):
  variables, state = basic
  place = cache / "models--timm--resnet34.tv_in1k" / "snapshots" / REVISION
  place.mkdir(parents=True)
  path = write(state, place / "model.safetensors")
  found = pretrained.load("timm:resnet34.tv_in1k", variables)
  expected = pretrained.load(path, variables)
  for collection in ("params", "batch_stats"):
    for module in ("stem", "stage1", "stage2"):
      jax.tree.map(
        np.testing.assert_array_equal,
        found[collection][module],
        expected[collection][module],
      )


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
  "failure", [None, ConnectionError("no route"), RuntimeError("no route")]
)
def test_timm_weights_without_network_access(basic, failure, monkeypatch):
  if failure:

    def fail(**_):
      raise failure

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
  with pytest.raises(errors.ConfigError) as caught:
    pretrained.load("timm:resnet34.tv_in1k", basic[0])
  message = str(caught.value)
  assert "timm:resnet34.tv_in1k is not cached" in message
  assert str(failure or "cannot find the requested files") in message
  assert (
    "hf download timm/resnet34.tv_in1k model.safetensors "
    f"--revision {REVISION} --local-dir ."
  ) in message
