"""Speed of training and evaluation, compared with PyTorch.

  python -m benchmarks.train --quick --torch-python=PATH   # 3 minutes, 2 cores
  python -m benchmarks.train --torch-python=PATH           # all figures

Prints one JSON line per measurement to standard output, and progress to
standard error. It times the steps that `main.py` compiles, for the published
ResNet-34 on one device and random 128×128 images: batches of 32 in float32 on a
CPU, of 640 in bfloat16 on a GPU.

PyTorch runs in its own process with the same batch size, precision and device.
The two take turns. `ratio_to_torch` is the median over rounds of PyTorch's time
divided by ours: above one, ours is faster. The comparison favours PyTorch: it
gets the same finished batch in each step, while our steps gather, augment and
normalise their images.

Measurements with and without --quick:

  compile_s              with an empty and with a filled compilation cache
  temp_bytes_per_image   memory of a training step without its arguments
  train_images_per_s, eval_images_per_s

Without --quick also the ratio to torch.compile, and:

  sweep                  64 to 2560 views in a batch (to 160 on a CPU), of one
                         and of five views per image
  tta_views_per_s        predictions from the plain and four random views
  recipe_s               ten epochs of 76,800 images and the test set of 20,466
                         (random images, no checkpoints or validation; GPU only)
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import os
import statistics
import sys
import tempfile
import time

import jax
import ml_collections

from benchmarks import contenders
from benchmarks import jax_steps
from galmet_jax.devices import sharding

_SWEEP = (64, 160, 320, 640, 1280, 2560)
_LARGEST_ON_CPU = 160
# The paper's batch size and numbers of galaxies.
_BATCH = 64
_NUM_TRAIN = _BATCH * jax_steps.STEPS_PER_EPOCH
_NUM_TEST = 20_466


@dataclasses.dataclass(frozen=True)
class Bench:
  """Settings of all measurements: the recipe, one device and the flags."""

  config: ml_collections.ConfigDict
  mesh: jax.sharding.Mesh
  quick: bool
  torch_python: str | None

  @property
  def device(self) -> jax.Device:
    """The only device of the mesh."""
    return self.mesh.devices.flat[0]

  @property
  def on_cpu(self) -> bool:
    """Whether the device is a CPU."""
    return self.device.platform == "cpu"

  def report(
    self,
    name: str,
    value: float | None,
    unit: str,
    config: ml_collections.ConfigDict | None = None,
    **more,
  ) -> None:
    """Prints a measurement with its batch size, and `more` facts, as JSON."""
    config = config or self.config
    facts = {
      "name": name,
      "device": self.device.device_kind,
      "dtype": config.model.dtype,
      "batch": config.train.batch_size,
      "views": config.train.views_per_image,
      "value": value,
      "unit": unit,
      "ratio_to_torch": None,
      **more,
    }
    rounded = {key: _round(fact) for key, fact in facts.items()}
    print(json.dumps(rounded), flush=True)


def _round(value):
  """Rounds a float, or the floats in a tuple, to five significant digits."""
  if isinstance(value, tuple):
    return [_round(each) for each in value]
  return float(f"{value:.5g}") if isinstance(value, float) else value


def log(text: str) -> None:
  """Prints progress to standard error."""
  print(text, file=sys.stderr, flush=True)


def main() -> None:
  """Runs the benchmarks."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--quick", action="store_true", help="see above")
  parser.add_argument(
    "--torch-python", metavar="PATH", help="Python that has PyTorch"
  )
  args = parser.parse_args()
  # Otherwise JAX reserves most of a GPU's memory, which PyTorch needs.
  os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
  mesh = sharding.make_mesh(jax.local_devices()[:1])
  on_cpu = mesh.devices.flat[0].platform == "cpu"
  config = jax_steps.make_config(
    32 if on_cpu else 640, "float32" if on_cpu else "bfloat16"
  )
  bench = Bench(config, mesh, args.quick, args.torch_python)
  log(f"JAX {jax.__version__} on {bench.device.device_kind}")
  # The folder is empty, so that the first compilation is cold.
  with tempfile.TemporaryDirectory() as folder:
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    time_steps(bench)
    if not bench.quick:
      for section in (time_sweep, time_tta, time_recipe):
        log(section.__name__)
        section(bench)


def time_steps(bench: Bench) -> None:
  """Reports on a training and an evaluation step, compared with PyTorch."""
  torch = start_torch(bench)
  with torch or contextlib.nullcontext():
    training = jax_steps.Training(bench.config, bench.mesh)
    bench.report("compile_s", training.compile_s, "s", cache="cold")
    jax.clear_caches()
    training.compile()
    bench.report("compile_s", training.compile_s, "s", cache="warm")
    memory = training.temp_bytes_per_image
    bench.report("temp_bytes_per_image", memory, "bytes/image")
    report_beside_torch(bench, torch, "train", training.run)
    report_beside_torch(bench, torch, "eval", training.make_evaluation())


