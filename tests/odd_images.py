"""Images that a network for galaxies was not trained for.

Each function takes images, uint8 `[N, S, S, 3]`, and a random generator.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image


def star(images, rng):
  """A point source with noise."""
  size = images.shape[1]
  offset = np.arange(size) - (size - 1) / 2
  profile = np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * 3.0**2))
  shape = (len(images), 1, 1)
  light = profile[..., None] * rng.uniform(150, 800, (*shape, 1))
  light = light * rng.uniform(0.6, 1, (*shape, 3))
  noise = np.abs(rng.normal(0, 6, images.shape))
  return np.clip(light + noise, 0, 255).astype(np.uint8)


def blank(images, rng):
  """Sky from the image's own upper border."""
  size = images.shape[1]
  strip = images[:, : size // 6]
  return np.concatenate([strip] * 7, axis=1)[:, :size]


def noise(images, rng):
  return rng.integers(0, 256, images.shape).astype(np.uint8)


def half_missing(images, rng):
  changed = images.copy()
  changed[:, :, : images.shape[1] // 2] = 0
  return changed


def trail(images, rng):
  """A white line, as of a satellite."""
  changed, size = images.copy(), images.shape[1]
  for image, row in zip(
    changed, rng.integers(10, size - 10, len(images)), strict=True
  ):
    image[row - 2 : row + 3] = 255
  return changed


def shuffled(images, rng):
  size = images.shape[1]
  order = rng.permutation(size * size)
  return images.reshape(len(images), -1, 3)[:, order].reshape(images.shape)


def zoom(factor: float) -> Callable:
  """Returns a function that magnifies; a smaller image is mirrored."""

  def apply(images, rng):
    size = images.shape[1]
    inner = round(size / factor)
    start = (size - inner) // 2
    if factor > 1:
      cut = images[:, start : start + inner, start : start + inner]
      return np.stack([_resize(image, size) for image in cut])
    side = round(size * factor)
    before = (size - side) // 2
    margin = (before, size - side - before)
    return np.pad(
      np.stack([_resize(image, side) for image in images]),
      ((0, 0), margin, margin, (0, 0)),
      mode="symmetric",
    )

  return apply


def _resize(image: np.ndarray, side: int) -> np.ndarray:
  resized = Image.fromarray(image).resize(
    (side, side), Image.Resampling.BICUBIC
  )
  return np.asarray(resized)


def stretch(factor: float) -> Callable:
  def apply(images, rng):
    return np.clip(np.rint(images * factor), 0, 255).astype(np.uint8)

  return apply


KINDS: dict[str, Callable] = {
  "star": star,
  "blank sky": blank,
  "black": lambda images, rng: np.zeros_like(images),
  "noise": noise,
  "inverted": lambda images, rng: 255 - images,
  "half missing": half_missing,
  "trail": trail,
  "25 pixels off-centre": lambda images, rng: np.roll(images, 25, axis=1),
  "shuffled pixels": shuffled,
  "zoom ×2": zoom(2),
  "zoom ×0.5": zoom(0.5),
  "stretch ×2": stretch(2),
  "stretch ×0.5": stretch(0.5),
  "swapped bands": lambda images, rng: images[..., ::-1],
  "zoom ×1.4": zoom(1.4),
  "one band missing": lambda images, rng: np.concatenate(
    [images[..., :2], images[..., 1:2]], axis=-1
  ),
}
FINITE = tuple(KINDS)
# Kinds that even a hundred training images tell apart.
DETECTED = (
  *("star", "blank sky", "black", "noise", "inverted", "half missing"),
  *("25 pixels off-centre", "shuffled pixels", "trail"),
)
