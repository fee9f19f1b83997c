"""Galaxies for the stand-in server: a catalogue and images."""

import functools
import io

import numpy as np
import pandas as pd
from PIL import Image
from PIL import ImageDraw

from tests.tfds_sdss import fake_staging


def frame_of(n: int) -> pd.DataFrame:
  """Returns a catalogue of n galaxies with all columns.

  Positions are minutes of arc apart. Neither the rows nor the specObjIDs are
  in the order of the objIDs.
  """
  rng = np.random.default_rng(0)
  frame = fake_staging.table(n).drop(columns="sky_group")
  x, y = np.divmod(np.arange(n), max(1, round(n**0.5)))
  frame["ra"], frame["dec"] = 120 + x / 10, y / 10
  frame["petroR90_r"] = rng.uniform(3, 15, n).astype(np.float32)
  frame["specobjid"] = rng.permutation(frame.specobjid)
  return frame.sample(frac=1, random_state=1, ignore_index=True)


@functools.lru_cache(maxsize=4096)
def jpeg_of(objid: int, size: int = 128) -> bytes:
  """Returns a JPEG of size x size pixels, different for each galaxy.

  No pixel is dark: black pixels mark missing data.
  """
  colours = np.random.default_rng(objid).integers(60, 256, (4, 4, 3), np.uint8)
  return encoded(Image.fromarray(colours).resize((size, size)))


def tile(text: str = "", colour: tuple[int, int, int] = (0, 0, 0)) -> bytes:
  """Returns a JPEG with small text, SkyServer's form of an error."""
  image = Image.new("RGB", (128, 128), colour)
  lines = text.replace(" ", "\n")
  ImageDraw.Draw(image).multiline_text((4, 4), lines, "orange")
  return encoded(image)


def encoded(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
  """Returns an image as a file."""
  file = io.BytesIO()
  image.save(file, kind, **options)
  return file.getvalue()
