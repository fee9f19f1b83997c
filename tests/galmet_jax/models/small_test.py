import jax
import jax.numpy as jnp
import numpy as np

from configs import few_labels
from galmet_jax.data import augment
from galmet_jax.models import network
from galmet_jax.models import small


def normalise(pixels):
  mean, deviation = (
    np.array(x, np.float32)[None, None, None]
    for x in (augment.IMAGENET_MEAN, augment.IMAGENET_STD)
  )
  return (np.asarray(pixels, np.float32) / 255 - mean) / deviation


def test_light_and_colours_of_known_pixels():
  pixels = [[10, 4, 6], [0, 0, 0], [255, 0, 255]]
  found = small.light_and_colours(jnp.asarray(normalise([[pixels]])))
  np.testing.assert_allclose(
    found[0, 0],
    [
      [np.log(2) - 0.8, 0.5, -2 / 12],
      [-0.8, 0, 0],
      # A colour of 255 / 12 is clipped.
      [np.log(1 + 510 / 20) - 0.8, 4, -4],
    ],
    atol=1e-5,
  )


def test_stem_halves_the_image_of_the_config():
  config = few_labels.get_config()
  model = network.from_config(config.model, 1)
  side = config.data.resolution
  images = jnp.zeros((2, side, side, 3))

  def run():
    variables = model.init(jax.random.key(0), images, train=False)
    return variables, model.apply(variables, images, train=False)

  variables, predictions = jax.eval_shape(run)
  assert predictions.shape == (2, 1)
  kernel = variables["params"]["stem"]["conv"]["kernel"]
  assert kernel.shape == (5, 5, 3, config.model.width)
  size = sum(x.size for x in jax.tree.leaves(variables["params"]))
  assert size < 1_250_000  # 5 MB
