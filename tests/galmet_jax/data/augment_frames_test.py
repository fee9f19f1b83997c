"""Frames: crop, resolution and bands that the network sees."""

import jax
import numpy as np
import pytest

from configs import resnet34
from galmet_jax.data import augment
from galmet_jax.data import splits
from tests.galmet_jax.models import small_networks

MEAN = np.array(augment.IMAGENET_MEAN)
STD = np.array(augment.IMAGENET_STD)


def images(n, size, seed=0):
  shape = (n, size, size, 3)
  return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def render(pictures, frame, views=None):
  views = views or augment.plain_views(len(pictures))
  packed = augment.pack(pictures)
  return jax.jit(augment.apply, static_argnums=2)(packed, views, frame)


def seen(pictures, frame):
  """Renders plain views without the normalisation, 0-255."""
  return 255 * (np.float64(render(pictures, frame)) * STD + MEAN)


@pytest.mark.parametrize(
  ("crop", "resolution"), [(32, 16), (32, 1), (24, 8), (24, 3)]
)
def test_resolution_is_a_mean_over_blocks(crop, resolution):
  pictures = images(2, 32)
  found = seen(pictures, augment.Frame(crop, resolution))
  first, block = (32 - crop) // 2, crop // resolution
  assert found.shape == (2, resolution, resolution, 3)
  for row in range(resolution):
    for column in range(resolution):
      i, j = first + row * block, first + column * block
      mean = pictures[:, i : i + block, j : j + block].mean((1, 2))
      np.testing.assert_allclose(found[:, row, column], mean, atol=1e-3)


def test_symmetries_apply_to_the_lower_resolution():
  pictures = images(1, 32)
  frame = augment.Frame(24, 8)
  plain = np.asarray(render(pictures, frame))
  flipped = render(pictures, frame, augment.plain_views(1, dihedral=1))
  np.testing.assert_allclose(flipped, plain[:, :, ::-1], atol=1e-5)


def test_bands_of_the_channels():
  pictures = images(2, 8)
  # Red shows i, green r and blue g.
  found = seen(pictures, augment.Frame(8, 8, ("r", "r", "r")))
  for channel in range(3):
    np.testing.assert_allclose(found[..., channel], pictures[..., 1], atol=1e-3)
  found = seen(pictures, augment.Frame(8, 8, ("g", "r", "i")))
  np.testing.assert_allclose(found, pictures[..., ::-1], atol=1e-3)


def test_network_on_one_pixel():
  model = small_networks.tiny(stage_sizes=(1, 1, 1, 1))
  x = render(images(3, 32), augment.Frame(32, 1))
  variables = small_networks.drawn(model)
  assert small_networks.run(model, variables, x, train=False).shape == (3, 1)


def data(**changes):
  config = resnet34.get_config().data
  config.update(changes)
  return config


def test_frames_of_configs():
  frame = augment.make_frame(data())
  assert frame == augment.Frame(128, 128, ("i", "r", "g"))
  frame = augment.make_frame(data(crop=96, resolution=48), ("r", "r", "r"))
  assert frame == augment.Frame(96, 48, ("r", "r", "r"))


@pytest.mark.parametrize("resolution", [-1, 256, 48])
def test_resolution_that_does_not_divide(resolution):
  with pytest.raises(ValueError, match=r"expected a divisor of data\.crop=128"):
    augment.make_frame(data(resolution=resolution))


@pytest.mark.parametrize("bands", [("r",), ("i", "r", "u")])
def test_unknown_bands(bands):
  with pytest.raises(ValueError, match=r"expected three of \('i', 'r', 'g'\)"):
    augment.make_frame(data(bands=bands))


def test_variants_have_valid_frames_and_controls():
  for variant in resnet34.VARIANTS:
    config = resnet34.get_config(variant)
    augment.make_frame(config.data, config.eval.bands)
    assert config.data.control in splits.CONTROLS
  with pytest.raises(ValueError, match="'gri'; expected one of as_published, "):
    resnet34.get_config("gri")
