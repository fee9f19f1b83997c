"""The sections of `benchmarks.gpu`, each for a process of its own."""

import argparse
from collections.abc import Callable
import contextlib
import json
import pathlib
import statistics
import sys
import tempfile
import time
from typing import Any

import jax
import numpy as np

from benchmarks import contenders
from benchmarks import gpu_program
from benchmarks import hlo
from benchmarks import jax_steps
from benchmarks import train as bench_lib
from galmet_jax import metric_writer
from galmet_jax import step_metrics
from galmet_jax import train
from galmet_jax.data import dataset
from galmet_jax.devices import sharding
from galmet_jax.models import batch_norm
from galmet_jax.models import layers
from galmet_jax.models import pooling
from tfds_sdss import columns
from tfds_sdss import sample_info

# Compiled without a GPU, by `make gpu-program`.
_EXPECTED = pathlib.Path(__file__).parent / "results" / "gpu_program.jsonl"
_BATCHES = (64, 256, 512)
_NUM_TRAIN, _NUM_VALIDATION, _NUM_TEST = 76_800, 10_240, 20_466
_ROUNDS = 3


def main() -> None:
  """Runs one section."""
  parser = argparse.ArgumentParser()
  parser.add_argument("section")
  parser.add_argument("--variant", default="")
  parser.add_argument("--torch-python", default="")
  parser.add_argument("--rehearse", action="store_true")
  args = parser.parse_args()
  sections: dict[str, Callable[[bench_lib.Bench, argparse.Namespace], None]]
  sections = {
    "programs": programs,
    "training": training,
    "recipe": recipe,
    "evaluation": evaluation,
    "torch": beside_torch,
    "host": host,
    "step": step,
    "variants": variants,
  }
  config = jax_steps.make_config(_BATCHES[-1], "bfloat16")
  config.data.placement = "device"
  if args.rehearse:
    config.data.crop = 32
    # One stage compiles fastest.
    config.model.width, config.model.stage_sizes = 8, (1,)
    config.optim.groups.early = ("stem",)
    config.optim.groups.late = ("stage1",)
    config.train.batch_size = config.eval.batch_size = 16
    config.model.dtype = "float32"
    config.eval.bootstrap_draws = 20
    config.optim.all_sgdr.cycles = 1
    contenders._CPU_ROUND_S = 1e-9
  mesh = sharding.make_mesh(jax.local_devices()[:1])
  bench = bench_lib.Bench(config, mesh, True, args.torch_python or None)
  sections[args.section](bench, args)


def _batches(bench: bench_lib.Bench) -> tuple[int, ...]:
  return _BATCHES if _is_full(bench) else _BATCHES[:1]


def _is_full(bench: bench_lib.Bench) -> bool:
  return bench.config.data.crop == 128


def _with(bench: bench_lib.Bench, batch: int, views: int) -> Any:
  config = bench.config.copy_and_resolve_references()
  if _is_full(bench):
    config.train.batch_size = batch
  config.train.views_per_image = views
  return config


def programs(bench: bench_lib.Bench, args: argparse.Namespace) -> None:
  """Compares programs compiled here with those compiled without a GPU."""
  lines = _EXPECTED.read_text(encoding="utf-8").splitlines()
  expected = {row["program"]: row for row in map(json.loads, lines)}
  for batch in _batches(bench)[::2]:
    config = _with(bench, batch, 1)
    started = time.perf_counter()
    steps = jax_steps.Training(config, bench.mesh)
    bench.report("start_s", time.perf_counter() - started, "s", config)
    bench.report("compile_s", steps.compile_s, "s", config, cache="cold")
    jax.clear_caches()
    steps.compile()
    bench.report("compile_s", steps.compile_s, "s", config, cache="warm")
    row = expected[f"train_{batch}"]
    program = hlo.Program(steps.compiled.func.as_text())
    number = sum(kernel.times for kernel in program.kernels)
    bench.report("kernels", number, "kernels", config, expected=row["kernels"])
    bench.report(
      "temp_megabytes_per_image",
      steps.temp_bytes_per_image / 1e6,
      "MB/image",
      config,
      expected=row["temp_megabytes_per_image"],
      convolutions=gpu_program.convolutions(program),
    )


def _rate(bench: bench_lib.Bench, run: Callable, views: int) -> float:
  seconds, _ = contenders.alternate({"ours": run}, _ROUNDS, bench.on_cpu)
  return views / statistics.median(seconds["ours"])


def training(bench: bench_lib.Bench, args: argparse.Namespace) -> None:
  """Reports training steps of several sizes, and of the frozen phase."""
  for phase in ("all_sgdr", "head_only"):
    for batch in _batches(bench):
      for views in (1, 5) if phase == "all_sgdr" else (1,):
        config = _with(bench, batch, views)
        steps = jax_steps.Training(config, bench.mesh, phase)
        rate = _rate(bench, steps.run, steps.views)
        bench.report(f"train_{phase}", rate, "views/s", config)


