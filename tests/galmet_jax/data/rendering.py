"""Renders views of noise images for the tests of augmentation."""

import jax
import numpy as np

from galmet_jax.data import augment

MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])

_apply = jax.jit(augment.apply, static_argnums=2)


def noise(n, size, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (n, size, size, 3), np.uint8)


def render(images, views, frame):
  return _apply(augment.pack(np.asarray(images)), views, frame)


def pixels(images, views, frame):
  """Renders views without the normalisation, 0-1."""
  return np.asarray(render(images, views, frame), np.float64) * STD + MEAN
