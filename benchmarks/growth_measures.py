"""What `benchmarks.growth` measures, in processes of their own.

  python -m benchmarks.growth_measures device 10000
  python -m benchmarks.growth_measures pixels 32,64

One JSON line per figure on standard output: `at` is the number of what it is
measured `against`. Times are the least of some repeats: whatever else the
machine does can only add to them.
"""

from collections.abc import Callable
import gc
import resource
import sys
import tempfile
import time

import jax
import ml_collections

from benchmarks import bench as benches
from benchmarks import steps
from galmet_jax.data import batches
from galmet_jax.data import placement
from galmet_jax.devices import sharding

# Of the images on the disk, pixels; the small network sees a part of them.
_SIDE = 128
_REPEATS = 3
_ENOUGH_S = 30.0
_STEPS = 20


def main() -> None:
  """Measures the section of the first argument at each size of the second."""
  section, sizes = sys.argv[1:]
  measure, make_config = _SECTIONS[section]
  mesh = sharding.make_mesh(jax.local_devices()[:1])
  on_cpu = mesh.devices.flat[0].platform == "cpu"
  config = make_config("float32" if on_cpu else "bfloat16")
  bench = benches.Bench(config, mesh, quick=False, torch_python=None)
  # As main.py has it: what has been compiled before is read.
  with tempfile.TemporaryDirectory() as folder:
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    for size in sizes.split(","):
      measure(bench, int(size))


def small_config(dtype: str) -> ml_collections.ConfigDict:
  """Returns a network so small that what is done for each galaxy shows."""
  config = steps.make_config(64, dtype)
  config.data.crop = 16
  config.model.stage_sizes, config.model.width = (1,), 8
  config.model.head_width = 32
  config.optim.groups.early, config.optim.groups.late = ("stem",), ("stage1",)
  return config


def measure_device(bench: benches.Bench, number: int) -> None:
  """Reports on so many galaxies, placed on the device.

  Args:
    bench: tells the network.
    number: of galaxies.
  """
  split = steps.random_split(number, _SIDE)
  placed: dict[str, placement.Placement] = {}

  def place(_) -> float:
    # Training holds no more than one either. JAX gives memory that it took as
    # it was back in the next collection.
    placed.clear()
    gc.collect()
    begun = time.perf_counter()
    placed["data"] = steps.place(split, bench.config, bench.mesh)
    return time.perf_counter() - begun

  _report(bench, number, "place_s", _least(place), "s")
  _report(bench, number, "order_s", _order_seconds(bench, number), "s")
  training = steps.Training(bench.config, bench.mesh, data=placed["data"])
  _report(bench, number, "step_s", _step_seconds(training), "s")
  eval_step = steps.make_eval_step(bench.config, bench.mesh)

  def evaluate(_) -> float:
    variables = training.state.variables
    return steps.tta_seconds(bench.config, variables, training.data, eval_step)

  _report(bench, number, "evaluate_s", _least(evaluate), "s")
  _report(bench, number, "peak_memory", _peak_gb(), "GB")


def measure_host(bench: benches.Bench, number: int) -> None:
  """Reports on so many galaxies that stay in the host's memory.

  Args:
    bench: tells the network.
    number: of galaxies.
  """
  config = bench.config.copy_and_resolve_references()
  config.data.placement = "host"
  data = steps.place(steps.random_split(number, _SIDE), config, bench.mesh)
  training = steps.Training(config, bench.mesh, data=data)
  _report(bench, number, "host_step_s", _step_seconds(training), "s")
  _report(bench, number, "host_peak_memory", _peak_gb(), "GB")


def _order_seconds(bench: benches.Bench, number: int) -> float:
  """Returns how long the order of all batches of an epoch takes."""
  config = bench.config
  batch = config.train.batch_size
  length = batches.steps_per_epoch(number, batch)

  def read(i: int) -> float:
    # Placing has asked for the first; what was asked for is remembered.
    first = (1 + i) * length
    begun = time.perf_counter()
    for step in range(first, first + length):
      batches.batch_indices(config.seed, step, number, batch)
    return time.perf_counter() - begun

  return _least(read)


def _step_seconds(training: steps.Training) -> float:
  """Returns how long a training step takes, its batch included."""

  def run(i: int) -> float:
    begun = time.perf_counter()
    # On, not from 0 again: batches from the host are made ahead.
    for step in range(i * _STEPS, (i + 1) * _STEPS):
      batch = training.data.batch(step)
      training.state, _ = training.compiled(training.state, *batch)
    jax.block_until_ready(training.state)
    return (time.perf_counter() - begun) / _STEPS

  return _least(run)


def _least(measure: Callable[[int], float]) -> float:
  """Repeats a measurement for a while; returns the least seconds.

  Args:
    measure: is given 0, 1, ... and returns seconds.
  """
  begun = time.perf_counter()
  seconds = [measure(0)]
  while len(seconds) < _REPEATS and time.perf_counter() - begun < _ENOUGH_S:
    seconds.append(measure(len(seconds)))
  return min(seconds)


def _peak_gb() -> float:
  """Returns the most memory that this process has held on the host."""
  scale = 1 if sys.platform == "darwin" else 1024
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak * scale / 1e9


def measure_pixels(bench: benches.Bench, side: int) -> None:
  """Reports on a training step on images of `side` × `side` pixels."""
  config = bench.config.copy_and_resolve_references()
  config.data.crop = side
  config.train.batch_size = 8
  _measure_step(bench, config, "pixels", side**2)


def measure_views(bench: benches.Bench, views: int) -> None:
  """Reports on a training step with so many views of each image."""
  config = bench.config.copy_and_resolve_references()
  config.train.batch_size = 4
  config.train.views_per_image = views
  _measure_step(bench, config, "views", views)


def _measure_step(
  bench: benches.Bench,
  config: ml_collections.ConfigDict,
  against: str,
  at: int,
) -> None:
  benches.say(f"Compiling for {at} {against}")
  training = steps.Training(config, bench.mesh)
  training.run(1)  # the first is slower
  seconds = _least(lambda _: training.run(1))
  memory = training.temp_bytes_per_image / 1e6
  more = {"against": against, "at": at}
  bench.report("step_ms", 1e3 * seconds, "ms", config, **more)
  bench.report("temp_memory", memory, "MB/view", config, **more)


def _report(
  bench: benches.Bench, number: int, name: str, value: float, unit: str
) -> None:
  bench.report(name, value, unit, against="galaxies", at=number)


def _real_config(dtype: str) -> ml_collections.ConfigDict:
  return steps.make_config(8, dtype)


_SECTIONS: dict[str, tuple[Callable, Callable]] = {
  "device": (measure_device, small_config),
  "host": (measure_host, small_config),
  "pixels": (measure_pixels, _real_config),
  "views": (measure_views, _real_config),
}


if __name__ == "__main__":
  main()
