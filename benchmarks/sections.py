"""The sections of `benchmarks.train`, of which each reports some figures."""

import contextlib
import functools
import statistics
import sys
import time

import jax
import jax.numpy as jnp

from benchmarks import bench as benches
from benchmarks import hlo
from benchmarks import roofline
from benchmarks import rounds
from benchmarks import steps
from benchmarks import torch_side

_SWEEP = (64, 160, 320, 640, 1280, 2560)
_LARGEST_ON_CPU = 160
# The recipe's.
_BATCH = 64
_NUM_TRAIN = _BATCH * steps.STEPS_PER_EPOCH
_NUM_TEST = 20_466


def time_steps(bench: benches.Bench) -> None:
  """Reports on a training step and an evaluation step, beside PyTorch's."""
  torch = start_torch(bench)
  # Its memory is given back before the other sections.
  with torch or contextlib.nullcontext():
    training = steps.Training(bench.config, bench.mesh)
    benches.say(f"Compiled in {training.compile_s:.1f} s")
    bench.report("compile_s", training.compile_s, "s", cache="cold")
    jax.clear_caches()
    training.compile()
    bench.report("compile_s", training.compile_s, "s", cache="warm")
    memory = training.temp_bytes_per_image
    bench.report("temp_bytes_per_image", memory, "bytes/image")
    for name, number in hlo.census(training.compiled.as_text()).items():
      bench.report(f"hlo_{name}", number, "instructions")
    evaluation = steps.evaluation(training, bench.mesh)
    rate = report_beside(bench, torch, "train", training.run)
    report_beside(bench, torch, "eval", evaluation)
    if not bench.quick:
      report_rooflines(bench, rate, training.moved_bytes_per_image)


def start_torch(bench: benches.Bench) -> torch_side.TorchSide | None:
  """Starts PyTorch's side, or tells why there is none."""
  python = torch_side.find_python(bench.torch_python)
  if python is None:
    benches.say(
      "Without PyTorch, which is not in this environment. To have it beside: "
      "python3 -m venv FOLDER, FOLDER/bin/pip install torch numpy, and here "
      "--torch-python=FOLDER/bin/python."
    )
    return None
  batch, size = bench.config.train.batch_size, bench.config.data.crop
  command = [python, str(torch_side.SCRIPT), f"--batch={batch}"]
  try:
    torch = torch_side.TorchSide([*command, f"--size={size}"])
  except torch_side.TorchError as error:
    sys.exit(f"error: {error}")
  benches.say(f"PyTorch: {torch.facts}")
  if (torch.facts["device"] == "cpu") != bench.on_cpu:
    benches.say("PyTorch does not run on this device: left out.")
    torch.close()
    return None
  return torch


def report_beside(
  bench: benches.Bench,
  torch: torch_side.TorchSide | None,
  what: str,
  ours: rounds.Side,
) -> float:
  """Times our steps, beside PyTorch's if it is there.

  Args:
    bench: what the sections share.
    torch: the other side.
    what: 'train' or 'eval'.
    ours: makes steps of this kind, of the default batch.

  Returns:
    Our images/s.
  """
  benches.say(f"Timing {what} steps")
  sides = {"ours": ours}
  more: dict = {}
  if torch:
    more["torch"] = torch.facts["torch"]
    sides["torch"] = functools.partial(torch.run, what)
    if not bench.quick:
      compiled = functools.partial(torch.run, f"{what}_compiled")
      sides["torch_compiled"] = compiled
  seconds, failed = rounds.alternate(sides, bench.rounds, bench.on_cpu)
  images = bench.config.train.batch_size
  rates = {
    name: images / statistics.median(each) for name, each in seconds.items()
  }
  for name in list(sides)[1:]:
    more[f"ratio_to_{name}"] = None
    if name in failed:
      more[f"{name}_failed"] = failed[name]
      continue
    middle, span = rounds.ratio(seconds["ours"], seconds[name])
    more[f"ratio_to_{name}"] = middle
    more[f"ratio_to_{name}_range"] = span
    more[f"{name}_images_per_s"] = rates[name]
  bench.report(f"{what}_images_per_s", rates["ours"], "images/s", **more)
  return rates["ours"]


