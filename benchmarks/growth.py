"""How time and memory grow with galaxies, pixels and views.

  python -m benchmarks.growth --plot=FILE.png > FILE.jsonl  # 6 min, 12 GB
  python -m benchmarks.growth --from=FILE.jsonl --plot=FILE.png

One JSON line per figure on standard output, as `benchmarks.train` prints them;
`against` tells what grows and `at` how much of it there is. At the end a line
of each figure's exponent, the slope of its logarithm over the three largest
sizes, beside the `expected` one: 1 where twice as much should take twice as
long, 0 where it should not matter. `--from` reads figures instead of measuring
them; `--galaxies` measures other numbers of galaxies, since 90,000 take 12 GB.
All images are noise.

  galaxies  1,000 to 90,000 images of 128×128 pixels, with a network so small
            that it does not hide the rest: packing them and putting them on
            the device, the order of an epoch, one training step, predictions
            from five views; the same step with the images on the host. Memory
            is the most that the process holds on the host, one process each
  pixels    a training step of ResNet-34, 8 images of 32×32 to 224×224 pixels
  views     the same of 4 images of 128×128 pixels, 1 to 10 views of each
"""

import argparse
import itertools
import json
import os
import pathlib
import subprocess
import sys

from matplotlib import axes
from matplotlib import figure
import numpy as np

from galmet_jax import figure_style

_REPOSITORY = pathlib.Path(__file__).parents[1]
_GALAXIES = "1000,3000,10000,30000,90000"
_SIDES = "32,64,96,128,160,224"
_VIEWS = "1,2,5,10"
# {what grows: {name: (label, expected exponent)}}
SERIES = {
  "galaxies": {
    "evaluate_s": ("evaluate, 5 views, s", 1),
    "place_s": ("pack and place, s", 1),
    "order_s": ("order of an epoch, s", 1),
    "step_s": ("training step, s", 0),
    "host_step_s": ("same, images on host, s", 0),
    "peak_memory": ("peak memory, GB", 1),
    "host_peak_memory": ("same, images on host, GB", 1),
  },
  "pixels": {
    "step_ms": ("step of 8 images, ms", 1),
    "temp_memory": ("memory for an image, MB", 1),
  },
  "views": {
    "step_ms": ("step of 4 images, ms", 1),
    "temp_memory": ("memory for a view, MB", 0),
  },
}
_AXES = {
  "galaxies": ("Galaxies", "Seconds; GB (dashed)"),
  "pixels": ("Pixels of an image", "Milliseconds; MB (dashed)"),
  "views": ("Views of each image", "Milliseconds; MB (dashed)"),
}
_TICKS = {
  "galaxies": {10**power: f"{10**power:,}" for power in (3, 4)},
  "pixels": {side**2: f"{side}²" for side in (32, 64, 128, 224)},
  "views": {number: str(number) for number in (1, 2, 5, 10)},
}
_MEMORY = ("peak_memory", "host_peak_memory", "temp_memory")


