"""The training benchmark: alternation, the PyTorch process and the output.

A script stands in for PyTorch.
"""

import collections
import json
import math
import sys

import jax
import jax.numpy as jnp
import pytest

from benchmarks import contenders
from benchmarks import jax_steps
from benchmarks import table
from benchmarks import train
from configs import resnet34
from galmet_jax.devices import sharding
from galmet_jax.models import network

# Reports two seconds for each step; cannot compile.
FAKE_TORCH = """
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
def _cheap_programs(monkeypatch, only_plain_views):
  """Shares small programs, which compile faster, between the tests."""
  monkeypatch.setattr(jax_steps, "STEPS_PER_EPOCH", 2)


@pytest.fixture
def fake_torch(tmp_path, monkeypatch):
  path = tmp_path / "fake.py"
  path.write_text(FAKE_TORCH)
  monkeypatch.setattr(contenders, "TORCH_SCRIPT", path)
  # One step per round, no rest.
  monkeypatch.setattr(contenders, "_CPU_ROUND_S", 1e-9)
  monkeypatch.setattr(contenders, "_REST_S", 0)
  return [sys.executable, str(path)]


def make_bench(quick=True, python=sys.executable):
  config = jax_steps.make_config(8, "float32")
  config.model.stage_sizes, config.model.width = (1,), 8
  config.optim.groups.early, config.optim.groups.late = ("stem",), ("stage1",)
  config.model.dropout_rates = (0.0, 0.0)
  config.data.crop = 32
  config.eval.batch_size = 8
  mesh = sharding.make_mesh(jax.devices()[:1])
  return train.Bench(config, mesh, quick, python)


def read(capsys):
  """Returns the printed figures by name."""
  figures = collections.defaultdict(list)
  for line in capsys.readouterr().out.splitlines():
    figure = json.loads(line)
    figures[figure["name"]].append(figure)
  return figures


def test_contenders_alternate(monkeypatch):
  monkeypatch.setattr(contenders, "_REST_S", 0)
  calls = []

  def contender(name, seconds):
    def run(number):
      calls.append((name, number))
      return number * seconds

    return run

  def broken(number):
    raise contenders.TorchError("no compiler")

  sides = {
    "a": contender("a", 0.5),
    "broken": broken,
    "b": contender("b", 0.9),
  }
  seconds, failed = contenders.alternate(sides, 2, on_cpu=True)
  assert seconds == {"a": [0.5, 0.5], "b": [pytest.approx(0.9)] * 2}
  assert failed == {"broken": "no compiler"}
  # Each round takes two seconds and starts with a step that is not timed.
  turn = [("a", 1), ("a", 4), ("b", 1), ("b", 3)]
  assert calls == [("a", 1)] * 2 + [("b", 1)] * 2 + turn + turn
  calls.clear()
  contenders.alternate(sides, 1, on_cpu=False)
  assert calls[4:] == [("a", 1), ("a", 20), ("b", 1), ("b", 20)]


def test_ratio_compares_within_rounds():
  # The machine was slow in the second round, for both.
  assert contenders.ratio([1, 10, 2], [2, 30, 5]) == (2.5, (2, 3))


def test_torch_process_runs_commands(fake_torch):
  with contenders.TorchProcess(fake_torch) as torch:
    assert torch.facts["torch"] == "9.9"
    assert torch.run("train", 3) == 6
    with pytest.raises(
      contenders.TorchError, match=r"^NoCompiler: found none$"
    ):
      torch.run("train_compiled", 1)
    assert torch.run("eval", 1) == 2
    with pytest.raises(contenders.TorchError, match=r"has ended.*--torch-pyt"):
      torch.run("die", 1)
    with pytest.raises(contenders.TorchError, match="has ended"):
      torch.run("train", 1)


def test_failed_start_of_torch_is_reported():
  with pytest.raises(contenders.TorchError, match="/nowhere does not start"):
    contenders.TorchProcess(["/nowhere"])
  with pytest.raises(contenders.TorchError, match="has ended"):
    contenders.TorchProcess([sys.executable, "-c", ""])
  with pytest.raises(SystemExit, match=r"^error: /nowhere"):
    train.start_torch(make_bench(python="/nowhere"))


def test_torch_is_optional(fake_torch, monkeypatch, capsys):
  assert train.start_torch(make_bench(python=None)) is None
  assert "--torch-python=" in capsys.readouterr().err
  monkeypatch.setattr(train.Bench, "on_cpu", False)
  assert train.start_torch(make_bench()) is None
  assert "does not run on this device" in capsys.readouterr().err


def test_quick_run_prints_all_figures(fake_torch, capsys):
  train.time_steps(make_bench())
  figures = read(capsys)
  assert set(figures) == {
    "compile_s",
    "temp_bytes_per_image",
    "train_images_per_s",
    "eval_images_per_s",
  }
  assert [x["cache"] for x in figures["compile_s"]] == ["cold", "warm"]
  for kind in ("train", "eval"):
    (figure,) = figures[f"{kind}_images_per_s"]
    assert (figure["batch"], figure["views"]) == (8, 1)
    assert figure["torch_images_per_s"] == 4
    low, high = figure["ratio_to_torch_range"]
    assert low <= figure["ratio_to_torch"] <= high
    # With one step per round, the median rate gives the median ratio.
    assert math.isclose(
      figure["ratio_to_torch"], figure["value"] / 4, rel_tol=1e-3
    )
    assert "ratio_to_torch_compiled" not in figure


def test_failed_contender_is_reported(fake_torch, capsys):
  bench = make_bench(quick=False)
  with contenders.TorchProcess(fake_torch) as torch:
    train.report_beside_torch(bench, torch, "train", lambda n: 0.5 * n)
  (figure,) = read(capsys)["train_images_per_s"]
  assert figure["value"] == 16
  assert figure["ratio_to_torch"] == 4
  assert figure["ratio_to_torch_compiled"] is None
  assert figure["torch_compiled_failed"] == "NoCompiler: found none"


def test_tta_prints_views_per_second(fake_torch, capsys):
  train.time_tta(make_bench())
  (figure,) = read(capsys)["tta_views_per_s"]
  assert figure["galaxies"] == 8
  assert figure["value"] > 0


def test_sweep_reports_configurations_out_of_memory(
  fake_torch, monkeypatch, capsys
):
  class Training:
    """Takes an hour per step; 15 images exhaust the memory."""

    temp_bytes_per_image = 7

    def __init__(self, config, mesh):
      size = config.train.batch_size * config.train.views_per_image
      if size == 15:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9 GB")
      if size == 13:
        raise jax.errors.JaxRuntimeError("INTERNAL")

    def run(self, number):
      return 3600.0 * number

  monkeypatch.setattr(jax_steps, "Training", Training)
  monkeypatch.setattr(train, "_SWEEP", (8, 10, 15, 1000))
  train.time_sweep(make_bench())
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
  monkeypatch.setattr(train, "_SWEEP", (13,))
  with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
    train.time_sweep(make_bench())


def test_recipe_trains_all_phases_in_sequence(monkeypatch, capsys):
  monkeypatch.setattr(train.Bench, "on_cpu", False)
  monkeypatch.setattr(train, "_BATCH", 8)
  monkeypatch.setattr(train, "_NUM_TRAIN", 256)
  monkeypatch.setattr(train, "_NUM_TEST", 12)
  advanced = []
  run = jax_steps.Training.run

  def record(training, number):
    seconds = run(training, number)
    advanced.append((training.phase.name, int(training.state.step)))
    return seconds

  monkeypatch.setattr(jax_steps.Training, "run", record)
  train.time_recipe(make_bench())
  # Phases of 2, 1 and 7 epochs, two steps each.
  assert advanced == [("head_only", 4), ("all_constant", 6), ("all_sgdr", 20)]
  (figure,) = read(capsys)["recipe_s"]
  parts = figure["compile_s"] + figure["train_s"] + figure["tta_s"]
  assert 0 < parts <= figure["value"] * 1.001


def test_table_formats_the_figures(tmp_path, monkeypatch, capsys):
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


def test_torch_network_has_as_many_parameters():
  pytest.importorskip("torch")
  from benchmarks import torch_resnet

  model = network.from_config(resnet34.get_config().model, 1)
  x = jnp.zeros((1, 64, 64, 3))
  ours = jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))
  count = sum(x.size for x in jax.tree.leaves(ours["params"]))
  theirs = torch_resnet.ResNet()
  assert sum(x.numel() for x in theirs.parameters()) == count
