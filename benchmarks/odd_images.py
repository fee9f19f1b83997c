"""Which odd images are flagged: the table of docs/predict.md.

  python -m benchmarks.odd_images --data_dir=D

Fits the image statistics of the mock's training and validation galaxies, and
prints the fraction of its test galaxies that are flagged after each change.
"""

import argparse

import ml_collections
import numpy as np
from scipy import stats

from galmet_jax.calibration import image_statistics
from galmet_jax.calibration import outliers
from galmet_jax.data import galaxies
from tests import odd_images
from tfds_sdss import build


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--data_dir", help="as for python -m tfds_sdss build")
  args = parser.parse_args()
  config = ml_collections.ConfigDict({"crop": 128, "targets": ("oh_p50",)})
  splits = galaxies.load(build.build("mock", args.data_dir), config)
  known = np.concatenate([splits[x].images for x in ("train", "validation")])
  test = splits["test"].images
  model = outliers.ImageModel.fit(image_statistics.compute(known))
  kinds = {"as they are": lambda images, rng: images, **odd_images.KINDS}
  print("| image | flagged |\n|---|---|")
  for name, change in kinds.items():
    changed = change(test, np.random.default_rng(0))
    p = model.p_values(image_statistics.compute(changed))
    print(f"| {name} | {100 * (p <= model.level).mean():.1f} % |", flush=True)
  rank = round(model.level * (len(known) + 1))
  law = stats.betabinom(len(test), rank, len(known) + 1 - rank)
  low, high = law.ppf([0.005, 0.995]) / len(test)
  print(
    f"\n{len(test)} test galaxies, {len(known)} known ones, level "
    f"{model.level:.0%}; as they are, 99 % of measurements lie from "
    f"{100 * low:.1f} to {100 * high:.1f} %."
  )


if __name__ == "__main__":
  main()
