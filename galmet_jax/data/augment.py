"""Views of images, for training augmentation and test-time augmentation (TTA).

Seven numbers define a view. Symmetry, rotation, zoom, shift and crop are
combined into one bilinear sampling of the original pixels, so that pixels are
interpolated only once, and not at all without rotation and zoom.
"""

import dataclasses
import functools
import math

from flax import struct
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from galmet_jax import errors

# Channel statistics of ImageNet, which the pretrained weights expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# SDSS bands of the channels red, green and blue.
BANDS = ("i", "r", "g")
# Kinds of test-time augmentation.
TTA = ("none", "random", "dihedral")


@dataclasses.dataclass(frozen=True)
class Frame:
  """The crop, resolution and bands that the network sees.

  Attributes:
    crop: side of the square that is cut from the centre, pixels.
    resolution: side of the network's input, pixels; divides `crop`.
    bands: bands of the network's three channels.
  """

  crop: int
  resolution: int
  bands: tuple[str, ...] = BANDS


def make_frame(
  config: ml_collections.ConfigDict, bands: tuple[str, ...] | None = None
) -> Frame:
  """Returns the frame of a config.

  Args:
    config: the `data` block: `crop`, `resolution` (None: `crop`) and `bands`.
    bands: bands that replace those of the config.

  Raises:
    ConfigError: if the resolution does not divide the crop, or the images lack
      a band.
  """
  field = "eval.bands" if bands else "data.bands"
  bands = tuple(bands or config.bands)
  resolution = config.resolution or config.crop
  if resolution < 1 or config.crop % resolution:
    raise errors.ConfigError(
      f"data.resolution is {resolution}; expected a divisor of "
      f"data.crop={config.crop}, so that each pixel averages a square. Change "
      "--config.data.resolution."
    )
  if len(bands) != 3 or not set(bands) <= set(BANDS):
    raise errors.ConfigError(
      f"{field} is {bands}; expected three of {BANDS}, one per channel. Change "
      f"--config.{field}."
    )
  return Frame(config.crop, resolution, bands)


@struct.dataclass
class Views:
  """Parameters of n views.

  Attributes:
    dihedral: symmetry, int32 `[n]`, 0-7: bit 0 flips columns, bit 1 flips rows,
      bit 2 transposes.
    angle: rotation, float32 `[n]`, degrees.
    zoom: magnification, float32 `[n]`, at least 1.
    shift: position (row, column) of the crop in the zoomed image, float32
      `[n, 2]`, from -1 at one edge to 1 at the other.
    brightness: offset of pixel values in 0-1, float32 `[n]`.
    contrast: factor on deviations from the image's mean, float32 `[n]`.
  """

  dihedral: jax.Array
  angle: jax.Array
  zoom: jax.Array
  shift: jax.Array
  brightness: jax.Array
  contrast: jax.Array


def plain_views(n: int, dihedral: int = 0) -> Views:
  """Returns n views without interpolation or lighting: flips at most."""
  return Views(
    dihedral=jnp.full(n, dihedral, jnp.int32),
    angle=jnp.zeros(n),
    zoom=jnp.ones(n),
    shift=jnp.zeros((n, 2)),
    brightness=jnp.zeros(n),
    contrast=jnp.ones(n),
  )


def random_views(
  key: jax.Array, n: int, config: ml_collections.ConfigDict
) -> Views:
  """Draws n random views (Wu & Boada 2019, section 3.3; fastai 0.7).

  A contrast c, drawn from ±lighting, becomes the factor 1 + c if it is
  positive and 1 / (1 - c) otherwise, so that a factor and its inverse are
  equally likely.

  Args:
    key: PRNG key.
    n: number of views.
    config: the `augment` block: `max_zoom`, `zoom_probability`,
      `max_rotation` (degrees), `rotation_probability`, `symmetries` and
      `lighting`.
  """
  keys = jax.random.split(key, 7)
  zoom = 1 + (config.max_zoom - 1) * jax.random.uniform(keys[0], (n,))
  zoomed = jax.random.bernoulli(keys[1], config.zoom_probability, (n,))
  angle = config.max_rotation * jax.random.uniform(keys[2], (n,), minval=-1)
  rotated = jax.random.bernoulli(keys[3], config.rotation_probability, (n,))
  light = config.lighting * jax.random.uniform(keys[4], (n, 2), minval=-1)
  contrast = light[:, 1]
  # Older runs do not have the field.
  symmetries = 8 if config.get("symmetries", True) else 1
  return Views(
    dihedral=jax.random.randint(keys[5], (n,), 0, symmetries),
    angle=jnp.where(rotated, angle, 0.0),
    zoom=jnp.where(zoomed, zoom, 1.0),
    shift=jax.random.uniform(keys[6], (n, 2), minval=-1),
    brightness=light[:, 0],
    contrast=jnp.where(contrast < 0, 1 / (1 - contrast), 1 + contrast),
  )


def tta_views(
  kind: str,
  objid: np.ndarray,
  key: jax.Array,
  config: ml_collections.ConfigDict,
) -> list[Views]:
  """Returns the views over which predictions are averaged.

  Args:
    kind: 'none' (the plain image), 'random' (the plain image and four random
      views, as in the paper) or 'dihedral' (the eight symmetries).
    objid: SDSS objIDs, int64 `[n]`. The random views of a galaxy depend on its
      objID and the key alone, not on the other galaxies or their order.
    key: PRNG key.
    config: the `augment` block.

  Returns:
    n views for each element, the plain image first.
  """
  n = len(objid)
  if kind == "none":
    return [plain_views(n)]
  if kind == "dihedral":
    return [plain_views(n, symmetry) for symmetry in range(8)]
  assert kind == "random", kind
  # NumPy cuts the objIDs into halves, because jnp truncates int64 silently.
  fold_in = jax.vmap(jax.random.fold_in)
  keys = fold_in(jnp.broadcast_to(key, n), (objid >> 32).astype(np.uint32))
  keys = fold_in(keys, objid.astype(np.uint32))
  config = ml_collections.FrozenConfigDict(config)
  return [plain_views(n)] + [_draw(keys, view, config) for view in range(4)]


