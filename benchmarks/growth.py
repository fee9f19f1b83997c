"""Growth of time and memory with the number of galaxies.

  python -m benchmarks.growth > FILE.jsonl      # 4 minutes, 12 GB of memory
  python -m benchmarks.growth --galaxies=1000,3000,10000

Places random 128×128 images according to `data.placement`, trains some steps
and predicts all galaxies from five views. The network is so small that its time
does not hide the rest. Each number of galaxies runs in its own process, which
gives its peak memory. Prints one JSON line per measurement; then, for each kind
of measurement, the slope of log(value) against log(galaxies) over the three
largest numbers: 1 is linear growth, 0 is no growth.
"""

import argparse
from collections.abc import Callable
import concurrent.futures
import itertools
import json
import multiprocessing
import resource
import sys
import time

import jax
import numpy as np

from benchmarks import jax_steps
from galmet_jax.devices import sharding

_SIDE = 128
_STEPS = 20
_REPEATS = 3


def main() -> None:
  """Measures each number of galaxies and prints the slopes."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--galaxies", default="1000,3000,10000,30000,90000")
  numbers = [int(each) for each in parser.parse_args().galaxies.split(",")]
  figures = []
  with concurrent.futures.ProcessPoolExecutor(
    max_workers=1,
    mp_context=multiprocessing.get_context("spawn"),
    max_tasks_per_child=1,
  ) as pool:
    for placement, number in itertools.product(("device", "host"), numbers):
      for figure in pool.submit(measure, number, placement).result():
        print(json.dumps(figure), flush=True)
        figures.append(figure)
  for line in slopes(figures):
    print(json.dumps(line))


def measure(number: int, placement: str) -> list[dict]:
  """Returns the measurements for one number of galaxies.

  Times are the shortest of three, because other load only lengthens them.
  """
  mesh = sharding.make_mesh(jax.local_devices()[:1])
  on_cpu = mesh.devices.flat[0].platform == "cpu"
  config = jax_steps.make_config(64, "float32" if on_cpu else "bfloat16")
  config.data.placement = placement
  config.data.crop = 16
  config.model.stage_sizes, config.model.width = (1,), 8
  config.model.head_width = 32
  config.optim.groups.early, config.optim.groups.late = ("stem",), ("stage1",)

  split = jax_steps.random_split(number, _SIDE)
  started = time.perf_counter()
  data = jax_steps.place(split, config, mesh)
  place_s = time.perf_counter() - started
  training = jax_steps.Training(config, mesh, data=data)
  # The batches are consecutive, because the host prepares them ahead.
  step_s = _shortest(lambda i: training.run(_STEPS, 1 + i * _STEPS) / _STEPS)
  eval_step = jax_steps.make_eval_step(config, mesh)
  evaluate_s = _shortest(lambda _: training.predict(eval_step, data))
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  peak *= 1 if sys.platform == "darwin" else 1024
  return [
    {
      "name": name,
      "value": float(f"{value:.4g}"),
      "unit": unit,
      "galaxies": number,
      "placement": placement,
      "device": mesh.devices.flat[0].device_kind,
    }
    for name, value, unit in (
      ("place", place_s, "s"),
      ("step", step_s, "s"),
      ("evaluate", evaluate_s, "s"),
      ("peak_memory", peak / 1e9, "GB"),
    )
  ]


def _shortest(run: Callable[[int], float]) -> float:
  """Returns the smallest of run(0), run(1), ... in seconds."""
  return min(run(i) for i in range(_REPEATS))


def slopes(figures: list[dict]) -> list[dict]:
  """Returns the slope of each kind of measurement, if it has two or more."""
  series: dict[tuple[str, str], dict[int, float]] = {}
  for each in figures:
    key = each["placement"], each["name"]
    series.setdefault(key, {})[each["galaxies"]] = each["value"]
  lines = []
  for (placement, name), values in series.items():
    x, y = np.log(sorted(values.items())[-3:]).T
    if len(x) > 1:
      slope = round(float(np.polyfit(x, y, 1)[0]), 3)
      lines.append(
        {"name": f"{name}_slope", "value": slope, "placement": placement}
      )
  return lines


if __name__ == "__main__":
  main()
