"""Galaxies for the stand-in server: a catalogue, images and black tiles."""

import functools
import io
import re

import numpy as np
import pandas as pd
from PIL import Image
from PIL import ImageDraw

from tests.tfds_sdss.fetch import stand_in_sql
from tfds_sdss import columns

_OBJIDS_PER_FIELD = 500
_PLATES, _FIBERS = 2700, 640  # before BOSS, so specobjid stays below 2**63


def frame_of(n: int, seed: int = 0) -> pd.DataFrame:
  """Returns a catalogue of n galaxies that pass all of the paper's cuts.

  Numbers but ra and dec have six digits, so that what SkyServer writes of
  them, with seven, reads back as exactly the same float32.

  Args:
    n: number of galaxies, at most half a million.
    seed: of the random values; another seed has other galaxies.

  Returns:
    a row per galaxy with every column of columns.COLUMNS, none missing.
    Positions are minutes of arc apart; ids are in no order.
  """
  rng = np.random.default_rng(seed)
  values = _ids(n, rng)
  values["ra"], values["dec"] = _positions(n, rng)
  uniform = functools.partial(rng.uniform, size=n)
  values["z"] = uniform(0.025, 0.2)
  values["zErr"] = uniform(5e-6, 5e-5)
  values["velDisp"] = uniform(60, 250)
  values["velDispErr"] = uniform(5, 20)
  values["modelMag_r"] = uniform(14.5, 17.7)
  for band, low, high in (
    ("u", 1.3, 2.8),
    ("g", 0.3, 0.9),
    ("i", -0.5, -0.1),
    ("z", -0.8, -0.3),
  ):
    values[f"modelMag_{band}"] = values["modelMag_r"] + uniform(low, high)
  for band in "ugriz":
    values[f"modelMagErr_{band}"] = uniform(0.002, 0.03)
  values["petroMag_r"] = values["modelMag_r"] + uniform(-0.05, 0.1)
  values["petroR90_r"] = uniform(3, 15)
  values["petroR50_r"] = values["petroR90_r"] / uniform(2, 3)
  for line in ("nii_6584", "h_alpha", "oiii_5007", "h_beta", "h_delta"):
    flux = 100 * rng.lognormal(size=n)
    values[f"{line}_flux"] = flux
    values[f"{line}_flux_err"] = flux * uniform(0.01, 0.1)
  values["d4000"] = uniform(1.1, 1.7)
  values["d4000_err"] = uniform(0.01, 0.05)
  values["bptclass"] = rng.integers(1, 4, n)
  oh_p50 = rng.normal(8.9, 0.2, n).clip(7.9, 9.4)
  for name, sigmas in (
    ("p2p5", -2),
    ("p16", -1),
    ("p50", 0),
    ("p84", 1),
    ("p97p5", 2),
  ):
    values[f"oh_{name}"] = oh_p50 + 0.03 * sigmas
  values["lgm_tot_p50"] = rng.normal(10.0, 0.5, n)
  values["sfr_tot_p50"] = rng.normal(0.2, 0.5, n)
  return pd.DataFrame(
    {
      column.name: (
        _six_digits(values[column.name])
        if column.dtype == np.float32
        else values[column.name]
      ).astype(column.dtype)
      for column in columns.COLUMNS
    }
  )


