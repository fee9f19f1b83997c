"""Thumbnails of galaxies, many to an image, for a page."""

import base64
from collections.abc import Callable
import io

import numpy as np
from PIL import Image

SIDE = 64  # px, of a thumbnail
_PER_ROW = 32
_PER_SHEET = _PER_ROW**2
# 130 bytes for a thumbnail; at 90 the file is three times as large.
_QUALITY = 60


def place(number: int) -> dict[str, np.ndarray]:
  """Returns where the thumbnails of N galaxies are, int `[N]` each.

  `sheet` is the number of the sheet; `left` and `top` are its offset in CSS,
  px, zero or negative.
  """
  sheet, cell = np.divmod(np.arange(number), _PER_SHEET)
  row, column = np.divmod(cell, _PER_ROW)
  return {"sheet": sheet, "left": -SIDE * column, "top": -SIDE * row}


def shrink(images: np.ndarray) -> np.ndarray:
  """Returns thumbnails, uint8 `[N, 64, 64, 3]`, of images `[N, S, S, 3]`."""
  found = np.empty((len(images), SIDE, SIDE, 3), np.uint8)
  for thumbnail, image in zip(found, images, strict=True):
    small = Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BOX)
    thumbnail[:] = np.asarray(small)
  return found


def sheets(
  images: Callable[[np.ndarray], np.ndarray], rows: np.ndarray
) -> list[str]:
  """Returns the sheets for `place` as URIs of WebP images.

  Args:
    images: see `page.Content`.
    rows: the galaxies to show, int `[N]`.
  """
  found = []
  for start in range(0, len(rows), _PER_SHEET):
    part = shrink(images(rows[start : start + _PER_SHEET]))
    height = -(-len(part) // _PER_ROW)
    cells = np.zeros((height * _PER_ROW, SIDE, SIDE, 3), np.uint8)
    cells[: len(part)] = part
    grid = cells.reshape(height, _PER_ROW, SIDE, SIDE, 3).swapaxes(1, 2)
    sheet = grid.reshape(height * SIDE, _PER_ROW * SIDE, 3)
    found.append(uri(Image.fromarray(sheet)))
  return found


def uri(image: Image.Image) -> str:
  """Returns a URI that holds an image, as WebP."""
  stream = io.BytesIO()
  image.save(stream, "WEBP", quality=_QUALITY)
  data = base64.b64encode(stream.getvalue()).decode()
  return f"data:image/webp;base64,{data}"
