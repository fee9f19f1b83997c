"""The benchmark of training: how it compares, and what it prints.

PyTorch's side is played by a script, unless PyTorch is there.
"""

import collections
import dataclasses
import json
import math
import sys

import jax
import jax.numpy as jnp
import pytest

from benchmarks import bench as benches
from benchmarks import roofline
from benchmarks import rounds
from benchmarks import sections
from benchmarks import steps
from benchmarks import table
from benchmarks import torch_side
from configs import resnet34
from galmet_jax.data import augment
from galmet_jax.devices import sharding
from galmet_jax.models import network

# Each step takes it two seconds, or so it says; it cannot compile.
FAKE = """
import json, sys
print(json.dumps({"torch": "9.9", "device": "cpu"}), flush=True)
for line in sys.stdin:
  kind, steps = line.split()
  if kind.endswith("_compiled"):
    print("error: NoCompiler: found none", flush=True)
  elif kind == "die":
    break
  else:
    print(2.0 * int(steps), flush=True)
"""


@pytest.fixture(autouse=True)
def _quicker(monkeypatch):
  """Makes programs that compile faster, and the same ones in all tests."""
  monkeypatch.setattr(steps, "STEPS_PER_EPOCH", 2)
  monkeypatch.setattr(
    augment, "random_views", lambda key, n, config: augment.plain_views(n)
  )


@pytest.fixture
def fake(tmp_path, monkeypatch):
  path = tmp_path / "fake.py"
  path.write_text(FAKE)
  monkeypatch.setattr(torch_side, "SCRIPT", path)
  # One step in a round, and no rest.
  monkeypatch.setattr(rounds, "_CPU_ROUND_S", 1e-9)
  monkeypatch.setattr(rounds, "_GPU_ROUND_STEPS", 1)
  monkeypatch.setattr(rounds, "_REST_S", 0)
  return [sys.executable, str(path)]


def make_bench(quick=True, python=sys.executable):
  config = steps.make_config(8, "float32")
  config.model.stage_sizes, config.model.width = (1,), 8
  config.optim.groups.early, config.optim.groups.late = ("stem",), ("stage1",)
  config.model.dropout_rates = (0.0, 0.0)
  config.data.crop = 32
  config.eval.batch_size = 8
  mesh = sharding.make_mesh(jax.devices()[:1])
  return benches.Bench(config, mesh, quick, python)


def read(capsys):
  """Returns the printed figures by name."""
  figures = collections.defaultdict(list)
  for line in capsys.readouterr().out.splitlines():
    figure = json.loads(line)
    assert list(figure)[:8] == [
      "name",
      "device",
      "dtype",
      "batch",
      "views",
      "value",
      "unit",
      "ratio_to_torch",
    ]
    figures[figure["name"]].append(figure)
  return figures


def test_torch_side_answers(fake):
  with torch_side.TorchSide(fake) as torch:
    assert torch.facts["torch"] == "9.9"
    assert torch.run("train", 3) == 6
    with pytest.raises(
      torch_side.TorchError, match=r"^NoCompiler: found none$"
    ):
      torch.run("train_compiled", 1)
    assert torch.run("eval", 1) == 2
    with pytest.raises(
      torch_side.TorchError, match=r"has ended.*--torch-python"
    ):
      torch.run("die", 1)
    with pytest.raises(torch_side.TorchError, match="has ended"):
      torch.run("train", 1)


def test_torch_side_does_not_start(fake):
  with pytest.raises(torch_side.TorchError, match="/nowhere does not start"):
    torch_side.TorchSide(["/nowhere"])
  with pytest.raises(torch_side.TorchError, match="has ended"):
    torch_side.TorchSide([sys.executable, "-c", ""])
  with pytest.raises(SystemExit, match=r"^error: /nowhere"):
    sections.start_torch(make_bench(python="/nowhere"))


def test_without_torch(monkeypatch, capsys):
  monkeypatch.setattr(torch_side.importlib.util, "find_spec", lambda name: None)
  assert sections.start_torch(make_bench(python=None)) is None
  assert "--torch-python=" in capsys.readouterr().err
  assert torch_side.find_python("p") == "p"


def test_torch_on_another_device(fake, monkeypatch, capsys):
  monkeypatch.setattr(benches.Bench, "on_cpu", False)
  assert sections.start_torch(make_bench()) is None
  assert "left out" in capsys.readouterr().err


def test_quick(fake, capsys):
  sections.time_steps(make_bench())
  figures = read(capsys)
  assert set(figures) == {
    "compile_s",
    "temp_bytes_per_image",
    "hlo_convolutions",
    "hlo_transposes_4d",
    "hlo_copies_4d",
    "hlo_pads_4d",
    "train_images_per_s",
    "eval_images_per_s",
  }
  assert [x["cache"] for x in figures["compile_s"]] == ["cold", "warm"]
  # Three forward, two gradients of inputs, three of kernels.
  assert figures["hlo_convolutions"][0]["value"] >= 8
  for kind in ("train", "eval"):
    (figure,) = figures[f"{kind}_images_per_s"]
    assert (figure["batch"], figure["views"]) == (8, 1)
    assert figure["torch_images_per_s"] == 4
    low, high = figure["ratio_to_torch_range"]
    assert low <= figure["ratio_to_torch"] <= high
    # Of one round each, the median of our rates and that of the ratios.
    assert math.isclose(
      figure["ratio_to_torch"], figure["value"] / 4, rel_tol=1e-3
    )
    assert "ratio_to_torch_compiled" not in figure


