"""Tests of the maps: known networks, and random weights."""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from galmet_jax.data import augment
from galmet_jax.models import resnet
from galmet_jax.page import saliency
from tests.galmet_jax.page import galaxies

_FRAME = augment.Frame(crop=96, resolution=48)


class Linear(nn.Module):
  """A weight for each pixel, and a square of the mean."""

  square: float = 0.0

  @nn.compact
  def __call__(self, x, *, train):
    weights = self.param("weights", nn.initializers.normal(), x.shape[1:])
    sums = (x * weights[None]).sum((1, 2, 3))
    return (sums + self.square * x.mean((1, 2, 3)) ** 2)[:, None]


def _pixels(images):
  packed = augment.pack(images)
  return augment.apply(packed, augment.plain_views(len(images)), _FRAME)


@pytest.fixture
def images():
  return galaxies.images(3)


def test_maps_of_a_linear_network_are_exact(images):
  model = Linear()
  variables = model.init(jax.random.key(0), _pixels(images), train=False)
  maps = saliency.compute(model, variables, _FRAME, images)
  sky = np.stack([np.median(_border(image), axis=0) for image in images])
  blank = np.broadcast_to(sky[:, None, None], images.shape).astype(np.uint8)
  weights = variables["params"]["weights"]
  parts = ((_pixels(images) - _pixels(blank)) * weights[None]).sum(-1)
  np.testing.assert_allclose(maps.gradients, parts, atol=1e-5)
  cells = parts.reshape(3, 8, 6, 8, 6).sum((2, 4))
  np.testing.assert_allclose(maps.occlusion, cells, atol=1e-4)


def test_gradients_add_up_to_the_difference_of_the_predictions(images):
  model = Linear(square=2.0)
  variables = model.init(jax.random.key(0), _pixels(images), train=False)
  maps = saliency.compute(model, variables, _FRAME, images)
  sky = np.stack([np.median(_border(image), axis=0) for image in images])
  blank = np.broadcast_to(sky[:, None, None], images.shape).astype(np.uint8)
  predicted = model.apply(variables, _pixels(images), train=False)[:, 0]
  of_sky = model.apply(variables, _pixels(blank), train=False)[:, 0]
  found = maps.gradients.sum((1, 2))
  np.testing.assert_allclose(found, predicted - of_sky, rtol=1e-3, atol=1e-3)


def test_maps_follow_the_weights(images):
  model = resnet.ResNet(stage_sizes=(1, 1, 1, 1), width=4)
  frame = dataclasses.replace(_FRAME, resolution=32)
  variables = [
    model.init(jax.random.key(seed), jnp.zeros((1, 32, 32, 3)), train=False)
    for seed in (0, 1)
  ]
  first, again, other = (
    saliency.compute(model, each, frame, images)
    for each in (variables[0], variables[0], variables[1])
  )
  for name in saliency.Maps._fields:
    a, b, c = (getattr(maps, name).ravel() for maps in (first, again, other))
    np.testing.assert_array_equal(a, b)
    assert abs(stats.spearmanr(a, c).statistic) < 0.7


def _border(image):
  return np.concatenate(
    [
      image[:4].reshape(-1, 3),
      image[-4:].reshape(-1, 3),
      image[4:-4, :4].reshape(-1, 3),
      image[4:-4, -4:].reshape(-1, 3),
    ]
  )
