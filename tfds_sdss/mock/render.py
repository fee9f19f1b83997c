"""Images of mock SDSS galaxies, rendered with GalSim.

Each example has a 128 x 128 JPEG in gri and the scalars of `population.draw`.
A galaxy is rendered at the survey's native 0.396 arcsec/px and then resampled,
as in the survey's cutout service, to 2 * petroR90_r / 0.396 / 128 arcsec/px.
"""

from collections.abc import Iterator
import concurrent.futures
import functools
import io
import multiprocessing
from multiprocessing import resource_tracker
import signal

from astropy import visualization
import galsim
import numpy as np
from PIL import Image
from PIL import ImageFilter

from tfds_sdss.mock import population

FEATURES = population.FEATURES

IMAGE_SIZE = 128  # px
NATIVE_SCALE = 0.396  # arcsec/px, of an SDSS frame

# Sky noise per native pixel in nanomaggies (tuned) and electrons per nanomaggy
# in g, r, i. Both are close to those of the SDSS imaging camera.
_SKY_NOISE = np.array([0.020, 0.028, 0.044])
_GAIN = np.array([860.0, 930.0, 750.0])
# Scatter of the bands' offsets along each axis. The offsets cause the red and
# green fringes of real cutouts.
_REGISTRATION = 0.06  # arcsec
# Colour balance of g, r and i, and asinh stretch (Lupton et al. 2004). The
# three stretch parameters and the blur are fitted to 400 real galaxies.
# _MINIMUM is in the order R, G, B, that is i, r, g.
_BAND_SCALES = np.array([7.8, 5.7, 4.9])
_MINIMUM = (0.09, 0.06, 0.05)
_STRETCH = 2.0
_Q = 10.0
_BLUR = 0.9  # px, standard deviation of the survey's smoothing
_JPEG_QUALITY = 92  # same quantisation tables as the cutout service

# Magnitude relative to the disc at equal r [mag]: rows g, r, i; columns bulge,
# disc, young stars.
_COLOUR_OFFSETS = np.array(
  [[0.35, 0.0, -0.25], [0.0, 0.0, 0.0], [-0.10, 0.0, 0.12]]
)
# Fraction of the disc's light in the spiral arms.
_ARM_FRACTION = 0.25
_NUM_ARM_POINTS = 150
# Neighbours per square arcmin that are brighter than 22.5 in r.
_STAR_DENSITY = 3.0
_GALAXY_DENSITY = 6.0

# Errors of one per cent are invisible in eight bits and save most of the time.
_GSPARAMS = galsim.GSParams(
  folding_threshold=1e-2, maxk_threshold=1e-2, kvalue_accuracy=1e-3
)
_CHUNK_SIZE = 32
_BLOCKED = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


def generate(
  num_examples: int, seed: int = 0, processes: int | None = None
) -> Iterator[dict]:
  """Yields mock galaxies in the order of their index.

  Example i depends only on (seed, i), not on the number of examples or
  processes. Workers are spawned, because a fork of a program that runs JAX may
  hang: a script must call this under an `if __name__ == "__main__"` guard.

  Args:
    num_examples: number of galaxies.
    seed: see `population.draw`.
    processes: number of workers, by default one per core; 1 renders in this
      process.

  Yields:
    `image` (JPEG bytes), `objid` (int), `oh_p50` (float, dex) and FEATURES
    (float32).
  """
  render_one = functools.partial(example, seed)
  if processes == 1 or num_examples <= _CHUNK_SIZE:
    yield from map(render_one, range(num_examples))
    return
  # Its start ends the blocking of SIGINT.
  resource_tracker.ensure_running()
  with concurrent.futures.ProcessPoolExecutor(
    processes, multiprocessing.get_context("spawn")
  ) as pool:
    # The workers inherit the mask. Ctrl-C reaches all processes, and this one
    # stops the others.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    try:
      examples = pool.map(
        render_one, range(num_examples), chunksize=_CHUNK_SIZE
      )
    finally:
      signal.pthread_sigmask(signal.SIG_SETMASK, before)
    yield from examples


def example(seed: int, index: int) -> dict:
  """Returns one example of `generate`."""
  columns = population.draw(seed, np.array([index]))
  row = {name: column[0] for name, column in columns.items()}
  # `population.draw` uses the random stream (seed, index).
  rng = np.random.default_rng((seed, index, 1))
  return {
    "image": _jpeg(render(row, rng)),
    "objid": int(row["objid"]),
    "oh_p50": float(row["oh_p50"]),
    **{name: np.float32(row[name]) for name in FEATURES},
  }