def test_what_failed_is_told(fake, capsys):
  bench = make_bench(quick=False)
  with torch_side.TorchSide(fake) as torch:
    rate = sections.report_beside(bench, torch, "train", lambda n: 0.5 * n)
  (figure,) = read(capsys)["train_images_per_s"]
  assert rate == figure["value"] == 16
  assert figure["ratio_to_torch"] == 4
  assert figure["ratio_to_torch_compiled"] is None
  assert figure["torch_compiled_failed"] == "NoCompiler: found none"


def test_rooflines(monkeypatch, capsys):
  for name, value in (
    ("matmul_flop_per_s", 71.03e12),
    ("copy_bytes_per_s", 1e12),
  ):
    monkeypatch.setattr(roofline, name, lambda *_, value=value: value)
  config = steps.make_config(640, "bfloat16")
  bench = dataclasses.replace(make_bench(), config=config)
  sections.report_rooflines(bench, 1000.0, 5e7)
  figures = {name: row["value"] for name, (row,) in read(capsys).items()}
  assert figures["train_tflops"] == 7.1031
  assert figures["percent_of_matmul_roofline"] == 10
  # 39.19 MB in bfloat16.
  assert figures["percent_of_bandwidth_roofline"] == 3.9191


def test_frozen_and_tta(fake, capsys):
  sections.time_frozen(make_bench())
  sections.time_tta(make_bench())
  sections.time_recipe(make_bench())
  figures = read(capsys)
  assert set(figures) == {
    "frozen_images_per_s",
    "frozen_speedup",
    "tta_views_per_s",
  }
  assert figures["tta_views_per_s"][0]["galaxies"] == 8


def test_sweep(fake, monkeypatch, capsys):
  class Training:
    """A step is an hour, and wants memory."""

    temp_bytes_per_image = 7

    def __init__(self, config, mesh):
      size = config.train.batch_size * config.train.views_per_image
      if size == 15:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9 GB")
      if size == 13:
        raise jax.errors.JaxRuntimeError("INTERNAL")

    def run(self, number):
      return 3600.0 * number

  monkeypatch.setattr(steps, "Training", Training)
  monkeypatch.setattr(sections, "_SWEEP", (8, 10, 15, 1000))
  sections.time_sweep(make_bench())
  figures = read(capsys)["sweep"]
  assert [(x["batch"], x["views"], x["value"]) for x in figures] == [
    (8, 1, pytest.approx(8 / 3600, rel=1e-4)),
    (10, 1, pytest.approx(10 / 3600, rel=1e-4)),
    (15, 1, None),
    (2, 5, pytest.approx(10 / 3600, rel=1e-4)),
    (3, 5, None),
  ]
  assert figures[0]["temp_bytes_per_image"] == 7
  assert figures[2]["reason"] == "out of memory"
  monkeypatch.setattr(sections, "_SWEEP", (13,))
  with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
    sections.time_sweep(make_bench())


def test_recipe(monkeypatch, capsys):
  monkeypatch.setattr(benches.Bench, "on_cpu", False)
  monkeypatch.setattr(sections, "_BATCH", 8)
  monkeypatch.setattr(sections, "_NUM_TRAIN", 256)
  monkeypatch.setattr(sections, "_NUM_TEST", 12)
  advanced = []
  run = steps.Training.run

  def note(training, number):
    seconds = run(training, number)
    advanced.append((training.phase.name, int(training.state.step)))
    return seconds

  monkeypatch.setattr(steps.Training, "run", note)
  sections.time_recipe(make_bench())
  # 2, 1 and 7 epochs, and one state from beginning to end.
  assert advanced == [("head_only", 4), ("all_constant", 6), ("all_sgdr", 20)]
  (figure,) = read(capsys)["recipe_s"]
  parts = figure["compile_s"] + figure["train_s"] + figure["tta_s"]
  assert 0 < parts <= figure["value"] * 1.001


def test_table(tmp_path, monkeypatch, capsys):
  cold = {
    "name": "compile_s",
    "device": "cpu",
    "dtype": "float32",
    "batch": 32,
    "views": 1,
    "value": 20.5,
    "unit": "s",
    "ratio_to_torch": None,
    "cache": "cold",
  }
  sweep = {**cold, "name": "sweep", "unit": "images/s", "cache": ""}
  figures = [
    cold,
    {**sweep, "value": 20500, "views": 5, "ratio_to_torch": 1.25},
    {**sweep, "value": None},
  ]
  path = tmp_path / "results.jsonl"
  path.write_text("".join(json.dumps(figure) + "\n" for figure in figures))
  monkeypatch.setattr(sys, "argv", ["table", str(path)])
  table.main()
  assert capsys.readouterr().out.splitlines()[2:] == [
    "| compile_s cold | cpu | 32 × 1 | float32 | 20.5 s |  |",
    "| sweep | cpu | 32 × 5 | float32 | 20,500 images/s | 1.25 times |",
    "| sweep | cpu | 32 × 1 | float32 | none |  |",
  ]


def test_torchs_network_is_ours():
  pytest.importorskip("torch")
  from benchmarks import torch_resnet

  model = network.from_config(resnet34.get_config().model, 1)
  x = jnp.zeros((1, 64, 64, 3))
  ours = jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))
  count = sum(x.size for x in jax.tree.leaves(ours["params"]))
  theirs = torch_resnet.ResNet()
  assert sum(x.numel() for x in theirs.parameters()) == count
