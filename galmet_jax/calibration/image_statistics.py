"""Image statistics that tell a galaxy's image from anything else.

They need no network: features of a network trained on galaxies do not see that
an image shows a star, or nothing.
"""

import concurrent.futures
import os

import numpy as np
from scipy import stats

from galmet_jax.baselines import trees
from galmet_jax.data import augment

_BORDER = 6  # rows of sky at the top, pixels
_CHUNK = 64  # images

NAMES = (
  *(f"log_g_ring_{i}" for i in range(7)),
  *(f"log_g_over_r_ring_{i}" for i in range(7)),
  *(f"log_r_over_i_ring_{i}" for i in range(7)),
  *(f"log_gradient_{band}" for band in augment.BANDS),
  *("log_border_noise", "centroid_offset", "asymmetry", "rms_radius"),
  *(f"log_zero_percent_{band}" for band in augment.BANDS),
  *("log_saturated_percent", "log_peak_over_border", "log_median"),
)


def compute(images: np.ndarray) -> np.ndarray:
  """Computes the statistics of images, uint8 `[N, S, S, 3]`.

  Logarithms are natural, of one plus a pixel value or a percentage; lengths are
  in units of half the image size.

  Returns:
    float64 `[N, 34]`, in the order of NAMES; always finite.
  """
  starts = range(0, len(images), _CHUNK)
  # NumPy computes without Python's global lock.
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    parts = pool.map(lambda i: _chunk(images[i : i + _CHUNK]), starts)
    return np.concatenate([np.empty((0, len(NAMES))), *parts])


def _chunk(images: np.ndarray) -> np.ndarray:
  n, size = images.shape[:2]
  # Bands first: each sum below reads memory in order.
  planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
  pixels = planes.astype(np.float32)
  offset = (np.arange(size) - (size - 1) / 2) / (size / 2)
  offset = offset.astype(np.float32)
  radius = np.hypot(offset[:, None], offset)
  light = pixels.sum(1)
  total = light.sum((1, 2)) + 1
  row = (light.sum(2) @ offset) / total
  column = (light.sum(1) @ offset) / total
  square = (light.reshape(n, -1) @ (radius**2).ravel()) / total
  turned = np.abs(light - light[:, ::-1, ::-1]).sum((1, 2)) / total
  gradient = np.abs(pixels[:, :, 1:] - pixels[:, :, :-1]).mean((2, 3))
  border = light[:, :_BORDER].reshape(n, -1)
  median, peak = _quantiles(light.reshape(n, -1), (0.5, 0.999))
  saturated = (planes == 255).any(1).mean((1, 2))
  columns = [
    *_rings(pixels, radius),
    np.log1p(gradient),
    # Another galaxy in the border has little effect on it.
    np.log1p(stats.median_abs_deviation(border, axis=1)),
    np.hypot(row, column),
    turned,
    np.sqrt(square),
    np.log1p(100 * (planes == 0).mean((2, 3))),
    np.log1p(100 * saturated),
    np.log((1 + peak) / (1 + border.mean(1))),
    np.log1p(median),
  ]
  return np.column_stack(columns).astype(np.float64)


def _quantiles(
  light: np.ndarray, levels: tuple[float, ...]
) -> list[np.ndarray]:
  """Returns quantiles `[n]` of sums of three bytes, `[n, P]`.

  They are those of `np.quantile`, whose sorting took 40 % of the time.
  """
  rows = light.astype(np.intp)
  counts = np.stack([np.bincount(row, minlength=3 * 255 + 1) for row in rows])
  below = counts.cumsum(1)
  found = []
  for level in levels:
    place = level * (rows.shape[1] - 1)
    # The numbers at the two places beside it, in sorted order.
    low, high = (
      (below > index).argmax(1)
      for index in (int(np.floor(place)), int(np.ceil(place)))
    )
    found.append(low + (place % 1) * (high - low))
  return found


def _rings(pixels: np.ndarray, radius: np.ndarray) -> list[np.ndarray]:
  """Returns log g and two colours in the rings, `[N, 7]` each."""
  index = np.digitize(radius.ravel(), trees.RINGS) - 1
  numbers = range(len(trees.RINGS) - 1)
  # Small images have inner rings without pixels: they repeat the next one.
  filled = [ring for ring in numbers if (index == ring).any()]
  members = np.zeros((radius.size, len(numbers)), np.float32)
  for ring in numbers:
    inside = index == min(each for each in filled if each >= ring)
    members[inside, ring] = 1 / inside.sum()
  flat = pixels.reshape(-1, radius.size)
  means = (flat @ members).reshape(len(pixels), 3, -1)
  i, r, g = np.log1p(means).transpose(1, 0, 2)
  return [g, g - r, r - i]