def report_rooflines(bench: benches.Bench, rate: float, moved: float) -> None:
  """Measures the ceilings, and reports how near to them training is.

  Args:
    bench: what the sections share.
    rate: images/s of training.
    moved: bytes per image that XLA says it moves.
  """
  benches.say("Measuring the ceilings")
  model, side = bench.config.model, bench.config.data.crop
  flop = roofline.training_flop(model, side)
  bench.report("train_tflops", rate * flop / 1e12, "TFLOP/s", flop=flop)
  ceiling = roofline.matmul_flop_per_s(model.dtype, bench.device)
  bench.report(
    "percent_of_matmul_roofline",
    100 * rate * flop / ceiling,
    "%",
    ceiling_tflops=ceiling / 1e12,
  )
  itemsize = jnp.dtype(model.dtype).itemsize
  needed = roofline.training_bytes(model, side, itemsize)
  ceiling = roofline.copy_bytes_per_s(model.dtype, bench.device)
  bench.report(
    "percent_of_bandwidth_roofline",
    100 * rate * needed / ceiling,
    "%",
    ceiling_gb_per_s=ceiling / 1e9,
    mb_per_image=needed / 1e6,
    mb_per_image_of_xla=moved / 1e6,
  )


def time_frozen(bench: benches.Bench) -> None:
  """Reports on the phase that trains the head only."""
  whole = steps.Training(bench.config, bench.mesh)
  head = steps.Training(bench.config, bench.mesh, "head_only", whole.data)
  sides = {"whole": whole.run, "head": head.run}
  seconds, _ = rounds.alternate(sides, bench.rounds, bench.on_cpu)
  rate = head.views / statistics.median(seconds["head"])
  bench.report("frozen_images_per_s", rate, "images/s")
  faster, span = rounds.ratio(seconds["head"], seconds["whole"])
  bench.report("frozen_speedup", faster, "times", range=span)


def time_sweep(bench: benches.Bench) -> None:
  """Reports on batches of several sizes, of one view and of five views."""
  sizes = [n for n in _SWEEP if not bench.on_cpu or n <= _LARGEST_ON_CPU]
  for views in (1, 5):
    for size in sizes:
      if size % views:
        continue
      config = bench.config.copy_and_resolve_references()
      config.train.batch_size = size // views
      config.train.views_per_image = views
      benches.say(f"{size} views, {views} of each image")
      try:
        training = steps.Training(config, bench.mesh)
        sides = {"ours": training.run}
        seconds, _ = rounds.alternate(sides, 3, bench.on_cpu)
      except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
          raise
        reason = "out of memory"
        bench.report("sweep", None, "images/s", config, reason=reason)
        continue
      rate = size / statistics.median(seconds["ours"])
      memory = training.temp_bytes_per_image
      bench.report(
        "sweep", rate, "images/s", config, temp_bytes_per_image=memory
      )


def time_tta(bench: benches.Bench) -> None:
  """Reports on predictions from five views of each galaxy."""
  number = bench.config.eval.batch_size if bench.on_cpu else _NUM_TEST
  split = steps.random_split(number, bench.config.data.crop)
  training = steps.Training(bench.config, bench.mesh)
  data = steps.place(split, bench.config, bench.mesh)
  predict = functools.partial(
    steps.tta_seconds,
    bench.config,
    training.state.variables,
    data,
    steps.make_eval_step(bench.config, bench.mesh),
  )
  predict()
  seconds = statistics.median(predict() for _ in range(3))
  bench.report(
    "tta_views_per_s", 5 * number / seconds, "views/s", galaxies=number
  )


def time_recipe(bench: benches.Bench) -> None:
  """Reports the time of a whole run."""
  if bench.on_cpu:
    benches.say("Left out: this is a CPU.")
    return
  config = bench.config.copy_and_resolve_references()
  config.train.batch_size = _BATCH
  side = config.data.crop
  train, test = (
    steps.place(steps.random_split(number, side), config, bench.mesh)
    for number in (_NUM_TRAIN, _NUM_TEST)
  )
  begun = time.perf_counter()
  compile_s, train_s, state = 0.0, 0.0, None
  for name in config.optim.phases:
    training = steps.Training(config, bench.mesh, name, train, state)
    compile_s += training.compile_s
    train_s += training.run(training.phase.end - training.phase.start)
    state = training.state
  step = steps.make_eval_step(config, bench.mesh)
  tta_s = steps.tta_seconds(config, training.state.variables, test, step)
  bench.report(
    "recipe_s",
    time.perf_counter() - begun,
    "s",
    config,
    compile_s=compile_s,
    train_s=train_s,
    tta_s=tta_s,
  )
