"""JPEG images of galaxies: the one decoder, which checks every byte."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from tfds_sdss import catalog

SIZE = 128
# A 128 x 128 JPEG from SDSS has 2 to 8 kB; nothing near this limit is one.
MAX_BYTES = 1 << 20

_END_OF_IMAGE = b"\xff\xd9"


class ImageError(catalog.DataError):
  """A file is not a complete RGB JPEG of the expected size."""


def decode(objid: int, data: bytes, size: int = SIZE) -> np.ndarray:
  """Decodes one image in full.

  Before an image is stored too: TFDS stores whatever bytes it is given, and a
  bad one would fail only when read, in the middle of a training run.

  Args:
    objid: SDSS objID, for the message.
    data: the file's bytes.
    size: expected width and height, pixels.

  Returns:
    uint8 `[size, size, 3]`.

  Raises:
    ImageError: if `data` is empty, too large, not a JPEG, cut short, not RGB
      or not exactly size x size. Dimensions are read from the header, so an
      oversized image is refused before it is decoded.
  """

  def refuse(found: str) -> ImageError:
    return ImageError(
      f"objID {objid}: expected an RGB JPEG of {size} x {size} pixels, found "
      f"{found}. Fetch this image again, or remove its row from the catalogue."
    )

  if not data:
    raise refuse("an empty file")
  if len(data) > MAX_BYTES:
    raise refuse(f"{len(data)} bytes, more than {MAX_BYTES}")
  try:
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
      if image.size != (size, size):
        raise refuse("{} x {} pixels".format(*image.size))
      if image.mode != "RGB":
        raise refuse(f"the colour mode {image.mode}")
      pixels = np.asarray(image)
  except (Image.UnidentifiedImageError, Image.DecompressionBombError):
    raise refuse(_kind(data)) from None
  except (OSError, SyntaxError) as error:
    raise refuse(f"a broken JPEG ({error})") from error
  # Pillow stops reading after the last row and ignores what follows.
  if not data.endswith(_END_OF_IMAGE):
    raise refuse("a JPEG without its end marker (cut short, or text appended)")
  return pixels


def _kind(data: bytes) -> str:
  """Says what a file that is no JPEG looks like."""
  if data.startswith(b"\x89PNG"):
    return "a PNG image"
  if data.startswith(b"\xff\xd8"):
    return "a JPEG with a broken or absurd header"
  if data.lstrip().startswith(b"<"):
    return "an HTML or XML page, such as a server sends with an error"
  return f"something else, which starts with {data[:16]!r}"