def render(row: dict, rng: np.random.Generator) -> Image.Image:
  """Renders one galaxy as a cutout of the survey.

  Args:
    row: one row of `population.draw`.
    rng: source of the properties that are not in the row: position angle, arms,
      knots, neighbours, seeing and noise.

  Returns:
    RGB image of 128 x 128 px: i is red, r green and g blue.
  """
  r90 = row["petroR90_r"]
  # Half the cutout's side in native pixels. The canvas is wider, because the
  # Fourier transform wraps around at its edges.
  half = r90 / NATIVE_SCALE**2
  size = 16 * int(np.ceil((2 * half + 10) / 16))
  flux = _components(row, size, rng)
  flux += _neighbours(size, rng)
  flux *= _psf(size, rng)
  images = np.fft.fftshift(np.fft.irfft2(flux, s=(size, size)), axes=(1, 2))
  noise = np.sqrt(
    _SKY_NOISE[:, None, None] ** 2
    + np.maximum(images, 0.0) / _GAIN[:, None, None]
  )
  images += noise * rng.standard_normal(images.shape)
  g, r, i = images * _BAND_SCALES[:, None, None]
  # The survey converts to eight bits before it resamples. This correlates the
  # noise and lifts the clipped sky above zero.
  frame = visualization.make_lupton_rgb(
    i, r, g, minimum=_MINIMUM, stretch=_STRETCH, Q=_Q
  )
  centre = size // 2 + 0.5
  box = (centre - half, centre - half, centre + half, centre + half)
  blurred = Image.fromarray(frame).filter(ImageFilter.GaussianBlur(_BLUR))
  return blurred.resize(
    (IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR, box=box
  )


def _components(row: dict, size: int, rng: np.random.Generator) -> np.ndarray:
  """Returns the galaxy's transform in g, r and i, [3, size, size // 2 + 1]."""
  angle = rng.uniform(0.0, np.pi)
  scale_radius = _disc_scale(row)
  disc = galsim.InclinedExponential(
    row["inclination"] * galsim.degrees,
    scale_radius=scale_radius,
    scale_h_over_r=0.25,
    gsparams=_GSPARAMS,
  ).rotate(angle * galsim.radians)
  # GalSim caches a table per Sersic index, so only three are used.
  index = (2.0, 3.0, 4.0)[int(np.digitize(row["bulge_fraction"], (0.15, 0.4)))]
  cosine = np.cos(np.radians(row["inclination"]))
  bulge = galsim.Sersic(
    index,
    half_light_radius=scale_radius * rng.uniform(0.25, 0.6),
    gsparams=_GSPARAMS,
  ).shear(q=0.6 + 0.4 * cosine, beta=angle * galsim.radians)
  young_stars = _young_stars(row, scale_radius, angle, size, rng)
  shapes = np.stack(
    [_transform(bulge, size), _transform(disc, size), young_stars]
  )
  knots = row["knot_fraction"]
  young = knots + _ARM_FRACTION * (1 - knots)
  in_disc = 1 - row["bulge_fraction"]
  shares = np.array([1 - in_disc, in_disc * (1 - young), in_disc * young])
  # The shares are fractions of the r-band light. The weights are normalised, so
  # that the total magnitudes are those of the catalogue.
  weights = shares * 10 ** (-0.4 * _COLOUR_OFFSETS)
  weights /= np.sum(weights, axis=1, keepdims=True)
  weights *= 10 ** (-0.4 * (row["magnitudes"][:, None] - 22.5))
  return np.einsum("bc,cyx->byx", weights, shapes)


def _disc_scale(row: dict) -> float:
  """Returns the disc's scale length in arcsec that gives the row's R90.

  The correction is a fit to R90 measured on noiseless images, accurate to 2 %
  with a scatter of 0.02 dex. Bulge and inclination concentrate the light, and
  seeing spreads it.
  """
  r90 = row["petroR90_r"]
  cosine = np.cos(np.radians(row["inclination"]))
  correction = -0.10 + 0.17 * cosine - 0.17 * row["bulge_fraction"]
  return r90 / 3.0 * 10 ** -(correction + 0.6 / r90**2)


def _young_stars(
  row: dict,
  scale_radius: float,
  angle: float,
  size: int,
  rng: np.random.Generator,
) -> np.ndarray:
  """Returns the transform of arms and knots, of unit flux."""
  share = row["knot_fraction"]
  num_knots = 8 + rng.poisson(80 * share)
  arms = np.full(_NUM_ARM_POINTS, _ARM_FRACTION * (1 - share) / _NUM_ARM_POINTS)
  knots = 1 + rng.pareto(2.0, num_knots)
  flux = np.concatenate([arms, share * knots / np.sum(knots)])
  radius = rng.gamma(3.0, 0.6, len(flux))  # scale lengths
  # Two logarithmic arms, distinct if there is a bulge and blurred in dwarfs.
  pitch = np.radians(rng.uniform(12.0, 30.0))
  looseness = 0.35 + 1.5 * np.exp(-row["bulge_fraction"] / 0.08)
  theta = (
    np.log(radius + 0.1) / np.tan(pitch)
    + np.pi * rng.integers(0, 2, len(flux))
    + looseness * rng.standard_normal(len(flux))
  )
  cosine = np.cos(np.radians(row["inclination"]))
  along = radius * np.cos(theta)
  across = radius * np.sin(theta) * cosine
  across += 0.25 * rng.standard_normal(len(flux))
  pixels = scale_radius / NATIVE_SCALE
  # Whole pixels suffice: the PSF is three pixels wide.
  x = np.rint(pixels * (along * np.cos(angle) - across * np.sin(angle)))
  y = np.rint(pixels * (along * np.sin(angle) + across * np.cos(angle)))
  cells = (y % size * size + x % size).astype(int)
  grid = np.bincount(cells, flux, size * size)
  return np.fft.rfft2(grid.reshape(size, size) / np.sum(flux))


def _transform(profile: galsim.GSObject, size: int) -> np.ndarray:
  """Returns a profile's Fourier transform in the layout of `np.fft.rfft2`."""
  half = size // 2
  image = profile.drawKImage(
    bounds=galsim.BoundsI(0, half, -half, half - 1),
    scale=2 * np.pi / (size * NATIVE_SCALE),
    recenter=False,
  )
  return np.fft.ifftshift(image.array, axes=0)


def _psf(size: int, rng: np.random.Generator) -> np.ndarray:
  """Returns the transforms of the double-Gaussian PSF in g, r and i.

  With pixel and blur, its FWHM is the 1.3 arcsec of SDSS.
  """
  fwhm = 1.05 * 10 ** (0.05 * rng.standard_normal())
  core = galsim.Gaussian(fwhm=fwhm, flux=0.9)
  psf = core + galsim.Gaussian(fwhm=2.5 * fwhm, flux=0.1)
  shifts = _REGISTRATION * rng.standard_normal((3, 2))
  return np.stack([_transform(psf.shift(dx, dy), size) for dx, dy in shifts])


def _neighbours(size: int, rng: np.random.Generator) -> np.ndarray:
  """Returns the transform of the field's stars and galaxies in g, r, i."""
  area = (size * NATIVE_SCALE / 60) ** 2
  num_stars = rng.poisson(_STAR_DENSITY * area)
  num_galaxies = rng.poisson(_GALAXY_DENSITY * area)
  total = num_stars + num_galaxies
  # Euclidean number counts of galaxies. Those of stars are flatter, because the
  # Milky Way has an edge.
  slope = np.repeat([0.15, 0.45], [num_stars, num_galaxies])
  magnitude = np.maximum(22.5 + np.log10(rng.random(total)) / slope, 16.0)
  colour = 0.85 + 0.35 * rng.standard_normal(total)  # g - r
  flux = 10 ** (
    -0.4 * (magnitude - 22.5 + np.stack([colour, 0 * colour, -0.45 * colour]))
  )
  field = np.zeros((3, size, size // 2 + 1), complex)
  for k in range(total):
    if k < num_stars:
      profile = galsim.DeltaFunction(gsparams=_GSPARAMS)
    else:
      profile = galsim.Exponential(
        half_light_radius=rng.uniform(0.5, 1.5), gsparams=_GSPARAMS
      ).shear(q=rng.uniform(0.4, 1), beta=rng.uniform(0, 180) * galsim.degrees)
    x, y = NATIVE_SCALE * rng.uniform(-size / 2, size / 2, 2)
    field += flux[:, k, None, None] * _transform(profile.shift(x, y), size)
  return field


def _jpeg(image: Image.Image) -> bytes:
  stream = io.BytesIO()
  image.save(stream, "JPEG", quality=_JPEG_QUALITY)
  return stream.getvalue()
