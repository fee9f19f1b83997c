"""Frames: crop, resolution and bands of the network's input."""

import numpy as np
import pytest

from configs import resnet34
from galmet_jax.data import augment
from galmet_jax.data import splits
from tests.galmet_jax.data import rendering
from tests.galmet_jax.models import small_networks


def pixels(images, frame):
  """Renders plain views without the normalisation, 0-255."""
  views = augment.plain_views(len(images))
  return 255 * rendering.pixels(images, views, frame)


@pytest.mark.parametrize(
  ("crop", "resolution"), [(32, 16), (32, 1), (24, 8), (24, 3)]
)
def test_resolution_is_a_mean_over_blocks(crop, resolution):
  images = rendering.noise(2, 32)
  found = pixels(images, augment.Frame(crop, resolution))
  first, block = (32 - crop) // 2, crop // resolution
  assert found.shape == (2, resolution, resolution, 3)
  for row in range(resolution):
    for column in range(resolution):
      i, j = first + row * block, first + column * block
      mean = images[:, i : i + block, j : j + block].mean((1, 2))
      np.testing.assert_allclose(found[:, row, column], mean, atol=1e-3)


def test_symmetries_apply_to_the_lower_resolution():
  images = rendering.noise(1, 32)
  frame = augment.Frame(24, 8)
  plain, flipped = (
    np.asarray(rendering.render(images, augment.plain_views(1, number), frame))
    for number in (0, 1)
  )
  np.testing.assert_allclose(flipped, plain[:, :, ::-1], atol=1e-5)


def test_channels_have_the_bands_of_the_frame():
  images = rendering.noise(2, 8)
  # Red is i, green is r and blue is g.
  found = pixels(images, augment.Frame(8, 8, ("r", "r", "r")))
  for channel in range(3):
    np.testing.assert_allclose(found[..., channel], images[..., 1], atol=1e-3)
  found = pixels(images, augment.Frame(8, 8, ("g", "r", "i")))
  np.testing.assert_allclose(found, images[..., ::-1], atol=1e-3)


def test_network_accepts_one_pixel():
  model = small_networks.tiny(stage_sizes=(1, 1, 1, 1))
  images = rendering.noise(3, 32)
  x = rendering.render(images, augment.plain_views(3), augment.Frame(32, 1))
  variables = small_networks.drawn(model)
  assert small_networks.run(model, variables, x, train=False).shape == (3, 1)


def data(**changes):
  config = resnet34.get_config().data
  config.update(changes)
  return config


def test_make_frame_of_configs():
  frame = augment.make_frame(data())
  assert frame == augment.Frame(128, 128, ("i", "r", "g"))
  frame = augment.make_frame(data(crop=96, resolution=48), ("r", "r", "r"))
  assert frame == augment.Frame(96, 48, ("r", "r", "r"))


@pytest.mark.parametrize("resolution", [-1, 256, 48])
def test_resolution_must_divide_the_crop(resolution):
  with pytest.raises(ValueError, match=r"expected a divisor of data\.crop=128"):
    augment.make_frame(data(resolution=resolution))


@pytest.mark.parametrize("bands", [("r",), ("i", "r", "u")])
def test_unknown_bands_are_refused(bands):
  with pytest.raises(ValueError, match=r"expected three of \('i', 'r', 'g'\)"):
    augment.make_frame(data(bands=bands))


def test_variants_have_valid_frames_and_controls():
  for variant in resnet34.VARIANTS:
    config = resnet34.get_config(variant)
    augment.make_frame(config.data, config.eval.bands)
    assert config.data.control in splits.CONTROLS
  with pytest.raises(ValueError, match="'gri'; expected one of as_published, "):
    resnet34.get_config("gri")