def main() -> None:
  """Measures or reads the figures, fits exponents and draws."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("--plot", type=pathlib.Path, metavar="FILE.png", help="draw them there")
  add("--from", type=pathlib.Path, metavar="FILE.jsonl", dest="source")
  add("--galaxies", default=_GALAXIES, help="default: %(default)s")
  args = parser.parse_args()
  if args.source:
    figures = read(args.source)
  else:
    runs = [
      *itertools.product(("device", "host"), args.galaxies.split(",")),
      ("pixels", _SIDES),
      ("views", _VIEWS),
    ]
    figures = [each for run in runs for each in measure(*run)]
  for each in exponents(figures):
    print(json.dumps(each), flush=True)
  if args.plot:
    draw(args.plot, figures)


def measure(section: str, sizes: str) -> list[dict]:
  """Measures in a process of its own, whose peak memory is its own.

  Args:
    section: of `benchmarks.growth_measures`.
    sizes: numbers, with commas between.

  Returns:
    The figures, which are printed as well.
  """
  print(f"Measuring {section} {sizes}", file=sys.stderr, flush=True)
  command = [sys.executable, "-m", "benchmarks.growth_measures", section, sizes]
  # Else JAX takes most of a GPU's memory before it is needed.
  environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ}
  done = subprocess.run(
    command,
    cwd=_REPOSITORY,
    env=environment,
    stdout=subprocess.PIPE,
    text=True,
    check=False,
  )
  print(done.stdout, end="", flush=True)
  if done.returncode:
    sys.exit(
      f"error: {section} {sizes} ended with {done.returncode} (-9: the memory "
      f"did not suffice). Alone: {' '.join(command)}"
    )
  return [json.loads(line) for line in done.stdout.splitlines()]


def read(path: pathlib.Path) -> list[dict]:
  """Reads figures that have been measured, without their exponents."""
  try:
    lines = path.read_text().splitlines()
    figures = [json.loads(line) for line in lines]
    return [each for each in figures if "at" in each]
  except (OSError, ValueError, TypeError) as error:
    sys.exit(
      f"error: {path} does not hold a figure in each line ({error}). Measure "
      f"them: python -m benchmarks.growth > {path}"
    )


def points(
  figures: list[dict], against: str, name: str
) -> tuple[np.ndarray, np.ndarray]:
  """Returns sizes, rising, and values of one series, `[K]` each."""
  found = sorted(
    (each["at"], each["value"])
    for each in figures
    if (each["against"], each["name"]) == (against, name)
  )
  at, values = np.array(found, float).reshape(-1, 2).T
  return at, values


def exponent(at: np.ndarray, values: np.ndarray) -> float:
  """Fits p of values ∝ at^p to the three largest sizes.

  Args:
    at: sizes `[K]`, rising, two at least.
    values: `[K]`, above zero.
  """
  return float(np.polyfit(np.log(at[-3:]), np.log(values[-3:]), 1)[0])


def exponents(figures: list[dict]) -> list[dict]:
  """Fits the exponent of each series that has two points.

  Args:
    figures: what was measured.

  Returns:
    A figure each, as those measured but for `at`.
  """
  fitted = []
  for against, names in SERIES.items():
    for name, (_, expected) in names.items():
      at, values = points(figures, against, name)
      if len(at) < 2:
        continue
      facts = {key: figures[0][key] for key in ("device", "dtype")}
      fitted.append(
        {
          "name": f"{name}_exponent",
          **facts,
          "value": round(exponent(at, values), 3),
          "unit": "",
          "against": against,
          "expected": expected,
        }
      )
  return fitted


def draw(path: pathlib.Path, figures: list[dict]) -> None:
  """Draws all series, one panel for each thing that grows.

  Args:
    path: the PNG to write, some 1,200 pixels wide.
    figures: what was measured.
  """
  fig = figure.Figure(figsize=(8.4, 4.9), layout="constrained")
  panels = fig.subplots(1, len(SERIES), width_ratios=(1.25, 1, 1))
  for panel, against in zip(panels, SERIES, strict=True):
    _draw_panel(panel, figures, against)
  figure_style.save(fig, path)


def _draw_panel(panel: axes.Axes, figures: list[dict], against: str) -> None:
  colors = iter(figure_style.COLORS)
  color = ""
  for name, (label, _) in SERIES[against].items():
    at, values = points(figures, against, name)
    if not len(at):
      continue
    # The same thing, the images elsewhere.
    on_host = name.startswith("host_")
    color = color if on_host else next(colors)
    if len(at) > 1:
      label = f"{label}: {exponent(at, values):.2f}"
    panel.plot(
      at,
      values,
      "--" if name in _MEMORY else "-",
      color=color,
      marker="o",
      markerfacecolor="white" if on_host else color,
      ms=4,
      lw=1.3,
      label=label,
    )
  xlabel, ylabel = _AXES[against]
  panel.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
  panel.set_xticks(list(_TICKS[against]), list(_TICKS[against].values()))
  panel.set_xticks([], minor=True)
  panel.tick_params(labelsize=8)
  figure_style.draw_grid(panel)
  _draw_slope(panel)
  panel.legend(
    loc="upper left",
    bbox_to_anchor=(-0.12, -0.17),
    fontsize=8,
    frameon=False,
    title="Slopes are of the last three points",
    title_fontsize=8,
    alignment="left",
  )


def _draw_slope(panel: axes.Axes) -> None:
  """Draws a thin line of slope 1 from corner to corner, within the limits."""
  xlim, ylim = panel.get_xlim(), panel.get_ylim()
  middle_x, middle_y = np.sqrt(np.prod(xlim)), np.sqrt(np.prod(ylim))
  x = np.array(xlim)
  y = middle_y * x / middle_x
  panel.plot(x, y, color=figure_style.GREY, lw=0.6, label="for comparison: 1")
  panel.set(xlim=xlim, ylim=ylim)


if __name__ == "__main__":
  main()
