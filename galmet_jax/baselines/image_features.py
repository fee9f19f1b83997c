"""Hand-made features of a galaxy's image: ring colours, shape, noise.

They need no training, so a few hundred labels suffice for a model on them.
Bands are in the order of the image, R, G and B, which SDSS fills with i, r and
g. Lengths are in pixels of an image of 128 pixels a side; other images are
resampled to this size.
"""

import concurrent.futures
import itertools
import os
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

SIZE = 128
# Edges of the elliptical rings.
_RINGS = (0.0, 2.0, 4.0, 6.5, 9.5, 13.0, 17.0, 22.0, 28.0, 36.0)
_LAGS = (1, 2, 3, 4, 6, 8)
_SHARES = np.array([0.2, 0.5, 0.8, 0.9])
# Display stretch of SDSS (Lupton et al. 2004) with Q = 10 and a stretch of 2;
# a tenth of the full range is linear.
_Q = 10.0
_STRETCH = 2.0
_LINEAR = 25.5 / np.arcsinh(1.0)
_BANDS = "RGB"


class Feature(NamedTuple):
  """A column of the features.

  Attributes:
    name: name of the column.
    group: kind of features that a kernel weighs together.
    description: definition; all features are numbers without a unit.
  """

  name: str
  group: str
  description: str


def _features() -> tuple[Feature, ...]:
  rings = [
    f"{low:g} to {high:g} px" for low, high in itertools.pairwise(_RINGS)
  ]
  light = [
    Feature(f"light_{i}", "light", f"ln(3 + mean R + G + B), {ring}")
    for i, ring in enumerate(rings)
  ]
  colours = [
    Feature(f"{name}_{i}", "colour", f"({bands}) / (3 + R + G + B), {ring}")
    for name, bands in (("rg", "R - G"), ("gb", "G - B"))
    for i, ring in enumerate(rings)
  ]
  shape = [
    ("axis_ratio", "axis ratio of the light in the segment"),
    ("axis_ratio_flux", "axis ratio of the flux in G in the segment"),
    ("ln_a", "ln of the major axis (rms) of the light in the segment, px"),
    ("ln_a_flux", "ln of the major axis (rms) of the flux in G, px"),
    ("ln_r50", "ln of the half-light radius in G, px"),
    ("c82", "ln of the ratio of the radii of 80 and 20 % of the flux in G"),
    ("c95", "ln of the ratio of the radii of 90 and 50 % of the flux in G"),
    ("ln_r50_ratio", "ln of the ratio of the half-light radii in B and R"),
    ("c82_b", "as c82, in B"),
    ("c82_r", "as c82, in R"),
    ("log_flux", "log10 of the flux in G within 46 px"),
    ("ln_area", "ln of the area of the segment, px"),
  ]
  noise = [
    Feature(f"noise_{lag}", "noise", f"correlation of the sky at {lag} px")
    for lag in _LAGS
  ]
  shapes = [Feature(name, "shape", text) for name, text in shape]
  return (*light, *colours, *shapes, *noise)


FEATURES = _features()
_GROUPS = tuple(dict.fromkeys(feature.group for feature in FEATURES))
# Index of the group of each feature.
GROUPS = tuple(_GROUPS.index(feature.group) for feature in FEATURES)
_PIXELS = np.arange(SIZE, dtype=np.float64)
_ROW, _COLUMN = np.indices((SIZE, SIZE)).astype(np.float64)
_CENTRE = (SIZE - 1) / 2
_FROM_CENTRE = np.hypot(_ROW - _CENTRE, _COLUMN - _CENTRE)


def compute(images: np.ndarray) -> np.ndarray:
  """Computes the features of images.

  Args:
    images: uint8 `[N, S, S, 3]`.

  Returns:
    float64 `[N, 45]`, in the order of FEATURES; always finite.
  """
  # SciPy's filters release Python's global lock.
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    rows = list(pool.map(compute_one, images))
  return np.array(rows, np.float64).reshape(len(images), len(FEATURES))


def compute_one(image: np.ndarray) -> np.ndarray:
  """Computes the features `[45]` of an image, uint8 `[S, S, 3]`."""
  if len(image) != SIZE:
    image = np.asarray(Image.fromarray(image).resize((SIZE, SIZE)))
  # Bands first: sums read memory in order.
  pixels = np.ascontiguousarray(image.transpose(2, 0, 1), np.float64)
  border = _FROM_CENTRE > 56
  sky = np.median(pixels[:, border], axis=1)[:, None, None]
  smooth = _smooth(pixels)
  level = np.median(smooth[border])
  scatter = 1.4826 * np.median(np.abs(smooth[border] - level)) + 0.5
  row, column = _find_centre(_flux(pixels - sky).sum(0))
  clean = _without_neighbours(pixels, sky, smooth - level, scatter, row, column)
  light = np.maximum(clean - sky, 0)
  flux = _flux(light)
  segment = _segment(_smooth(clean) > level + 3 * scatter + 4, row, column)
  near = np.hypot(_ROW - row, _COLUMN - column) < 50
  of_light = _ellipse(light.sum(0) * (segment & near), row, column)
  of_flux = _ellipse(flux[1] * (segment & near), row, column)
  radius = _elliptical_radius(of_light, row, column)
  red, (r20, r50, r80, r90), blue = _radii(flux, radius)
  total = flux[1][radius < 46].sum()
  shape = [
    of_light.axis_ratio,
    of_flux.axis_ratio,
    np.log(of_light.major),
    np.log(of_flux.major),
    np.log(r50),
    np.log(r80 / r20),
    np.log(r90 / r50),
    np.log(blue[1] / red[1]),
    np.log(blue[2] / blue[0]),
    np.log(red[2] / red[0]),
    np.log10(total + 1e-3),
    np.log(segment.sum() + 1.0),
  ]
  noise = _noise(pixels, smooth > level + 4 * scatter + 4, radius, r50)
  return np.concatenate([_rings(light, radius), shape, noise])


