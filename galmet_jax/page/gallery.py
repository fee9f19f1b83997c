"""A gallery of galaxies with maps of what changed their predictions."""

from collections.abc import Sequence
import dataclasses
import html

import matplotlib
import numpy as np
from PIL import Image

from galmet_jax.page import saliency
from galmet_jax.page import sprites

NUMBER = 24
_SIDE = 112  # px
# What the maps can tell was measured on SDSS galaxies.
_NOTE = (
  "Beside each image: by how much the prediction decreases if a part is "
  "replaced by sky (occlusion), and the integrated gradients from an image of "
  "sky. Red parts raise the prediction, blue parts lower it. The maps are "
  "those of the network{member} for the image as it is, without other views. "
  "They tell where the network looks, not what it sees there: both rank the "
  "parts of an image hardly better than their brightness does."
)


@dataclasses.dataclass(frozen=True)
class Gallery:
  """Some galaxies, N.

  Attributes:
    title: what they have in common.
    images: uint8 `[N, S, S, 3]`, the crop.
    captions: lines of text of each.
    maps: their maps.
    unit: of the maps; may be empty.
    member: what follows "the network" in the explanation.
  """

  title: str
  images: np.ndarray
  captions: Sequence[Sequence[str]]
  maps: saliency.Maps
  unit: str
  member: str = ""


def crop(images: np.ndarray, side: int) -> np.ndarray:
  """Returns the central squares, `[N, side, side, 3]`, of images."""
  start = (images.shape[1] - side) // 2
  return images[:, start : start + side, start : start + side]


def to_html(gallery: Gallery) -> str:
  """Returns the gallery as a section of a page."""
  cells = [
    _figure(gallery, i, list(gallery.captions[i]))
    for i in range(len(gallery.images))
  ]
  note = html.escape(_NOTE.format(member=gallery.member))
  return (
    f"<h2>{html.escape(gallery.title)}</h2><p>{note}</p>"
    f'<div class="gallery">{"".join(cells)}</div>'
  )


def _figure(gallery: Gallery, i: int, lines: list[str]) -> str:
  pictures = [("image", Image.fromarray(gallery.images[i]))]
  for name, field in gallery.maps._asdict().items():
    values = field[i]
    limit = float(np.abs(values).max())
    pictures.append((name, _coloured(values, limit)))
    number = f"{limit:.2g} {gallery.unit}".strip()
    lines = [*lines, f"{name}: up to {number}"]
  images = "".join(
    f'<img width="{_SIDE}" height="{_SIDE}" alt="{name}" '
    f'src="{sprites.uri(_resize(picture, name))}">'
    for name, picture in pictures
  )
  text = "<br>".join(map(html.escape, lines))
  return f"<figure>{images}<figcaption>{text}</figcaption></figure>"


def _coloured(values: np.ndarray, limit: float) -> Image.Image:
  scaled = 0.5 + 0.5 * values / (limit or 1.0)
  colours = matplotlib.colormaps["RdBu_r"](scaled, bytes=True)
  return Image.fromarray(np.ascontiguousarray(colours[..., :3]))


def _resize(picture: Image.Image, name: str) -> Image.Image:
  how = Image.Resampling.BOX if name == "image" else Image.Resampling.NEAREST
  return picture.resize((_SIDE, _SIDE), how)
