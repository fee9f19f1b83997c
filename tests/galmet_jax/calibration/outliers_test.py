"""Image statistics flag images unlike those of the training."""

import ml_collections
import numpy as np
import pytest
from scipy import stats

from galmet_jax.calibration import image_statistics
from galmet_jax.calibration import outliers
from galmet_jax.data import galaxies
from tests import odd_images
from tfds_sdss import build

SIZE = 64


@pytest.fixture(scope="module")
def images(mock_data_dir):
  config = ml_collections.ConfigDict({"crop": 128, "targets": ("oh_p50",)})
  splits = galaxies.load(build.load("mock", str(mock_data_dir)), config)
  return np.concatenate([split.images for split in splits.values()])


@pytest.mark.parametrize("kind", odd_images.FINITE)
def test_statistics_are_finite_and_named(images, kind):
  changed = odd_images.KINDS[kind](images[:3], np.random.default_rng(0))
  found = image_statistics.compute(changed)
  assert found.shape == (3, len(image_statistics.NAMES)) == (3, 34)
  assert np.isfinite(found).all()


@pytest.mark.parametrize("size", [2, 7, 33])
def test_statistics_of_small_images_are_finite(size):
  images = np.full((2, size, size, 3), 7, np.uint8)
  assert np.isfinite(image_statistics.compute(images)).all()


def named(images):
  values = image_statistics.compute(images)[0]
  return dict(zip(image_statistics.NAMES, values, strict=True))


def test_statistics_of_known_images():
  flat = np.empty((1, SIZE, SIZE, 3), np.uint8)
  flat[:] = (40, 20, 10)  # i, r, g
  found = named(flat)
  for ring in range(7):
    assert found[f"log_g_ring_{ring}"] == pytest.approx(np.log(11))
    assert found[f"log_g_over_r_ring_{ring}"] == pytest.approx(np.log(11 / 21))
    assert found[f"log_r_over_i_ring_{ring}"] == pytest.approx(np.log(21 / 41))
  assert found["asymmetry"] == pytest.approx(0, abs=1e-6)
  assert found["centroid_offset"] == pytest.approx(0, abs=1e-4)
  assert found["log_border_noise"] == pytest.approx(0, abs=1e-3)
  assert found["log_peak_over_border"] == pytest.approx(0, abs=1e-6)
  # ⟨x² + y²⟩ of a square of half side one is 2/3.
  assert found["rms_radius"] == pytest.approx(np.sqrt(2 / 3), rel=1e-3)
  half = flat.copy()
  half[:, : SIZE // 2] = 0
  found = named(half)
  assert found["log_zero_percent_g"] == pytest.approx(np.log(51))
  assert found["centroid_offset"] == pytest.approx(0.5, abs=0.01)
  assert found["asymmetry"] == pytest.approx(2, abs=0.001)
  assert found["log_gradient_i"] == pytest.approx(np.log1p(40 / (SIZE - 1)))


@pytest.mark.parametrize("size", [31, 32, 128])
def test_quantiles_are_those_of_numpy(size):
  rng = np.random.default_rng(size)
  image = rng.integers(0, 256, (size, size, 3), np.uint8)
  light = image.sum(2)
  median, peak = np.quantile(light, (0.5, 0.999))
  found = named(image[None])
  np.testing.assert_allclose(found["log_median"], np.log1p(median))
  border = light[:6].mean()
  expected = np.log((1 + peak) / (1 + border))
  np.testing.assert_allclose(
    found["log_peak_over_border"], expected, rtol=1e-5, atol=1e-6
  )


def test_statistics_do_not_depend_on_other_images(images):
  together = image_statistics.compute(images[:70])
  alone = np.concatenate(
    [image_statistics.compute(image[None]) for image in images[:70]]
  )
  np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-5)


def test_p_values_of_the_same_distribution_are_uniform():
  rng = np.random.default_rng(0)
  mixing = rng.normal(size=(33, 33))
  known, new = (rng.normal(size=(n, 33)) @ mixing for n in (2_000, 1_000))
  model = outliers.ImageModel.fit(known)
  p = model.p_values(new)
  assert model.level == 0.01
  low, high = stats.betabinom(1_000, 20, 1_981).ppf([0.005, 0.995])
  assert low <= (p <= model.level).sum() <= high
  assert stats.kstest(p, "uniform").pvalue > 0.01
  assert model.p_values(new + 9 * mixing.sum(0)).max() == 1 / 2_001


def test_level_needs_enough_images():
  rng = np.random.default_rng(0)
  for number, level in ((320, 0.03), (999, 0.03), (1_000, 0.01)):
    model = outliers.ImageModel.fit(rng.normal(size=(number, 4)))
    assert model.level == level
    assert model.p_values(np.full((1, 4), 99.0))[0] < level


@pytest.mark.parametrize("kind", odd_images.DETECTED)
def test_images_without_a_galaxy_are_flagged(images, kind):
  model = outliers.ImageModel.fit(image_statistics.compute(images[:90]))
  changed = odd_images.KINDS[kind](images[90:], np.random.default_rng(0))
  p = model.p_values(image_statistics.compute(changed))
  assert (p <= model.level).mean() >= 0.97


def test_galaxies_are_not_flagged(images):
  model = outliers.ImageModel.fit(image_statistics.compute(images[:90]))
  p = model.p_values(image_statistics.compute(images[90:]))
  low, high = stats.betabinom(30, 2, 89).ppf([0.005, 0.995])
  assert low <= (p <= model.level).sum() <= high
