"""Decodes and checks the JPEG and PNG images of galaxies."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import io

import numpy as np
from PIL import Image
import simplejpeg

from tfds_sdss.errors import DataError

SIZE = 128
# A 128 x 128 JPEG from SDSS has 2 to 8 kB, far below this limit. Images of more
# than 512 x 512 pixels may have more than their pixels take.
MAX_BYTES = 1 << 20
# More galaxies at different positions with the same file have a placeholder of
# the service instead of an image.
MAX_COPIES = 5

_END_OF_IMAGE = b"\xff\xd9"
_PNG = b"\x89PNG\r\n\x1a\n"
_END_OF_PNG = b"IEND\xaeB`\x82"
# Kinds of PNG files by the colour type in their header.
_PNG_KINDS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey and alpha", 6: "RGBA"}
# Colour modes in which a JPEG stores an RGB image.
_RGB_MODES = ("YCbCr", "RGB")
# Largest difference between the pixels of an image of one colour.
_ONE_COLOUR = 8


class ImageError(DataError):
  """A file is not a complete RGB image of the expected size.

  Attributes:
    found: the fault, in a few words.
  """

  def __init__(self, message: str, found: str):
    super().__init__(message)
    self.found = found

  def __reduce__(self):
    return type(self), (str(self), self.found)


def decode(
  objid: int,
  data: bytes,
  size: int = SIZE,
  out: np.ndarray | None = None,
  *,
  png: bool = False,
) -> np.ndarray:
  """Decodes one image to the same pixels as Pillow.

  The decoder releases Python's global lock, so that threads run in parallel.

  Args:
    objid: SDSS objID, for the error message.
    data: bytes of the file.
    size: expected width and height, pixels.
    out: array for the pixels, uint8 `[size, size, 3]`, contiguous; None for a
      new array. Its contents are undefined after an error.
    png: whether a PNG of eight bits per channel is accepted, too.

  Returns:
    uint8 `[size, size, 3]`.

  Raises:
    ImageError: if `data` is empty, too large, truncated, not a JPEG, not RGB
      or not exactly size x size. The size is checked in the header, before
      decoding.
  """
  if png and is_png(data):
    pixels = _decode_png(objid, data, size)
    if out is None:
      return pixels
    out[:] = pixels
    return out
  return _checked(
    objid,
    data,
    size,
    lambda: simplejpeg.decode_jpeg(data, "RGB", buffer=out),
  )


def check(
  objid: int, data: bytes, size: int = SIZE, *, png: bool = False
) -> None:
  """Checks one image as `decode` does, in less time.

  The whole stream is read, because only there can errors occur, but decoded to
  an eighth of the size and without colours. Images are checked before they are
  stored: TFDS stores any bytes, and a bad image would fail only when it is
  read, at the start of a training run.

  Raises:
    ImageError: if and only if `decode` raises it, or all pixels have the same
      colour.
  """
  if png and is_png(data):
    is_uniform = is_one_colour(_decode_png(objid, data, size))
  else:
    small = size // 8
    thumbnail = _checked(
      objid,
      data,
      size,
      lambda: simplejpeg.decode_jpeg(
        data, "GRAY", min_height=small, min_width=small
      ),
    )
    is_uniform = is_one_colour(thumbnail) and is_one_colour(
      decode(objid, data, size)
    )
  if is_uniform:
    raise ImageError(
      f"objID {objid}: expected an image of a galaxy, found one colour only. "
      "Fetch this image again, or remove its row from the catalogue.",
      "one colour only",
    )


def is_png(data: bytes) -> bool:
  """Whether a file starts as a PNG does."""
  return data.startswith(_PNG)


def size_of(data: bytes) -> tuple[int, int]:
  """Returns the width and the height in the header of a JPEG or PNG.

  Raises:
    ValueError: if the file is neither; the message says what it is.
  """
  if is_png(data):
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
  try:
    height, width, *_ = simplejpeg.decode_jpeg_header(data)
  except ValueError:
    raise ValueError(_kind(data) if data else "an empty file") from None
  return width, height


def _decode_png(objid: int, data: bytes, size: int) -> np.ndarray:
  def error(found: str) -> ImageError:
    return ImageError(
      f"objID {objid}: expected an RGB PNG of {size} x {size} pixels, found "
      f"{found}. Replace this image, or remove its row from the catalogue.",
      found,
    )

  if size_of(data) != (size, size):
    raise error("{} x {} pixels".format(*size_of(data)))
  if len(data) > _max_bytes(size):
    raise error(f"{len(data)} bytes, more than {_max_bytes(size)}")
  depth, kind = data[24:25], data[25:26]
  # Pillow would convert 16 bits to 8.
  if (depth, kind) != (b"\x08", b"\x02"):
    name = _PNG_KINDS.get(int.from_bytes(kind), "unknown")
    raise error(f"a PNG of {int.from_bytes(depth)} bits, {name}")
  try:
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
      pixels = np.asarray(image)
  # Pillow raises SyntaxError, zlib.error, struct.error and others.
  except Exception as reason:
    raise error(f"a broken PNG ({reason})") from reason
  if not data.endswith(_END_OF_PNG) or pixels.shape != (size, size, 3):
    raise error("a PNG without its end marker (truncated, or text appended)")
  return pixels


def _max_bytes(size: int) -> int:
  return max(MAX_BYTES, 4 * size * size)


def is_one_colour(pixels: np.ndarray) -> bool:
  """Whether all pixels of an image, uint8 `[H, W, C]`, are almost equal."""
  low, high = pixels.min(axis=(0, 1)), pixels.max(axis=(0, 1))
  return bool((high - low <= _ONE_COLOUR).all())


def plain_fraction(pixels: np.ndarray) -> float:
  """Returns the fraction of pixels with exactly the colour of a corner.

  The colour is that of the corner with the largest fraction. Tiles with the
  text of an error have a plain background; the sky of a real cutout is noisy.

  Args:
    pixels: uint8 `[H, W, 3]`.
  """
  corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]]
  return max(
    float((pixels == colour).all(axis=-1).mean())
    for colour in np.unique(corners, axis=0)
  )


def _checked(
  objid: int, data: bytes, size: int, decoder: Callable[[], np.ndarray]
) -> np.ndarray:
  """Runs the decoder, with checks before and after."""

  def error(found: str) -> ImageError:
    return ImageError(
      f"objID {objid}: expected an RGB JPEG of {size} x {size} pixels, found "
      f"{found}. Fetch this image again, or remove its row from the catalogue.",
      found,
    )

  if not data:
    raise error("an empty file")
  if len(data) > _max_bytes(size):
    raise error(f"{len(data)} bytes, more than {_max_bytes(size)}")
  try:
    height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
  except ValueError:
    raise error(_kind(data)) from None
  if (width, height) != (size, size):
    raise error(f"{width} x {height} pixels")
  if colours not in _RGB_MODES:
    raise error(f"the colour mode {colours}")
  try:
    pixels = decoder()
  except ValueError as reason:
    raise error(f"a broken JPEG ({reason})") from reason
  # The decoder stops after the last row and ignores later bytes.
  if not data.endswith(_END_OF_IMAGE):
    raise error("a JPEG without its end marker (truncated, or text appended)")
  return pixels


def black_fraction(pixels: np.ndarray) -> float:
  """Returns the fraction of pixels whose three channels are all 0.

  The sky of a real cutout is noisy. Areas that the survey did not observe, and
  error tiles of the cutout service, are exactly black.

  Args:
    pixels: uint8 `[H, W, 3]`.
  """
  # Much faster than pixels.any(axis=-1).
  lit = pixels[..., 0] | pixels[..., 1] | pixels[..., 2]
  return (lit.size - int(np.count_nonzero(lit))) / lit.size


class Copies:
  """Counts the galaxies that have the same file as their image."""

  def __init__(self, groups: Mapping[int, int]):
    """Starts without images.

    Args:
      groups: sky_group of each objid. Galaxies of one group may have the same
        image.
    """
    self._groups = groups
    self._first: dict[str, int] = {}
    # Only of files with several groups: one set per galaxy would take 30 MB.
    self._shared: dict[str, set[int]] = {}

  def add(self, objid: int, sha256: str) -> int:
    """Adds an image and returns the number of sky groups that have it."""
    group = self._groups[objid]
    first = self._first.setdefault(sha256, group)
    if group == first and sha256 not in self._shared:
      return 1
    shared = self._shared.setdefault(sha256, {first})
    shared.add(group)
    return len(shared)

  def refused(self) -> set[str]:
    """Returns the digests of files that more than MAX_COPIES groups have."""
    return {
      sha256
      for sha256, shared in self._shared.items()
      if len(shared) > MAX_COPIES
    }


def _kind(data: bytes) -> str:
  """Describes a file that the decoder does not recognize as a JPEG."""
  if data.startswith(b"\x89PNG"):
    return "a PNG image"
  if data.startswith(b"\xff\xd8"):
    return "a JPEG with a broken or absurd header"
  if data.lstrip().startswith(b"<"):
    return "an HTML or XML page, perhaps an error page of the server"
  return f"another kind of file, which starts with {data[:16]!r}"
