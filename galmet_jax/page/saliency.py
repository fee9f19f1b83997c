"""Which parts of an image change a prediction.

Both maps change when the network's weights are replaced by random ones, as they
must (Adebayo et al. 2018); Grad-CAM's need not.
"""

from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from galmet_jax.data import augment
from galmet_jax.models import resnet

CELLS = 8  # on a side, of the crop
_STEPS = 12
# Width of the frame around an image whose median is the sky.
_BORDER = 4  # px


class Maps(NamedTuple):
  """Maps of N galaxies, in the unit of the first target.

  Attributes:
    occlusion: `[N, 8, 8]`, by how much the prediction decreases if a part of
      the crop is replaced by sky.
    gradients: integrated gradients (Sundararajan et al. 2017) from an image of
      sky, `[N, R, R]`. Their sum is the difference of both predictions, up to
      the error of 12 steps.
  """

  occlusion: np.ndarray
  gradients: np.ndarray


def compute(
  model: resnet.ResNet,
  variables: Mapping[str, Any],
  frame: augment.Frame,
  images: np.ndarray,
) -> Maps:
  """Computes both maps for the images as they are, without other views.

  Args:
    model: the network.
    variables: its variables.
    frame: the crop, resolution and bands that it sees.
    images: uint8 `[N, S, S, 3]`.
  """

  def pixels_of(packed: jax.Array) -> jax.Array:
    return augment.apply(packed, augment.plain_views(len(packed)), frame)

  # With the weights as an argument, programs in the cache fit any weights.
  def predict(variables: Mapping[str, Any], pixels: jax.Array) -> jax.Array:
    return jnp.asarray(model.apply(variables, pixels, train=False))[:, 0]

  @jax.jit
  def predict_packed(
    variables: Mapping[str, Any], packed: jax.Array
  ) -> jax.Array:
    return predict(variables, pixels_of(packed))

  @jax.jit
  def integrate(variables: Mapping[str, Any], packed: jax.Array) -> jax.Array:
    """Integrates from the second image to the first."""
    image, sky = pixels_of(packed)
    fractions = (jnp.arange(_STEPS) + 0.5) / _STEPS
    difference = (image - sky)[None]
    path = sky[None] + fractions.reshape(-1, 1, 1, 1) * difference
    gradients = jax.grad(lambda x: predict(variables, x).sum())(path)
    return (gradients.mean(0) * difference[0]).sum(-1)

  variables = jax.device_put(variables)
  occlusion, gradients = [], []
  for image in images:
    sky = _sky(image)
    packed = augment.pack(np.stack([image, *_occluded(image, sky, frame.crop)]))
    predicted = np.asarray(predict_packed(variables, packed))
    occlusion.append((predicted[0] - predicted[1:]).reshape(CELLS, CELLS))
    blank = np.broadcast_to(sky, image.shape)
    pair = augment.pack(np.stack([image, blank]))
    gradients.append(np.asarray(integrate(variables, pair)))
  return Maps(np.stack(occlusion), np.stack(gradients))


def _sky(image: np.ndarray) -> np.ndarray:
  """Returns the median of the border in each channel, uint8 `[3]`."""
  inside = np.zeros(image.shape[:2], bool)
  inside[_BORDER:-_BORDER, _BORDER:-_BORDER] = True
  return np.median(image[~inside], axis=0).astype(np.uint8)


def _occluded(image: np.ndarray, sky: np.ndarray, crop: int) -> np.ndarray:
  """Returns the image with each cell replaced by sky, `[64, S, S, 3]`."""
  start = (len(image) - crop) // 2
  edges = start + np.linspace(0, crop, CELLS + 1).round().astype(int)
  found = np.repeat(image[None], CELLS**2, axis=0)
  for i in range(CELLS):
    rows = slice(edges[i], edges[i + 1])
    for j in range(CELLS):
      found[i * CELLS + j, rows, edges[j] : edges[j + 1]] = sky
  return found