def _ids(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
  """Packs ids from their parts as SDSS does; no two are equal."""
  field, obj = np.divmod(np.arange(n), _OBJIDS_PER_FIELD)
  plate, fiber = np.divmod(
    rng.choice(_PLATES * _FIBERS, n, replace=False), _FIBERS
  )
  objid = (
    (2 << 59)  # of the sky's version
    | (301 << 48)  # of the reduction
    | (rng.integers(94, 8163, n) << 32)  # run
    | (rng.integers(1, 7, n) << 29)  # column of cameras
    | ((11 + field) << 16)
    | (1 + obj)
  )
  specobjid = (
    ((266 + plate) << 50)
    | ((1 + fiber) << 38)
    | (rng.integers(1600, 4600, n) << 24)  # day
    | (26 << 10)  # of the reduction
  )
  return {"objid": objid, "specobjid": specobjid}


def _positions(
  n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
  side = int(np.ceil(np.sqrt(n)))
  # Shaken cells of a grid: random, and still never close to each other.
  cells = np.stack(np.divmod(rng.choice(side**2, n, replace=False), side))
  x, y = (cells + rng.uniform(0.2, 0.8, (2, n))) / max(side, 1)
  return np.round(120 + 120 * x, 9), np.round(60 * y, 9)


def _six_digits(x: np.ndarray) -> np.ndarray:
  scale = 10.0 ** (5 - np.floor(np.log10(np.maximum(np.abs(x), 1e-30))))
  return np.round(x * scale) / scale


def awkward_rows(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
  """Puts what real catalogues have into a copy of a plain one.

  Args:
    frame: at least eleven galaxies, such as of `frame_of`.

  Returns:
    the copy, two rows longer, and objids by what is awkward about them:
    `two_spectra` (the second has the larger zErr), `repeated` (an exact copy),
    `no_mass` and `no_sfr` (-9999), `no_veldisp` (NULL), `small_zerr` (1E-05),
    `r90_missing` (-9999), `r90_zero`, `r90_huge` (5000 arcsec), and
    `pair_first` and `pair_second`, 1 arcsec apart on the sky.
  """
  frame = frame.copy().reset_index(drop=True)
  names: dict[str, int] = {}
  for row, (name, column, value) in enumerate(
    (
      ("two_spectra", None, None),
      ("repeated", None, None),
      ("no_mass", "lgm_tot_p50", -9999.0),
      ("no_sfr", "sfr_tot_p50", -9999.0),
      ("no_veldisp", "velDisp", np.nan),
      ("small_zerr", "zErr", 1e-5),
      ("r90_missing", "petroR90_r", -9999.0),
      ("r90_zero", "petroR90_r", 0.0),
      ("r90_huge", "petroR90_r", 5000.0),
      ("pair_first", None, None),
      ("pair_second", None, None),
    )
  ):
    names[name] = int(frame.objid[row])
    if column:
      frame.loc[row, column] = value
  first, second = frame.index[9:11]
  frame.loc[second, "ra"] = frame.ra[first]
  frame.loc[second, "dec"] = round(frame.dec[first] + 1 / 3600, 9)
  spectrum = frame.iloc[[0]].assign(
    specobjid=frame.specobjid.max() + 1024, zErr=np.float32(9e-4)
  )
  frame = pd.concat([frame, spectrum, frame.iloc[[1]]], ignore_index=True)
  return frame, names


def mangled_csv(frame: pd.DataFrame) -> str:
  """Returns a catalogue whose ids went through floats: 1.23765E+18."""
  text = stand_in_sql.csv_text(stand_in_sql.whole_table(frame))
  return mangled(text.removeprefix("#Table1\n"))


def mangled(text: str) -> str:
  """Returns a CSV with all ids of 16 and more digits written as floats."""
  return re.sub(
    r"(?<![\d.])\d{16,}(?![\d.])", lambda found: f"{float(found[0]):.5E}", text
  )


@functools.lru_cache(maxsize=4096)
def jpeg_of(objid: int, size: int = 128) -> bytes:
  """Returns a JPEG of size x size pixels, another for each galaxy.

  It is bright all over: black means no data in a cutout.
  """
  colours = np.random.default_rng(objid).integers(60, 256, (4, 4, 3), np.uint8)
  return encoded(Image.fromarray(colours).resize((size, size)))


def tile(width: int = 128, height: int = 128, text: str = "") -> bytes:
  """Returns a black JPEG with small text, as SkyServer draws its errors."""
  image = Image.new("RGB", (width, height))
  if text:
    words = text.split()
    lines = [" ".join(words[i : i + 3]) for i in range(0, len(words), 3)]
    ImageDraw.Draw(image).multiline_text((4, 4), "\n".join(lines), "white")
  return encoded(image)


def encoded(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
  """Returns an image's file."""
  file = io.BytesIO()
  image.save(file, kind, **options)
  return file.getvalue()
