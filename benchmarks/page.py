"""Size of a page, and how long Chromium takes to paint it.

  python -m benchmarks.page --galaxies=20000

Needs Chromium and the packages of requirements-dev.txt. The galaxies are
*synthetic*; each of 100 images is shown in eight orientations.
"""

import argparse
import pathlib
import shutil
import tempfile
import time

import numpy as np
import pandas as pd
from playwright import sync_api

from galmet_jax import quantities
from galmet_jax.page import page
from tfds_sdss.mock import population
from tfds_sdss.mock import render

_NUM_IMAGES = 100


def main() -> None:
  """Prints a line."""
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--galaxies", type=int, default=20_000)
  number = parser.parse_args().galaxies
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "page.html"
    started = time.perf_counter()
    page.write(path, _content(number))
    written = time.perf_counter() - started
    size = path.stat().st_size / 1e6
    painted = [_paint(path) for _ in range(3)]
  print(
    f"{number:,} galaxies: {size:.1f} MB, written in {written:.1f} s, painted "
    f"in {min(painted):.1f}-{max(painted):.1f} s"
  )


def _content(number: int) -> page.Content:
  rng = np.random.default_rng(0)
  images = _images()
  true = rng.normal(8.9, 0.2, number)
  predicted = true + rng.normal(0, 0.1, number)
  galaxies = pd.DataFrame(
    {
      "id": (population.OBJID_BASE + np.arange(number)).astype(str),
      "split": "test",
      "true": true,
      "pred": predicted,
      "pred_p16": predicted - 0.1,
      "pred_p84": predicted + 0.1,
      "pred_p2p5": predicted - 0.2,
      "pred_p97p5": predicted + 0.2,
      "ood_p": rng.random(number),
      "flags": "",
    }
  )
  target = quantities.Quantity("oh_p50", "12 + log(O/H)", "dex")
  return page.Content(
    title="Synthetic galaxies",
    facts="",
    target=target,
    galaxies=galaxies,
    images=lambda rows: images[rows % len(images)],
  )


def _images() -> np.ndarray:
  """Returns images and their mirror images and rotations."""
  found = []
  for index in range(_NUM_IMAGES):
    row = {
      name: column[0]
      for name, column in population.draw(0, np.array([index])).items()
    }
    image = np.asarray(render.render(row, np.random.default_rng(index)))
    for turned in (np.rot90(image, k) for k in range(4)):
      found += [turned, turned[:, ::-1]]
  return np.ascontiguousarray(np.stack(found))


def _paint(path: pathlib.Path) -> float:
  """Returns the seconds until all is drawn."""
  program = shutil.which("chromium")
  if program is None:
    raise SystemExit("Chromium is not installed. Try: apt-get install chromium")
  with sync_api.sync_playwright() as playwright:
    browser = playwright.chromium.launch(
      executable_path=program, args=["--no-sandbox", "--use-gl=swiftshader"]
    )
    tab = browser.new_context(offline=True).new_page()
    started = time.perf_counter()
    tab.goto(path.as_uri())
    tab.wait_for_function(
      "window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].is_idle"
    )
    seconds = time.perf_counter() - started
    browser.close()
  return seconds


if __name__ == "__main__":
  main()
