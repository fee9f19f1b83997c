"""Thumbnails of galaxies, many to an image, for a page."""

import base64
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


def sheets(images: np.ndarray) -> list[str]:
  """Returns the sheets for `place` as URIs of WebP images.

  Args:
    images: uint8 `[N, S, S, 3]`.
  """
  found = []
  for start in range(0, len(images), _PER_SHEET):
    part = images[start : start + _PER_SHEET]
    rows = -(-len(part) // _PER_ROW)
    sheet = Image.new("RGB", (_PER_ROW * SIDE, rows * SIDE))
    places = place(len(part))
    for image, left, top in zip(
      part, places["left"], places["top"], strict=True
    ):
      sheet.paste(_thumbnail(image, SIDE), (-int(left), -int(top)))
    found.append(uri(sheet, _QUALITY))
  return found


def uri(image: Image.Image, quality: int) -> str:
  """Returns an image as a URI that holds it, as WebP."""
  stream = io.BytesIO()
  image.save(stream, "WEBP", quality=quality)
  return (
    f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"
  )


def _thumbnail(image: np.ndarray, side: int) -> Image.Image:
  return Image.fromarray(image).resize((side, side), Image.Resampling.BOX)
