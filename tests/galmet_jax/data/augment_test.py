"""Views, compared with NumPy's symmetries and SciPy's interpolation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from scipy import stats

from configs import resnet34
from galmet_jax.data import augment
from tests.galmet_jax.data import rendering

OBJID = 1237648704043942146
CONFIG = resnet34.get_config().augment


def cheap_key(seed):
  """Returns a key that compiles faster than the default kind."""
  return jax.random.key(seed, impl="rbg")


def pixels(images, views, crop):
  return rendering.pixels(images, views, augment.Frame(crop, crop))


def views_of(n, **changes):
  """Returns plain views with some columns replaced by constants."""
  plain = augment.plain_views(n)
  columns = {
    name: jnp.broadcast_to(
      jnp.asarray(value, getattr(plain, name).dtype),
      getattr(plain, name).shape,
    )
    for name, value in changes.items()
  }
  return dataclasses.replace(plain, **columns)


def rows_of(views):
  """Returns the parameters of the views as floats, `[N, 7]`."""
  columns = [np.asarray(leaf, float) for leaf in jax.tree.leaves(views)]
  n = len(columns[0])
  return np.concatenate([column.reshape(n, -1) for column in columns], 1)


@pytest.mark.parametrize(
  ("size", "crop"), [(128, 128), (128, 96), (33, 33), (33, 21)]
)
def test_plain_view_keeps_the_pixels(size, crop):
  images = rendering.noise(2, size)
  first = (size - crop) // 2
  middle = slice(first, first + crop)
  expected = images[:, middle, middle]
  frame = augment.Frame(crop, crop)
  found = rendering.render(images, augment.plain_views(2), frame)
  assert found.shape == (2, crop, crop, 3)
  assert found.dtype == jnp.float32
  normalised = (expected / 255 - rendering.MEAN) / rendering.STD
  np.testing.assert_allclose(found, normalised, rtol=0, atol=2e-6)
  again = 255 * (np.asarray(found) * rendering.STD + rendering.MEAN)
  np.testing.assert_array_equal(np.rint(again), expected)


def symmetry(image, number):
  """Bit 2 transposes, then bit 1 flips rows and bit 0 flips columns."""
  image = image.swapaxes(0, 1) if number & 4 else image
  image = image[::-1] if number & 2 else image
  return image[:, ::-1] if number & 1 else image


@pytest.mark.parametrize("crop", [32, 24])
def test_dihedral_views_are_the_eight_symmetries(crop):
  image = rendering.noise(1, 32)
  kept = image[0, (32 - crop) // 2 :, (32 - crop) // 2 :][:crop, :crop]
  found = []
  for number in range(8):
    view = augment.plain_views(1, number)
    rendered = np.rint(255 * pixels(image, view, crop)[0])
    np.testing.assert_array_equal(rendered, symmetry(kept, number))
    found.append(rendered.astype(np.uint8).tobytes())
  turns = {
    np.rot90(side, k).tobytes()
    for side in (kept, kept.swapaxes(0, 1))
    for k in range(4)
  }
  assert len(turns) == 8
  assert set(found) == turns


@pytest.mark.parametrize(("angle", "turns"), [(90, -1), (-90, 1), (180, 2)])
def test_right_angles_are_rotations_of_the_array(angle, turns):
  images = rendering.noise(3, 32)
  found = pixels(images, views_of(3, angle=angle), 32)
  expected = np.rot90(images, turns, (1, 2)) / 255
  np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("crop", [40, 26])
def test_geometry_equals_scipy(crop):
  size, n = 40, 12
  images = rendering.noise(n, size)
  config = resnet34.get_config().augment
  config.max_zoom = 1.5
  config.max_rotation = 60.0
  config.lighting = 0.0
  views = augment.random_views(cheap_key(3), n, config)
  found = pixels(images, views, crop)
  beyond = 0
  for i in range(n):
    row = jax.tree.map(lambda x, i=i: np.asarray(x[i], np.float64), views)
    angle = np.deg2rad(row.angle)
    matrix = (
      np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
      )
      / row.zoom
    )
    # The shift moves the crop between the edges of the zoomed image.
    centre = (size - 1) / 2 + row.shift * (crop - crop / row.zoom) / 2
    offset = centre - matrix @ np.full(2, (crop - 1) / 2)
    grid = np.indices((crop, crop)).reshape(2, -1)
    coordinates = matrix @ grid + offset[:, None]
    beyond += np.sum((coordinates < -0.5) | (coordinates > size - 0.5))
    expected = np.stack(
      [
        ndimage.map_coordinates(
          images[i, ..., c] / 255, coordinates, order=1, mode="reflect"
        ).reshape(crop, crop)
        for c in range(3)
      ],
      axis=-1,
    )
    expected = symmetry(expected, int(row.dihedral))
    np.testing.assert_allclose(found[i], expected, rtol=0, atol=5e-5)
  if crop == size:
    assert beyond > 100


def test_shift_moves_the_crop_to_the_edges_of_the_zoomed_image():
  size, crop, zoom = 48, 32, 1.6
  # Pixel values are the row and the column, linear under interpolation.
  ramp = np.zeros((1, size, size, 3), np.uint8)
  ramp[0, ..., 0], ramp[0, ..., 1] = np.indices((size, size))
  border = (size - crop) / 2 - 0.5
  half = 0.5 / zoom
  span = crop / zoom
  room = crop - span
  for row, column in ((-1, -1), (1, 1), (-1, 1), (0, 0.5)):
    view = views_of(1, zoom=zoom, shift=(row, column))
    position = 255 * pixels(ramp, view, crop)[0]
    for axis, shift in ((0, row), (1, column)):
      first = border + room * (1 + shift) / 2
      np.testing.assert_allclose(
        position[[0, -1], [0, -1], axis],
        [first + half, first + span - half],
        atol=1e-3,
      )


@pytest.mark.parametrize(
  ("brightness", "contrast"),
  [(0.05, 1.05), (-0.05, 1 / 1.05), (0.4, 1.0), (0.0, 2.5), (-0.3, 0.5)],
)
def test_lighting_changes_brightness_and_contrast(brightness, contrast):
  images = rendering.noise(3, 24) // np.array([1, 2, 3], np.uint8).reshape(
    3, 1, 1, 1
  )
  view = views_of(3, brightness=brightness, contrast=contrast)
  crop = images[:, 4:20, 4:20] / 255
  mean = crop.mean((1, 2, 3), keepdims=True)
  expected = np.clip(mean + contrast * (crop - mean) + brightness, 0, 1)
  found = pixels(images, view, 16)
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_random_views_have_the_distributions_of_the_recipe():
  n = 20_000
  config = resnet34.get_config().augment
  config.max_zoom = 1.3
  views = augment.random_views(cheap_key(0), n, config)
  columns = jax.tree.map(np.asarray, views)
  # Five standard errors of a fraction.
  tolerance = 5 * np.sqrt(0.25 * 0.75 / n)
  for name, plain, low, high in (
    ("zoom", 1, 1, 1.3),
    ("angle", 0, -10, 10),
  ):
    values = getattr(columns, name)
    assert np.mean(values == plain) == pytest.approx(0.25, abs=tolerance)
    check_uniform(values[values != plain], low, high)
  check_uniform(columns.shift[:, 0], -1, 1)
  check_uniform(columns.shift[:, 1], -1, 1)
  check_uniform(columns.brightness, -0.05, 0.05)
  # A gain and its inverse are equally likely.
  log_gain = np.log(columns.contrast)
  assert np.mean(log_gain > 0) == pytest.approx(0.5, abs=0.02)
  gain = np.exp(np.abs(log_gain)) - 1
  check_uniform(gain, 0, 0.05)
  counts = np.bincount(columns.dihedral, minlength=8)
  assert len(counts) == 8
  assert stats.chisquare(counts).pvalue > 1e-3
  correlation = np.corrcoef(rows_of(views).T)
  assert np.abs(correlation - np.eye(len(correlation))).max() < 0.04


def check_uniform(values, low, high):
  assert low <= values.min()
  assert values.max() <= high + 1e-6
  distance = stats.kstest(values, stats.uniform(low, high - low).cdf)
  assert distance.statistic < 0.02


def test_views_without_augmentation_are_symmetries():
  config = resnet34.get_config().augment
  config.zoom_probability = config.rotation_probability = 0.0
  config.lighting = 0.0
  views = augment.random_views(cheap_key(1), 12, config)
  images = rendering.noise(12, 40)
  found = np.rint(255 * pixels(images, views, 40))
  for image, number, view in zip(images, views.dihedral, found, strict=True):
    np.testing.assert_array_equal(view, symmetry(image, int(number)))


def test_views_without_symmetries_are_otherwise_the_same():
  config = resnet34.get_config().augment
  views = rows_of(augment.random_views(cheap_key(2), 12, config))
  config.symmetries = False
  plain = augment.random_views(cheap_key(2), 12, config)
  assert not plain.dihedral.any()
  np.testing.assert_array_equal(rows_of(plain)[:, 1:], views[:, 1:])
  # Runs of earlier versions do not have the field.
  del config.symmetries
  earlier = augment.random_views(cheap_key(2), 12, config)
  np.testing.assert_array_equal(rows_of(earlier), views)


def tta(objid, kind="random", seed=0):
  objid = np.asarray(objid, np.int64)
  views = augment.tta_views(kind, objid, jax.random.key(seed), CONFIG)
  return [rows_of(view) for view in views]


# The last two share their low 32 bits with the first.
GALAXIES = OBJID + np.array([*range(18), 1 << 40, 1 << 52])


@pytest.fixture(scope="module")
def random_tta():
  return tta(GALAXIES)


@pytest.mark.parametrize(
  ("kind", "number"), [("none", 1), ("random", 5), ("dihedral", 8)]
)
def test_tta_starts_with_the_plain_view(kind, number, random_tta):
  views = random_tta if kind == "random" else tta(GALAXIES, kind)
  assert len(views) == number
  assert all(view.shape == (20, 7) for view in views)
  np.testing.assert_array_equal(views[0], rows_of(augment.plain_views(20)))


def test_dihedral_tta_changes_only_the_symmetry():
  views = np.array(tta([OBJID], "dihedral"))[:, 0]
  np.testing.assert_array_equal(views[:, 0], np.arange(8))
  assert (views[:, 1:] == views[0, 1:]).all()


def test_random_views_depend_on_the_objid_alone(random_tta):
  chosen = np.random.default_rng(0).permutation(20)[:7]
  part = tta(GALAXIES[chosen])
  for whole, found in zip(random_tta, part, strict=True):
    np.testing.assert_array_equal(found, whole[chosen])
  # All views of all galaxies differ.
  assert len(np.unique(np.concatenate(random_tta[1:]), axis=0)) == 80


def test_random_views_differ_between_seeds(random_tta):
  other = tta(GALAXIES, seed=1)
  for one, two in zip(random_tta[1:], other[1:], strict=True):
    assert (one != two).any(1).all()
