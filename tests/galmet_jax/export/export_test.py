"""Exported networks compute what the run does, without this project."""

import functools
import os
import re
import subprocess
import sys

import jax
from jax import export as jax_export
import numpy as np
import pytest

from galmet_jax import evaluate
from galmet_jax.data import augment
from galmet_jax.devices import sharding
from galmet_jax.devices.cpu import winograd
from galmet_jax.export import export
from galmet_jax.models import resnet
from galmet_jax.models import xresnet
from galmet_jax.run import Run
from tests.galmet_jax.export import exporting
from tests.galmet_jax.models import small_networks

SIZE = 40
MESH = sharding.make_mesh(jax.devices()[:1])


def draw(number, size=SIZE):
  rng = np.random.default_rng(number)
  return rng.integers(0, 256, (number, size, size, 3), np.uint8)


def load(data):
  return jax.jit(jax_export.deserialize(bytearray(data)).call)


def predict(model, variables, frame, images):
  step = evaluate.make_eval_step(model, frame, MESH)
  views = augment.plain_views(len(images))
  return np.asarray(step(variables, augment.pack(images), views))


@pytest.mark.parametrize(
  ("model", "frame"),
  [
    # Wide enough for Winograd's convolution in batches of 64.
    (
      resnet.ResNet(
        (1,), head=functools.partial(resnet.Head, width=16), width=128
      ),
      augment.Frame(32, 32),
    ),
    (
      small_networks.tiny(num_targets=2),
      augment.Frame(32, 16, ("g", "g", "i")),
    ),
    # An image of which the crop begins at half a pixel.
    (small_networks.tiny(), augment.Frame(33, 33, ("r", "r", "r"))),
    (xresnet.xresnet34(stage_sizes=(1, 1), width=8), augment.Frame(32, 32)),
  ],
  ids=["wide", "reduced", "half_pixel", "xresnet"],
)
def test_predictions_equal_the_evaluation(model, frame):
  variables = jax.device_get(small_networks.drawn(model))
  found = load(export.serialize(model, variables, frame, SIZE))
  for number in (1, 3, 64) if model.width == 128 else (3,):
    images = draw(number)
    values = np.asarray(found(images))
    assert values.dtype == np.float32
    expected = predict(model, variables, frame, images)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-5)


def test_bfloat16():
  model = small_networks.tiny(dtype="bfloat16")
  frame = augment.Frame(32, 32)
  variables = jax.device_get(small_networks.drawn(model))
  values = load(export.serialize(model, variables, frame, SIZE))(draw(64))
  assert values.dtype == np.float32
  expected = predict(model, variables, frame, draw(64))
  # A product may be rounded to 8 bits at another place.
  np.testing.assert_allclose(values, expected, rtol=0, atol=0.02)


def test_function_has_no_code_of_a_platform(monkeypatch):
  """Winograd's convolution and the barriers are for CPUs."""
  monkeypatch.setattr(winograd, "convolve", None)
  model = small_networks.tiny()
  variables = jax.device_get(small_networks.drawn(model))
  data = export.serialize(model, variables, augment.Frame(32, 32), SIZE)
  exported = jax_export.deserialize(bytearray(data))
  assert exported.platforms == ("cpu", "cuda", "tpu")
  assert exported.nr_devices == 1
  (images,), (predictions,) = exported.in_avals, exported.out_avals
  assert str(images.shape) == f"(b, {SIZE}, {SIZE}, 3)"
  assert str(predictions.shape) == "(b, 1)"
  module = exported.mlir_module()
  assert "optimization_barrier" not in module
  calls = set(re.findall(r"custom_call @(\w+)", module))
  assert calls <= {"shape_assertion"}
  # Debugging information has no folders of this machine.
  assert b"resnet.py" in data
  assert b"/resnet.py" not in data


def test_card_runs_without_this_project(mock_data_dir, tmp_path):
  config, workdir = exporting.untrained(mock_data_dir, tmp_path / "run")
  folder = export.export(config, workdir)
  run = Run.prepare(config, workdir, read_only=True)
  images = run.data["test"].split.images[:3]
  np.save(folder / "images.npy", images)
  code = exporting.code_blocks(folder / "README.md")
  assert len(code) == 2
  program = "\n".join(
    [
      "import sys",
      "for name in ('galmet_jax', 'tfds_sdss', 'flax'):",
      "  sys.modules[name] = None",
      *code,
      "assert predictions.shape == (2, 1), predictions.shape",
      "np.save('found.npy', predict(np.load('images.npy')))",
      "np.save('bias.npy', weights['head.dense2.bias'])",
    ]
  )
  result = subprocess.run(
    [sys.executable, "-I", "-W", "error", "-c", program],
    cwd=folder,
    env={**os.environ, "XLA_FLAGS": ""},
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert result.returncode == 0, result.stderr
  state = run.trained_state()
  views = augment.plain_views(4)
  padded = augment.pack(np.concatenate([images, images[:1]]))
  expected = run.eval_step(state.variables, padded, views)[:3]
  found = np.load(folder / "found.npy")
  np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-5)
  np.testing.assert_array_equal(
    np.load(folder / "bias.npy"), state.params["head"]["dense2"]["bias"]
  )


def test_xresnet_has_no_weights_for_torchvision(
  mock_data_dir, tmp_path, capsys
):
  config, workdir = exporting.untrained(
    mock_data_dir, tmp_path / "run", model__network="xresnet"
  )
  folder = export.export(config, workdir)
  assert (
    "no xresnet: weights.safetensors is left out" in capsys.readouterr().out
  )
  assert not (folder / "weights.safetensors").exists()
  assert (folder / "predict.jaxexp").exists()
  card = (folder / "README.md").read_text()
  assert "weights.safetensors" not in card
  assert len(exporting.code_blocks(folder / "README.md")) == 1
