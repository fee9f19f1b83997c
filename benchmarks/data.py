"""Speed and memory of fetching, building, verifying and loading the data.

  python -m benchmarks.data --out=FOLDER                       # 10k to 142k
  python -m benchmarks.data --out=FOLDER --sizes=2000 --quick  # a minute

Prints one JSON line per figure. Each command runs in its own process, so that
its peak memory is its own. `per_core` divides by CPU seconds, including the
start of the process; `further_per_core` excludes the galaxies of the previous
size. All galaxies are synthetic.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import sys
import time

from benchmarks import staging_folder

_REPOSITORY = pathlib.Path(__file__).parents[1]
_LOAD = """
import sys
import ml_collections
from galmet_jax.data import galaxies
from tfds_sdss import build
config = ml_collections.ConfigDict({"targets": ("oh_p50",), "crop": 128})
galaxies.load(build.load("dr17", sys.argv[1]), config)
"""
_IMAGE_BYTES = 128 * 128 * 3


def main() -> None:
  """Runs the benchmarks."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("--out", required=True, type=pathlib.Path, help="folder for the data")
  add("--sizes", default="10000,40000,142000", help="numbers of galaxies")
  add("--quick", action="store_true", help="fewer requests in the fetch part")
  args = parser.parse_args()
  fetch(args.out, 200 if args.quick else 2_000)
  before: dict[str, tuple[int, float]] = {}
  for size in args.sizes.split(","):
    build_verify_load(args.out, int(size), before)


def report(name: str, value: float, unit: str, **more) -> None:
  """Prints one figure."""
  print(
    json.dumps({"name": name, "value": round(value, 4), "unit": unit, **more}),
    flush=True,
  )


def build_verify_load(
  out: pathlib.Path, number: int, before: dict[str, tuple[int, float]]
) -> None:
  """Builds a sample, verifies it and loads it as training does.

  Args:
    out: folder for the data; keeps the staging folders.
    number: number of galaxies.
    before: {command: (galaxies, CPU seconds)} of the last call; updated.
  """
  staged = out / f"staging-{number}"
  data_dir = out / f"data-{number}"
  staging_folder.make(staged, number)
  shutil.rmtree(data_dir, ignore_errors=True)
  tool = [sys.executable, "-m", "tfds_sdss"]
  sample = ["sdss_metallicity/dr17", f"--data_dir={data_dir}"]
  for name, command in (
    ("build", [*tool, "build", *sample, f"--staging={staged}"]),
    ("verify", [*tool, "verify", *sample]),
    ("load", [sys.executable, "-c", _LOAD, str(data_dir)]),
  ):
    wall, cpu, memory = _run(command)
    facts = {"galaxies": number}
    report(f"{name}_per_s", number / wall, "galaxies/s", **facts)
    report(f"{name}_per_core", number / cpu, "galaxies/s/core", **facts)
    if name in before:
      fewer, less = before[name]
      further = (number - fewer) / (cpu - less)
      report(f"{name}_further_per_core", further, "galaxies/s/core", **facts)
    before[name] = number, cpu
    report(f"{name}_seconds", wall, "s", **facts)
    report(f"{name}_peak_memory", memory / 1e9, "GB", **facts)
    if name == "load":
      report("load_us_per_galaxy", 1e6 * wall / number, "µs", **facts)
      over = memory / (number * _IMAGE_BYTES)
      report("load_peak_over_decoded", over, "times", **facts)
  for name, folder in (("staging", staged), ("built", data_dir)):
    # Blocks on the disk, of which small files occupy more than their length.
    blocks = sum(path.stat().st_blocks for path in folder.rglob("*"))
    report(f"{name}_on_disk", blocks * 512 / 1e9, "GB", galaxies=number)


def _run(command: list[str]) -> tuple[float, float, float]:
  """Returns wall seconds, CPU seconds and peak memory [bytes] of a command."""
  begun = time.perf_counter()
  pid = os.posix_spawn(
    command[0],
    command,
    {**os.environ, "PYTHONPATH": str(_REPOSITORY), "JAX_PLATFORMS": "cpu"},
    file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)],
  )
  # Unlike subprocess, wait4 returns the resources of this child alone.
  _, status, usage = os.wait4(pid, 0)
  wall = time.perf_counter() - begun
  if status:
    sys.exit(f"error: {' '.join(command[:4])} failed, see above")
  scale = 1 if sys.platform == "darwin" else 1024
  return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * scale


def fetch(out: pathlib.Path, number: int) -> None:
  """Fetches from the stand-in server, with and without a rate limit."""
  sys.path.insert(0, str(_REPOSITORY / "tests"))
  from tests.tfds_sdss.fetch import stand_in
  from tfds_sdss.fetch import fetch as fetching
  from tfds_sdss.fetch import request

  frame = stand_in.frame_of(number)
  for objid in frame.objid:
    stand_in.jpeg_of(objid)  # draw before the server is timed
  for rate in (50.0, 200.0, 1e6):
    wanted = min(number, int(rate * 5))
    folder = out / "fetched"
    shutil.rmtree(folder, ignore_errors=True)
    with stand_in.StandIn(frame, stand_in.jpeg_of) as server:
      outcome = fetching.fetch(
        request.Request(
          "dr17",
          folder,
          base_url=server.base_url,
          rate=rate,
          limit=wanted,
        )
      )
    assert outcome.images == wanted, outcome
    times = [r.time for r in server.requests if "getjpeg" in r.path]
    mean = (len(times) - 1) / (times[-1] - times[0])
    busiest = max(sum(t <= x < t + 1 for x in times) for t in times)
    facts = {"rate": rate, "requests": wanted, "server": "stand-in"}
    report("fetch_requests_per_s", mean, "requests/s", **facts)
    report("fetch_busiest_second", busiest, "requests", **facts)
    report("fetch_connections", server.max_active, "at once", **facts)


if __name__ == "__main__":
  main()