def start_torch(bench: Bench) -> contenders.TorchProcess | None:
  """Starts PyTorch; returns None if it is not requested or has no GPU."""
  python = bench.torch_python
  if python is None:
    log("Skipping PyTorch. To compare with it, pass --torch-python=PATH.")
    return None
  command = [
    python,
    str(contenders.TORCH_SCRIPT),
    f"--batch={bench.config.train.batch_size}",
    f"--size={bench.config.data.crop}",
  ]
  try:
    torch = contenders.TorchProcess(command)
  except contenders.TorchError as error:
    sys.exit(f"error: {error}")
  log(f"PyTorch: {torch.facts}")
  if (torch.facts["device"] == "cpu") != bench.on_cpu:
    log("Skipping PyTorch, which does not run on this device.")
    torch.__exit__()
    return None
  return torch


def report_beside_torch(
  bench: Bench,
  torch: contenders.TorchProcess | None,
  kind: str,
  ours: contenders.Contender,
) -> None:
  """Reports images/s of our steps of a kind, and of PyTorch's if it runs."""
  log(f"Timing {kind} steps")
  sides = {"ours": ours}
  facts: dict = {}
  if torch:
    facts["torch"] = torch.facts["torch"]
    sides["torch"] = functools.partial(torch.run, kind)
    if not bench.quick:
      compiled = functools.partial(torch.run, f"{kind}_compiled")
      sides["torch_compiled"] = compiled
  rounds = 5 if bench.quick else 9
  seconds, failed = contenders.alternate(sides, rounds, bench.on_cpu)
  images = bench.config.train.batch_size
  for name in list(sides)[1:]:
    facts[f"ratio_to_{name}"] = None
    if name in failed:
      facts[f"{name}_failed"] = failed[name]
      continue
    middle, span = contenders.ratio(seconds["ours"], seconds[name])
    facts[f"ratio_to_{name}"] = middle
    facts[f"ratio_to_{name}_range"] = span
    facts[f"{name}_images_per_s"] = images / statistics.median(seconds[name])
  rate = images / statistics.median(seconds["ours"])
  bench.report(f"{kind}_images_per_s", rate, "images/s", **facts)


def time_sweep(bench: Bench) -> None:
  """Reports on several batch sizes, with one and with five views per image."""
  for views in (1, 5):
    for size in _SWEEP:
      if size % views or (bench.on_cpu and size > _LARGEST_ON_CPU):
        continue
      config = bench.config.copy_and_resolve_references()
      config.train.batch_size = size // views
      config.train.views_per_image = views
      log(f"{size} views, {views} per image")
      try:
        training = jax_steps.Training(config, bench.mesh)
        seconds, _ = contenders.alternate(
          {"ours": training.run}, 3, bench.on_cpu
        )
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


def time_tta(bench: Bench) -> None:
  """Reports on predictions from five views of each galaxy."""
  number = bench.config.eval.batch_size if bench.on_cpu else _NUM_TEST
  split = jax_steps.random_split(number, bench.config.data.crop)
  data = jax_steps.place(split, bench.config, bench.mesh)
  training = jax_steps.Training(bench.config, bench.mesh)
  step = jax_steps.make_eval_step(bench.config, bench.mesh)
  training.predict(step, data)  # compiles
  seconds = statistics.median(training.predict(step, data) for _ in range(3))
  rate = 5 * number / seconds
  bench.report("tta_views_per_s", rate, "views/s", galaxies=number)


def time_recipe(bench: Bench) -> None:
  """Reports the time of a whole run: training, then the test set with TTA."""
  if bench.on_cpu:
    log("Skipped on a CPU, which would take hours.")
    return
  config = bench.config.copy_and_resolve_references()
  config.train.batch_size = _BATCH
  train, test = (
    jax_steps.place(
      jax_steps.random_split(number, config.data.crop), config, bench.mesh
    )
    for number in (_NUM_TRAIN, _NUM_TEST)
  )
  started = time.perf_counter()
  compile_s, train_s, state = 0.0, 0.0, None
  for name in config.optim.phases:
    training = jax_steps.Training(config, bench.mesh, name, train, state)
    compile_s += training.compile_s
    train_s += training.run(training.phase.end - training.phase.start)
    state = training.state
  step = jax_steps.make_eval_step(config, bench.mesh)
  tta_s = training.predict(step, test)
  bench.report(
    "recipe_s",
    time.perf_counter() - started,
    "s",
    config,
    compile_s=compile_s,
    train_s=train_s,
    tta_s=tta_s,
  )


if __name__ == "__main__":
  main()