def _smooth(pixels: np.ndarray) -> np.ndarray:
  return ndimage.gaussian_filter(pixels.sum(0), 1.5)


def _flux(light: np.ndarray) -> np.ndarray:
  """Inverts the display stretch; returns the fluxes of the bands."""
  light = np.maximum(light, 0)
  mean = light.mean(0)
  intensity = np.sinh(mean / _LINEAR) * _STRETCH / _Q
  return light * (intensity / np.maximum(mean, 1e-9))


def _find_centre(flux: np.ndarray) -> tuple[float, float]:
  """Returns row and column of the light near the middle of the image."""
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


def _without_neighbours(
  pixels: np.ndarray,
  sky: np.ndarray,
  smooth: np.ndarray,
  scatter: float,
  row: float,
  column: float,
) -> np.ndarray:
  """Replaces stars and other galaxies by the opposite side of the galaxy."""
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


def _segment(bright: np.ndarray, row: float, column: float) -> np.ndarray:
  """Returns the connected bright pixels around the centre, without holes."""
  labels, _ = ndimage.label(bright)
  label = labels[round(row), round(column)]
  if not label:
    return np.zeros_like(bright)
  return ndimage.binary_fill_holes(labels == label)


class _Ellipse(NamedTuple):
  """Second moments: axis ratio, major axis (rms, px), angle from rows."""

  axis_ratio: float
  major: float
  angle: float


def _ellipse(weights: np.ndarray, row: float, column: float) -> _Ellipse:
  total = weights.sum()
  if total <= 0:
    return _Ellipse(1.0, 1.0, 0.0)
  y, x = _ROW - row, _COLUMN - column
  yy, xx, xy = (
    (weights * product).sum() / total for product in (y * y, x * x, x * y)
  )
  mean, half = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
  # A pixel has a variance of 1/12.
  minor, major = max(mean - half, 1 / 12), max(mean + half, 1 / 12)
  return _Ellipse(
    np.sqrt(minor / major), np.sqrt(major), 0.5 * np.arctan2(2 * xy, xx - yy)
  )


def _elliptical_radius(
  ellipse: _Ellipse, row: float, column: float
) -> np.ndarray:
  """Returns radii of ellipses of equal area."""
  y, x = _ROW - row, _COLUMN - column
  along = x * np.cos(ellipse.angle) + y * np.sin(ellipse.angle)
  across = y * np.cos(ellipse.angle) - x * np.sin(ellipse.angle)
  ratio = max(ellipse.axis_ratio, 0.2)
  return np.sqrt(along**2 * ratio + across**2 / ratio)


def _radii(flux: np.ndarray, radius: np.ndarray) -> np.ndarray:
  """Returns radii of 20, 50, 80 and 90 % of the flux within 46 px, `[3, 4]`."""
  inside = np.flatnonzero(radius.ravel() < 46)
  order = inside[np.argsort(radius.ravel()[inside], kind="stable")]
  # A black band has no flux: its radii are zero.
  found = np.zeros((3, 4))
  for row, band in zip(found, flux.reshape(3, -1), strict=True):
    curve = np.cumsum(band[order])
    if curve[-1] > 0:
      reached = np.searchsorted(curve, _SHARES * curve[-1])
      row[:] = radius.ravel()[order][reached]
  # The offset bounds the logarithm for a point source.
  return found + 0.3


def _rings(light: np.ndarray, radius: np.ndarray) -> np.ndarray:
  ring = np.digitize(radius.ravel(), _RINGS) - 1
  number = len(_RINGS) - 1
  pixels = np.maximum(np.bincount(ring, minlength=number + 1)[:number], 1)
  red, green, blue = (
    np.bincount(ring, band.ravel(), number + 1)[:number] / pixels
    for band in light
  )
  total = red + green + blue + 3
  return np.concatenate(
    [np.log(total), (red - green) / total, (green - blue) / total]
  )


def _noise(
  pixels: np.ndarray, bright: np.ndarray, radius: np.ndarray, r50: float
) -> np.ndarray:
  """Returns the correlation of the sky's pixels at several distances.

  The image is a resampled frame: the correlation tells the size of its pixels
  on the sky, so the size of the galaxy.
  """
  sources = ndimage.binary_dilation(bright, iterations=3)
  sky = (radius > 2.8 * r50) & (_FROM_CENTRE > 34) & ~sources
  if sky.sum() < 800:
    sky = _FROM_CENTRE > 50
  values = pixels - pixels[:, sky].mean(1)[:, None, None]
  values *= sky
  variance = np.einsum("bij,bij->b", values, values) / sky.sum()
  found = []
  for lag in _LAGS:
    along = []
    for each, mask in ((values, sky), (values.transpose(0, 2, 1), sky.T)):
      first, second = each[:, lag:], each[:, :-lag]
      products = np.einsum("bij,bij->b", first, second)
      pairs = (mask[lag:] & mask[:-lag]).sum()
      along.append(products / max(pairs, 1) / (variance + 0.05))
    found.append(np.mean(along))
  return np.array(found)
