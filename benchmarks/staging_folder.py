"""Makes a staging folder of any size in minutes, in the layout of `fetch`.

The galaxies are synthetic: a few hundred mocks, repeated with invented ids and
positions. A JPEG comment with the id makes the bytes of each file unique.
"""

import hashlib
import pathlib

import numpy as np
import pandas as pd
import tqdm

from tfds_sdss import columns
from tfds_sdss import staging
from tfds_sdss.fetch import cleaning
from tfds_sdss.mock import render

_NUM_MOCKS = 400
_FIRST = 1237648704043942146  # a plausible objID


def make(root: pathlib.Path, number: int) -> staging.Staging:
  """Fills the folder `root` with galaxies, unless an earlier call did."""
  folder = staging.Staging(root)
  if folder.source_path.exists():
    return folder
  root.mkdir(parents=True, exist_ok=True)
  frame, report = cleaning.clean(_rows(number))
  folder.write_catalog(frame)
  mocks = [example["image"] for example in render.generate(_NUM_MOCKS, seed=1)]
  for part in range(1000):
    (root / "images" / f"{part:03d}").mkdir(parents=True)
  with folder.open_manifest() as append:
    for i, objid in enumerate(
      tqdm.tqdm(frame.objid.tolist(), desc="Staging", disable=None)
    ):
      data = _with_comment(mocks[i % _NUM_MOCKS], str(objid))
      folder.image_path(objid).write_bytes(data)
      digest = hashlib.sha256(data).hexdigest()
      append(staging.Entry(objid, f"mock:{objid}", sha256=digest, zeros=0.0))
  folder.write_source(
    {
      "source": "dr17",
      "base_url": "synthetic",
      "limit": None,
      "image_size": 128,
      "report": report,
    }
  )
  return folder


def _rows(number: int) -> pd.DataFrame:
  rng = np.random.default_rng(0)
  text = {
    column.name: np.char.mod(
      "%.6g", np.clip(rng.normal(10, 1, number), *column.valid)
    )
    for column in columns.COLUMNS
  }
  text["objid"] = np.char.mod("%d", _FIRST + np.arange(number) * 4099)
  text["specobjid"] = np.char.mod("%d", 300_000 + np.arange(number))
  text["ra"] = np.char.mod("%.7f", rng.uniform(0, 360, number))
  dec = np.degrees(np.arcsin(rng.uniform(-0.2, 0.9, number)))
  text["dec"] = np.char.mod("%.7f", dec)
  text["bptclass"] = np.char.mod("%d", rng.integers(-1, 6, number))
  oh_p50 = np.clip(rng.normal(8.9, 0.2, number), 7.9, 9.4)
  text["oh_p50"] = np.char.mod("%.6f", oh_p50)
  return pd.DataFrame(text).astype(str)


def _with_comment(jpeg: bytes, text: str) -> bytes:
  """Inserts a comment after a JPEG's first marker; the pixels stay the same."""
  comment = text.encode("ascii")
  segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
  return jpeg[:2] + segment + jpeg[2:]
