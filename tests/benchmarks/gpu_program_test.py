"""The programs for H100s stay as small as benchmarks/README.md says.

Skipped unless the plugin of requirements-gpu-program.txt is installed, as by
`make gpu-program-check`. The limits are a little above what was found: they may
be raised knowingly, with the table.
"""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
CUDNN = {
  "Forward bf16 b01f_o01i->b01f": 36,
  "BackwardInput bf16 b01f_o01i->b01f": 35,
  "BackwardFilter bf16 b01f_o01i->b01f": 36,
}

pytestmark = pytest.mark.skipif(
  importlib.util.find_spec("jax_cuda12_plugin") is None,
  reason="no jax-cuda12-plugin; run make gpu-program-check",
)


@pytest.fixture(scope="module")
def programs():
  """The figures of some programs, by name."""
  names = ("train_64", "evaluate_1024", "train_8_devices_per_device")
  environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
  result = subprocess.run(
    [sys.executable, "-m", "benchmarks.gpu_program", *names],
    cwd=ROOT,
    env=environment,
    stdout=subprocess.PIPE,
    text=True,
    check=True,
  )
  rows = map(json.loads, result.stdout.splitlines())
  return {row["program"]: row for row in rows}


@pytest.mark.parametrize("name", ["train_64", "train_8_devices_per_device"])
def test_all_convolutions_of_training_are_cudnn_in_bfloat16(programs, name):
  assert programs[name]["convolutions"] == CUDNN
  assert programs[name]["copies_of_activations"] == 0


def test_convolutions_of_evaluation_add_shift_shortcut_and_relu(programs):
  (kind,) = programs["evaluate_1024"]["convolutions"]
  assert kind.startswith("BiasActivationForward bf16 ")
  assert programs["evaluate_1024"]["convolutions"][kind] == 36


@pytest.mark.parametrize(
  ("name", "megabytes", "kernels"),
  [
    ("train_64", 57, 600),
    ("evaluate_1024", 8.5, 140),
  ],
)
def test_bytes_and_kernels(programs, name, megabytes, kernels):
  assert programs[name]["megabytes_per_image"] <= megabytes
  assert programs[name]["kernels"] <= kernels


def test_state_is_updated_in_place(programs):
  row = programs["train_64"]
  assert row["output_megabytes"] - row["donated_megabytes"] < 0.05


def test_gradients_are_summed_over_devices_in_bfloat16(programs):
  row = programs["train_8_devices_per_device"]
  assert row["collectives"] <= 8
  # 21.3 million weights of convolutions, twice 8 bits each.
  assert row["collective_megabytes"]["bf16"] == pytest.approx(43.6, abs=0.1)
  assert row["collective_megabytes"]["f32"] < 1
