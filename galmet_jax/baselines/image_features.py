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

from galmet_jax.baselines import shapes

# Edges of the elliptical rings.
_RINGS = (0.0, 2.0, 4.0, 6.5, 9.5, 13.0, 17.0, 22.0, 28.0, 36.0)
_LAGS = (1, 2, 3, 4, 6, 8)
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
  of_shape = [Feature(name, "shape", text) for name, text in shape]
  return (*light, *colours, *of_shape, *noise)


FEATURES = _features()
_GROUPS = tuple(dict.fromkeys(feature.group for feature in FEATURES))
# Index of the group of each feature.
GROUPS = tuple(_GROUPS.index(feature.group) for feature in FEATURES)


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
  size = (shapes.SIZE, shapes.SIZE)
  if image.shape[:2] != size:
    image = np.asarray(Image.fromarray(image).resize(size))
  # Bands first: sums read memory in order.
  pixels = np.ascontiguousarray(image.transpose(2, 0, 1), np.float64)
  border = shapes.FROM_CENTRE > 56
  sky = np.median(pixels[:, border], axis=1)[:, None, None]
  smooth = _smooth(pixels)
  level = np.median(smooth[border])
  scatter = 1.4826 * np.median(np.abs(smooth[border] - level)) + 0.5
  centre = shapes.find_centre(_flux(pixels - sky).sum(0))
  clean = shapes.without_neighbours(
    pixels, sky, smooth - level, scatter, *centre
  )
  light = np.maximum(clean - sky, 0)
  flux = _flux(light)
  bright = _smooth(clean) > level + 3 * scatter + 4
  segment = shapes.segment(bright, *centre)
  of_light = shapes.Ellipse.of(light.sum(0) * segment, *centre)
  of_flux = shapes.Ellipse.of(flux[1] * segment, *centre)
  radius = of_light.radius()
  red, (r20, r50, r80, r90), blue = shapes.radii(flux, radius)
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
  sky = (radius > 2.8 * r50) & (shapes.FROM_CENTRE > 34) & ~sources
  if sky.sum() < 800:
    sky = shapes.FROM_CENTRE > 50
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
