"""The stem of a network for few images, of about 48 pixels a side."""

from collections.abc import Callable

from flax import linen as nn
import jax
import jax.numpy as jnp

from galmet_jax.data import augment
from galmet_jax.models import layers

# Pixel values at which the logarithm of the light bends, and that are a unit of
# colour; galaxies then have inputs of the order of one.
_LIGHT, _COLOUR = 20.0, 12.0
# Bright stars have extreme colours.
_MAX_COLOUR = 4.0


class Stem(nn.Module):
  """Light and colours, then a 5×5 convolution with stride 2, BatchNorm, ReLU.

  A galaxy's metallicity changes its colours by a few pixel values, beside
  which the range of its brightness is large.
  """

  width: int
  conv_bn: Callable[..., layers.ConvBN]

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps `[B, H, W, 3]` to `[B, H / 2, W / 2, width]`."""
    x = light_and_colours(x)
    return self.conv_bn(self.width, 5, strides=2)(x, train=train, relu=True)


def light_and_colours(x: jax.Array) -> jax.Array:
  """Returns ln(1 + (R + G + B) / 20) − 0.8, (R − G) / 12 and (G − B) / 12.

  R, G and B are the pixel values, 0 to 255, of images `[B, H, W, 3]` that
  `augment.apply` has normalised. The colours are clipped at ±4.
  """
  deviation = jnp.asarray(augment.IMAGENET_STD).reshape(1, 1, 1, 3)
  mean = jnp.asarray(augment.IMAGENET_MEAN).reshape(1, 1, 1, 3)
  pixels = 255 * (x.astype(jnp.float32) * deviation + mean)
  r, g, b = (pixels[..., i] for i in range(3))
  light = jnp.log1p(jnp.maximum(r + g + b, 0) / _LIGHT) - 0.8
  colours = [
    jnp.clip(difference / _COLOUR, -_MAX_COLOUR, _MAX_COLOUR)
    for difference in (r - g, g - b)
  ]
  return jnp.stack([light, *colours], -1).astype(x.dtype)
