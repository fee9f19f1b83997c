"""Position, outline and radii of the galaxy in the middle of an image.

Images have SIZE pixels a side; lengths are in pixels.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

SIZE = 128
_SHARES = np.array([0.2, 0.5, 0.8, 0.9])
_PIXELS = np.arange(SIZE, dtype=np.float64)
_ROW, _COLUMN = np.indices((SIZE, SIZE)).astype(np.float64)
_CENTRE = (SIZE - 1) / 2
FROM_CENTRE = np.hypot(_ROW - _CENTRE, _COLUMN - _CENTRE)


def find_centre(flux: np.ndarray) -> tuple[float, float]:
  """Returns row and column of the light in the middle of the image.

  They are the centroid of flux `[S, S]` under a Gaussian of 7 px, which follows
  the centroid up to 7 px away from the middle.
  """
  row = column = _CENTRE
  for _ in range(8):
    # A Gaussian of 7 px is the product of one along each axis.
    down, across = (
      np.exp(-((_PIXELS - at) ** 2) / (2 * 7.0**2)) for at in (row, column)
    )
    rows, columns = down * (flux @ across), across * (down @ flux)
    total = rows.sum()
    if not total:
      break
    found = rows @ _PIXELS / total, columns @ _PIXELS / total
    if np.hypot(found[0] - _CENTRE, found[1] - _CENTRE) > 7:
      break
    row, column = found
  return row, column


def without_neighbours(
  pixels: np.ndarray,
  sky: np.ndarray,
  smooth: np.ndarray,
  scatter: float,
  row: float,
  column: float,
) -> np.ndarray:
  """Replaces stars and other galaxies by the opposite side of the galaxy.

  They are at least 12 px from the centre, and brighter than that side.

  Args:
    pixels: `[3, S, S]`.
    sky: level of the sky, `[3, 1, 1]`.
    smooth: smoothed sum of the bands above the sky, `[S, S]`.
    scatter: standard deviation of `smooth` in the sky.
    row: of the centre.
    column: of the centre.

  Returns:
    The changed copy of the pixels.
  """
  rows = np.rint(2 * row - _ROW).astype(int)
  columns = np.rint(2 * column - _COLUMN).astype(int)
  inside = (rows >= 0) & (rows < SIZE) & (columns >= 0) & (columns < SIZE)
  opposite = rows.clip(0, SIZE - 1), columns.clip(0, SIZE - 1)
  turned = np.where(inside, smooth[opposite], 0.0)
  radius = np.hypot(_ROW - row, _COLUMN - column)
  other = (radius > 14) & (
    smooth > 1.6 * np.maximum(turned, 0) + 5 * scatter + 6
  )
  other = ndimage.binary_dilation(other, iterations=2) & (radius > 12)
  clean = pixels.copy()
  for band, level in zip(clean, sky.ravel(), strict=True):
    turned = np.where(
      inside[other], band[tuple(x[other] for x in opposite)], level
    )
    band[other] = turned
  return clean


def segment(bright: np.ndarray, row: float, column: float) -> np.ndarray:
  """Returns the bright pixels, bool `[S, S]`, connected with the centre.

  Holes are filled; nothing is in the segment if the centre is not bright.
  """
  labels, _ = ndimage.label(bright)
  label = labels[round(row), round(column)]
  if not label:
    return np.zeros_like(bright)
  return ndimage.binary_fill_holes(labels == label)


class Ellipse(NamedTuple):
  """An ellipse with the second moments of a galaxy's light.

  Attributes:
    row: of the centre.
    column: of the centre.
    axis_ratio: of the minor to the major axis.
    major: standard deviation along the major axis.
    angle: of the major axis, radians, from the row of the centre.
  """

  row: float
  column: float
  axis_ratio: float
  major: float
  angle: float

  @classmethod
  def of(cls, light: np.ndarray, row: float, column: float) -> "Ellipse":
    """Measures light `[S, S]` within 50 px of a centre; a circle if dark."""
    y, x = _ROW - row, _COLUMN - column
    weights = np.where(np.hypot(y, x) < 50, light, 0)
    total = weights.sum()
    if total <= 0:
      return cls(row, column, 1.0, 1.0, 0.0)
    yy, xx, xy = (
      (weights * product).sum() / total for product in (y * y, x * x, x * y)
    )
    mean, half = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    # A pixel has a variance of 1/12.
    minor, major = max(mean - half, 1 / 12), max(mean + half, 1 / 12)
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    return cls(row, column, np.sqrt(minor / major), np.sqrt(major), angle)

  def radius(self) -> np.ndarray:
    """Returns the radius of the circle of equal area at each pixel, `[S, S]`.

    An axis ratio below 0.2 counts as 0.2.
    """
    y, x = _ROW - self.row, _COLUMN - self.column
    along = x * np.cos(self.angle) + y * np.sin(self.angle)
    across = y * np.cos(self.angle) - x * np.sin(self.angle)
    ratio = max(self.axis_ratio, 0.2)
    return np.sqrt(along**2 * ratio + across**2 / ratio)


def radii(flux: np.ndarray, radius: np.ndarray) -> np.ndarray:
  """Returns the radii with 20, 50, 80 and 90 % of the flux within 46 px.

  Args:
    flux: `[3, S, S]`.
    radius: of each pixel, `[S, S]`.

  Returns:
    `[3, 4]`, each 0.3 px larger, so that the radii of a point are positive.
  """
  inside = np.flatnonzero(radius.ravel() < 46)
  order = inside[np.argsort(radius.ravel()[inside], kind="stable")]
  # A black band has no flux: its radii are zero.
  found = np.zeros((3, 4))
  for row, band in zip(found, flux.reshape(3, -1), strict=True):
    curve = np.cumsum(band[order])
    if curve[-1] > 0:
      reached = np.searchsorted(curve, _SHARES * curve[-1])
      row[:] = radius.ravel()[order][reached]
  return found + 0.3
