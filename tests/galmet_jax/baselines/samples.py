"""Galaxies whose colours or magnitudes determine the label."""

import numpy as np

from galmet_jax.data import galaxies

SIZE = 32
# Radius in units of half the image size, at the edge of a ring.
DISC = 0.4
RINGS_IN_DISC = 5


def radius():
  offset = (np.arange(SIZE) + 0.5) / (SIZE / 2) - 1
  return np.sqrt(offset[:, None] ** 2 + offset[None] ** 2)


def paint(disc, outskirts):
  """Paints a disc of one colour on a background of another."""
  inside = (radius() < DISC)[..., None]
  return np.where(inside, np.uint8(disc), np.uint8(outskirts))


def split_of(images, targets, columns=None):
  images = np.asarray(images, np.uint8)
  targets = np.asarray(targets, np.float32).reshape(len(images), -1)
  return galaxies.Split(np.arange(len(images)), images, targets, columns or {})


def make_coloured(n, seed):
  """Makes galaxies whose disc is redder for a higher label."""
  rng = np.random.default_rng(seed)
  label = rng.normal(8.9, 0.2, n)
  red = np.clip(120 + 200 * (label - 8.9) + rng.normal(0, 5, n), 0, 255)
  images = [paint((r, 100, 80), (20, 20, 20)) for r in red]
  return split_of(images, label)


def make_measured(n, seed, targets=1):
  """Makes galaxies whose g − r gives the label; images are noise."""
  rng = np.random.default_rng(seed)
  label = rng.normal(8.9, 0.2, n)
  r = rng.uniform(15, 17.7, n)
  columns = {
    "modelMag_g": r + 0.5 + label - 8.9 + rng.normal(0, 0.02, n),
    "modelMag_r": r,
    "modelMag_i": r - 0.3,
    "z": rng.uniform(0.02, 0.2, n),
  }
  columns = {name: np.float32(values) for name, values in columns.items()}
  images = rng.integers(0, 256, (n, SIZE, SIZE, 3))
  stacked = np.stack([label * (i + 1) for i in range(targets)], axis=1)
  return split_of(images, stacked, columns)


def take(split, index):
  columns = {name: values[index] for name, values in split.columns.items()}
  return galaxies.Split(
    split.objid[index], split.images[index], split.targets[index], columns
  )
