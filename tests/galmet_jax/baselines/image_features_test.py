import numpy as np
import pytest

from galmet_jax.baselines import image_features
from galmet_jax.baselines import shapes
from tests import odd_images

INDEX = {feature.name: i for i, feature in enumerate(image_features.FEATURES)}


def galaxy(ratio=0.5, angle=30.0, colour=(1.0, 1.0, 1.0), width=9.0, noise=0.0):
  """Paints a Gaussian galaxy that the display stretch leaves linear."""
  size = shapes.SIZE
  row, column = np.indices((size, size)) - (size - 1) / 2
  turn = np.deg2rad(angle)
  along = column * np.cos(turn) + row * np.sin(turn)
  across = row * np.cos(turn) - column * np.sin(turn)
  light = np.exp(-(along**2 + (across / ratio) ** 2) / (2 * width**2))
  pixels = 120 * light[..., None] * np.array(colour) + 5
  rng = np.random.default_rng(0)
  pixels += rng.normal(0, noise, pixels.shape)
  return np.clip(pixels.round(), 0, 255).astype(np.uint8)


def features(image):
  values = image_features.compute_one(image)
  return {name: values[i] for name, i in INDEX.items()}


@pytest.mark.parametrize("ratio", [0.35, 0.6, 0.9])
@pytest.mark.parametrize("angle", [0.0, 30.0, 110.0])
def test_axis_ratio_and_size_of_an_ellipse(ratio, angle):
  found = features(galaxy(ratio, angle))
  # The segment ends at three sigma of the light: both axes are cut alike.
  assert found["axis_ratio"] == pytest.approx(ratio, abs=0.02)
  assert found["axis_ratio_flux"] == pytest.approx(ratio, abs=0.02)
  assert np.exp(found["ln_a"]) == pytest.approx(9, rel=0.1)


def test_radii_of_a_gaussian_flux():
  size, width = shapes.SIZE, 9.0
  row, column = np.indices((size, size)) - (size - 1) / 2
  flux = 20 * np.exp(-(row**2 + column**2) / (2 * width**2))
  # The display stretch of SDSS.
  shown = 25.5 / np.arcsinh(1) * np.arcsinh(10 / 2 * flux)
  found = features(np.repeat(shown.round().astype(np.uint8)[..., None], 3, 2))
  r20, r50, r80, r90 = (
    width * np.sqrt(-2 * np.log(1 - share)) + 0.3
    for share in (0.2, 0.5, 0.8, 0.9)
  )
  assert np.exp(found["ln_r50"]) == pytest.approx(r50, rel=0.01)
  assert np.exp(found["c82"]) == pytest.approx(r80 / r20, rel=0.03)
  assert np.exp(found["c95"]) == pytest.approx(r90 / r50, rel=0.01)
  assert 10 ** found["log_flux"] == pytest.approx(flux.sum(), rel=0.02)
  assert np.exp(found["ln_a_flux"]) == pytest.approx(width, rel=0.05)


def test_colours_of_the_rings():
  red, green, blue = colour = (1.2, 0.8, 0.5)
  found = features(galaxy(0.6, colour=colour))
  for i in range(6):
    total = np.exp(found[f"light_{i}"])
    share = (total - 3) / total / sum(colour)
    assert found[f"rg_{i}"] == pytest.approx((red - green) * share, abs=0.01)
    assert found[f"gb_{i}"] == pytest.approx((green - blue) * share, abs=0.01)
  # A Gaussian of equal width in all bands.
  assert found["ln_r50_ratio"] == pytest.approx(0, abs=0.2)


def test_noise_of_independent_and_of_smooth_sky():
  sharp = features(galaxy(noise=3.0))
  assert abs(sharp["noise_1"]) < 0.05
  size = shapes.SIZE
  rng = np.random.default_rng(1)
  field = rng.normal(0, 6, (size + 3, size + 3, 3))
  # The mean of 4 x 4 pixels: neighbours at one pixel share three quarters.
  smooth = sum(
    field[i : i + size, j : j + size] for i in range(4) for j in range(4)
  )
  image = galaxy().astype(np.float64) + smooth / 4
  found = features(np.clip(image.round() + 20, 0, 255).astype(np.uint8))
  assert found["noise_1"] == pytest.approx(0.75, abs=0.06)
  assert found["noise_2"] == pytest.approx(0.5, abs=0.08)
  assert found["noise_6"] == pytest.approx(0, abs=0.1)


def with_neighbours():
  image = galaxy(0.5, 20, (1.2, 0.9, 0.6), noise=2.0)
  star = galaxy(1.0, width=2.0)
  image = np.maximum(image, np.roll(star, (25, -30), (0, 1)))
  return np.maximum(image, np.roll(star, (-40, 20), (0, 1)))


@pytest.mark.parametrize(
  "turn",
  [
    lambda x: x[::-1],
    lambda x: x[:, ::-1],
    lambda x: np.rot90(x),
    lambda x: np.rot90(x, 2),
    lambda x: x.transpose(1, 0, 2),
  ],
  ids=["upside down", "mirrored", "quarter turn", "half turn", "transposed"],
)
def test_orientation_does_not_matter(turn):
  image = with_neighbours()
  found = image_features.compute_one(np.ascontiguousarray(turn(image)))
  expected = image_features.compute_one(image)
  np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_neighbours_hardly_matter():
  alone = features(galaxy(0.5, 20, (1.2, 0.9, 0.6), noise=2.0))
  found = features(with_neighbours())
  for name in ("axis_ratio", "ln_a", "rg_3", "light_5", "light_8"):
    assert found[name] == pytest.approx(alone[name], abs=0.02)


def some_images():
  images = np.stack([with_neighbours(), galaxy(noise=1.0), galaxy(1.0)])
  rng = np.random.default_rng(0)
  odd = (
    odd_images.star,
    odd_images.blank,
    odd_images.noise,
    odd_images.half_missing,
    odd_images.trail,
    odd_images.shuffled,
  )
  plain = [np.full_like(images, value) for value in (0, 7, 255)]
  one_band = images * np.array([0, 1, 0], np.uint8)
  return np.concatenate(
    [images, *plain, one_band, *(make(images, rng) for make in odd)]
  )


def test_features_are_finite_for_any_image():
  images = some_images()
  found = image_features.compute(images)
  assert found.shape == (len(images), len(image_features.FEATURES))
  assert np.isfinite(found).all()
  # Whatever the threads do.
  np.testing.assert_array_equal(image_features.compute(images), found)


@pytest.mark.parametrize("size", [1, 5, 64, 160])
def test_features_of_other_sizes(size):
  image = np.random.default_rng(0).integers(
    0, 256, (1, size, size, 3), np.uint8
  )
  assert np.isfinite(image_features.compute(image)).all()


def test_resampled_galaxy_has_the_same_rings():
  image = galaxy(0.6, colour=(1.2, 0.8, 0.5))
  # A galaxy of twice as many pixels.
  large = image.repeat(2, axis=0).repeat(2, axis=1)
  found, expected = features(large), features(image)
  for name in ("axis_ratio", "ln_a", "rg_3", "light_5", "log_flux"):
    assert found[name] == pytest.approx(expected[name], abs=0.03)


def test_no_images():
  found = image_features.compute(np.zeros((0, 128, 128, 3), np.uint8))
  assert found.shape == (0, len(image_features.FEATURES))


def test_every_feature_is_described():
  names = [feature.name for feature in image_features.FEATURES]
  assert len(names) == len(set(names)) == 45
  assert all(feature.description for feature in image_features.FEATURES)
  assert len(image_features.GROUPS) == 45
