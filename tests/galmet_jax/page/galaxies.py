"""Galaxies to show on pages of the tests."""

import numpy as np
import pandas as pd

from galmet_jax import quantities
from galmet_jax.page import page

HOSTILE = '</script><img src=x onerror="document.title=1">.png'


def content(number: int, *, has_truth: bool = True) -> page.Content:
  """Returns a page of synthetic galaxies, of which the last has a hostile id.

  The images are smooth and different from each other.
  """
  rng = np.random.default_rng(0)
  true = np.linspace(8.3, 9.2, number)
  predicted = true + np.linspace(-0.2, 0.2, number)[rng.permutation(number)]
  columns = {
    "id": [f"12376{i:05d}" for i in range(number - 1)] + [HOSTILE],
    "split": np.where(np.arange(number) % 2, "test", "validation"),
    "true": true,
    "pred": predicted,
    "pred_p16": predicted - 0.1,
    "pred_p84": predicted + 0.1 + 0.01 * np.arange(number) / number,
    "pred_p2p5": predicted - 0.2,
    "pred_p97p5": predicted + 0.2,
    "ood_p": rng.random(number),
    "flags": np.where(np.arange(number) % 5, "", "trained the network"),
  }
  if not has_truth:
    del columns["true"], columns["split"]
  return page.Content(
    title="<mock> galaxies",
    facts="Synthetic.",
    target=quantities.Quantity("oh_p50", "12 + log(O/H)", "dex"),
    galaxies=pd.DataFrame(columns),
    images=lambda rows: images(number)[rows],
  )


def images(number: int) -> np.ndarray:
  """Returns Gaussian blobs of different colours and places."""
  rng = np.random.default_rng(1)
  grid = np.arange(128) - 63.5
  place = rng.uniform(-25, 25, (number, 2))
  x = (grid[None, None] - place[:, :1, None]) / 20
  y = (grid[None, :, None] - place[:, 1:, None]) / 20
  light = np.exp(-(x**2 + y**2) / 2)[..., None]
  colour = rng.uniform(80, 255, (number, 1, 1, 3))
  return (light * colour).astype(np.uint8)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
  """Returns the peak signal-to-noise ratio of 8-bit images, dB."""
  mse = ((a.astype(float) - b.astype(float)) ** 2).mean()
  return float(10 * np.log10(255**2 / max(mse, 1e-9)))