@functools.partial(jax.jit, static_argnums=2)
def _draw(
  keys: jax.Array, view: int, config: ml_collections.FrozenConfigDict
) -> Views:
  """Draws one random view per key, independent of the other keys."""

  def one(key):
    return random_views(jax.random.fold_in(key, view), 1, config)

  return jax.tree.map(lambda x: x[:, 0], jax.vmap(one)(keys))


def pack(images: np.ndarray) -> np.ndarray:
  """Packs uint8 `[..., 3]` into uint32 `[...]`, one pixel per integer.

  The first channel is in the lowest byte; the highest byte is zero. A pixel is
  then one aligned load, and indices into 90,000 images fit into 32 bits.
  """
  shape = (*images.shape[:-1], 4)
  # On CPUs JAX uses memory that starts at a multiple of 64 without a copy.
  memory = np.zeros(math.prod(shape) + 64, np.uint8)
  packed = memory[-memory.ctypes.data % 64 :][: math.prod(shape)].reshape(shape)
  for channel in range(3):
    packed[..., channel] = images[..., channel]
  return packed.view("<u4")[..., 0]


def _unpack(packed: jax.Array, bands: tuple[str, ...]) -> jax.Array:
  """Inverts `pack`: uint32 `[...]` to float32 `[..., 3]`, in order of bands."""
  shifts = [8 * BANDS.index(band) for band in bands]
  channels = [packed >> shift & 255 for shift in shifts]
  return jnp.stack(channels, -1).astype(jnp.float32)


def apply(images: jax.Array, views: Views, frame: Frame) -> jax.Array:
  """Renders views of images and normalises them for the network.

  Args:
    images: packed images, uint32 `[n, S, S]`, see `pack`.
    views: n views.
    frame: crop, resolution R and bands. The resolution is reduced before the
      views are sampled, by averaging square blocks of the crop.

  Returns:
    float32 `[n, R, R, 3]`, ImageNet-normalised. Images are mirrored at their
    borders.
  """
  if frame.resolution < frame.crop:
    images = _reduce(images, frame)
  pixels = jax.vmap(_sample, (0, 0, None))(images, views, frame)
  mean = pixels.mean((1, 2, 3), keepdims=True)
  contrast = views.contrast[:, None, None, None]
  brightness = views.brightness[:, None, None, None]
  pixels = jnp.clip((pixels - mean) * contrast + mean + brightness, 0, 1)
  offset = jnp.asarray(IMAGENET_MEAN).reshape(1, 1, 1, 3)
  scale = jnp.asarray(IMAGENET_STD).reshape(1, 1, 1, 3)
  return (pixels - offset) / scale


def _reduce(images: jax.Array, frame: Frame) -> jax.Array:
  """Averages blocks of the crop, uint32 `[n, S, S]` to `[n, R, R, 3]`."""
  start = (images.shape[1] - frame.crop) // 2
  inside = slice(start, start + frame.crop)
  side = frame.resolution
  block = frame.crop // side
  pixels = _unpack(images[:, inside, inside], frame.bands)
  return pixels.reshape(-1, side, block, side, block, 3).mean((2, 4))


def _sample(image: jax.Array, view: Views, frame: Frame) -> jax.Array:
  """Samples one image on the grid of one view, 0-255 to 0-1."""
  size, crop = image.shape[0], frame.resolution
  # Pixel offsets from the centre of the view.
  grid = jnp.arange(crop) - (crop - 1) / 2
  row, column = jnp.meshgrid(grid, grid, indexing="ij")
  flip_column = 1 - 2 * (view.dihedral & 1)
  flip_row = 1 - 2 * (view.dihedral >> 1 & 1)
  row, column = row * flip_row, column * flip_column
  transpose = view.dihedral >> 2 & 1 == 1
  row, column = (
    jnp.where(transpose, column, row),
    jnp.where(transpose, row, column),
  )
  angle = jnp.deg2rad(view.angle)
  cos, sin = jnp.cos(angle) / view.zoom, jnp.sin(angle) / view.zoom
  room = crop * (1 - 1 / view.zoom) / 2
  centre = (size - 1) / 2 + room * view.shift
  y = cos * row - sin * column + centre[0]
  x = sin * row + cos * column + centre[1]
  y0, x0 = jnp.floor(y), jnp.floor(x)
  dy, dx = (y - y0)[..., None], (x - x0)[..., None]
  rows = [_reflect(y0.astype(jnp.int32) + i, size) for i in (0, 1)]
  columns = [_reflect(x0.astype(jnp.int32) + i, size) for i in (0, 1)]
  flat = image.reshape(size * size, *image.shape[2:])

  def at(i, j):
    pixels = flat[rows[i] * size + columns[j]]
    # `_reduce` has unpacked images of lower resolution.
    return pixels if pixels.ndim == 3 else _unpack(pixels, frame.bands)

  top = at(0, 0) * (1 - dx) + at(0, 1) * dx
  bottom = at(1, 0) * (1 - dx) + at(1, 1) * dx
  return (top * (1 - dy) + bottom * dy) / 255


def _reflect(index: jax.Array, size: int) -> jax.Array:
  """Mirrors indices at the image's edges, which repeats the edge pixels."""
  index = jnp.where(index < 0, -1 - index, index)
  return jnp.where(index >= size, 2 * size - 1 - index, index)
