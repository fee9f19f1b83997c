"""Speed and memory of a prediction.

  python -m benchmarks.predict --run=RUN --rows=4096

Writes a table of `rows` galaxies with the images of 100 test galaxies of the
mock, predicts it with the run, and prints images per second, without start and
compilation, and the peak memory.
"""

import argparse
import json
import pathlib
import resource
import tempfile
import time

from astropy.table import Table
import numpy as np

from galmet_jax.data import galaxies
from galmet_jax.predict import chunks
from galmet_jax.predict import command
from galmet_jax.predict_flags import Request
from tfds_sdss import build

_FILES = 100


def main() -> None:
  """Predicts and prints one JSON line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--run", required=True, help="workdir of a trained run")
  parser.add_argument("--rows", type=int, default=4096)
  parser.add_argument("--output", default="out.fits", help="gives the format")
  parser.add_argument("--data_dir", help="as for python -m tfds_sdss build")
  args = parser.parse_args()
  compute, seconds = chunks.compute, []

  def timed(task: chunks.Task) -> int:
    started = time.perf_counter()
    number = compute(task)
    seconds.append((time.perf_counter() - started) / number)
    return number

  chunks.compute = timed
  builder = build.build("mock", args.data_dir)
  _, _, jpegs = galaxies.read_split(builder, "test")
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    for number, data in enumerate(jpegs[:_FILES]):
      (folder / f"{number}.jpg").write_bytes(data)
    rows = np.arange(args.rows)
    files = [f"{number}.jpg" for number in rows % _FILES]
    columns = {f"column_{i}": rows / (i + 1) for i in range(10)}
    Table({"id": rows, "file": files, **columns}).write(folder / "in.csv")
    started = time.perf_counter()
    command.predict(
      pathlib.Path(args.run),
      Request(
        input=str(folder / "in.csv"),
        output=str(folder / args.output),
        images=name,
      ),
    )
    total = time.perf_counter() - started
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
  # The first chunk compiles.
  rate = 1 / np.median(seconds[1:] or seconds)
  print(
    json.dumps(
      {
        "rows": args.rows,
        "images_per_s": round(float(rate), 1),
        "total_s": round(total, 1),
        "peak_GB": round(peak, 2),
      }
    )
  )


if __name__ == "__main__":
  main()