def step(bench: bench_lib.Bench, args: argparse.Namespace) -> None:
  """Reports training steps, with the flags of XLA of a variant."""
  for batch in _batches(bench)[::2]:
    config = _with(bench, batch, 1)
    steps = jax_steps.Training(config, bench.mesh)
    rate = _rate(bench, steps.run, steps.views)
    bench.report(f"train, {args.variant}", rate, "views/s", config)


def variants(bench: bench_lib.Bench, args: argparse.Namespace) -> None:
  """Reports training steps without each change of the program."""
  changes: dict[str, tuple[Any, str, Any]] = {
    "as it is": (train, "__doc__", ""),
    "without layout": (sharding, "_KERNEL_LAYOUTS", {}),
    "without one gradient": (batch_norm, "normalise", _separate_gradients),
    "without index": (pooling, "_max_pool_indexed", _pool_by_axis),
  }
  for args.variant, (module, name, replacement) in changes.items():
    before = getattr(module, name)
    setattr(module, name, replacement)
    step(bench, args)
    setattr(module, name, before)


_normalise = batch_norm.normalise


def _separate_gradients(x, scale, bias, shortcut, sync, relu):
  y, mean, var = _normalise(x, scale, bias, None, sync, False)
  y = y if shortcut is None else shortcut + y
  return layers.apply_relu(y) if relu else y, mean, var


def _pool_by_axis(x):
  return pooling._max_pool_axis(pooling._max_pool_axis(x, 2), 1)


def evaluation(bench: bench_lib.Bench, args: argparse.Namespace) -> None:
  """Reports evaluation steps of 1024 images."""
  config = _with(bench, 1024, 1)
  run = jax_steps.Training(config, bench.mesh).make_evaluation()
  rate = _rate(bench, run, config.train.batch_size)
  bench.report("evaluate", rate, "views/s", config)


def beside_torch(bench: bench_lib.Bench, args: argparse.Namespace) -> None:
  """Reports training and evaluation beside PyTorch, also compiled."""
  if bench.torch_python:
    full = bench_lib.Bench(bench.config, bench.mesh, False, bench.torch_python)
    bench_lib.time_steps(full)


def recipe(bench: bench_lib.Bench, args: argparse.Namespace) -> None:
  """Reports the time of a whole run by the program's own entry point."""
  config = _with(bench, 64, 1)
  if _is_full(bench):
    sizes = {
      "train": _NUM_TRAIN,
      "validation": _NUM_VALIDATION,
      "test": _NUM_TEST,
    }
  else:
    sizes = {"train": 32, "validation": 16, "test": 16}
    # `main.py` expects four stages; one phase compiles one program.
    config.model.stage_sizes = (1, 1, 1, 1)
    config.optim.groups.late = ("stage1", "stage2", "stage3", "stage4")
    config.optim.phases = ("all_sgdr",)
  config.eval.baselines = False
  splits = {
    name: jax_steps.random_split(number, config.data.crop)
    for name, number in sizes.items()
  }
  dataset.load = lambda config: splits
  column = columns.BY_NAME["oh_p50"]
  dataset.describe = lambda config: sample_info.Info(
    column.name, (column,), config.data.crop, field_r90=sample_info.FIELD_R90
  )
  with (
    tempfile.TemporaryDirectory() as folder,
    # Standard output has JSON lines only.
    contextlib.redirect_stdout(sys.stderr),
  ):
    started = time.perf_counter()
    summary = train.train_and_evaluate(config, pathlib.Path(folder))
    seconds = time.perf_counter() - started
  bench.report("recipe_s", seconds, "s", config, timing=summary["timing"])


def host(bench: bench_lib.Bench, args: argparse.Namespace) -> None:
  """Reports what the record of a step costs on the host."""
  phase = jax_steps.Training(bench.config, bench.mesh).phase
  number = 50
  values: Any = {"loss": np.float32(0.1), "grad_norm": np.float32(1.0)}
  with tempfile.TemporaryDirectory() as folder:
    writer = metric_writer.MetricWriter(pathlib.Path(folder), 0)
    record = step_metrics.StepMetrics(phase, number, writer, list)
    seconds = []
    for _ in range(20):
      started = time.perf_counter()
      for step in range(phase.start + 1, phase.start + 1 + number):
        record.add(step, values)
      record.record(everything=True)
      seconds.append((time.perf_counter() - started) / number)
    writer.close()
  bench.report("record_ms_per_step", 1e3 * statistics.median(seconds), "ms")


if __name__ == "__main__":
  main()
