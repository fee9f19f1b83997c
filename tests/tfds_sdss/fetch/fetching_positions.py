"""Cutouts of positions from the stand-in server."""

import numpy as np
import pandas as pd

from tests.tfds_sdss.fetch import fetching
from tests.tfds_sdss.fetch import stand_in
from tfds_sdss.fetch import positions


def _frame() -> pd.DataFrame:
  """Returns galaxies, of which rows 0 and 1 are 2 arcsec apart."""
  frame = stand_in.frame_of(70)
  frame.loc[1, ["ra", "dec"]] = frame.ra[0], frame.dec[0] + 2 / 3600
  frame.loc[2, "petroR90_r"] = -9999.0
  # As many digits as the server sends.
  frame["petroR90_r"] = np.array(
    [f"{radius:.7G}" for radius in frame.petroR90_r], np.float32
  )
  return frame


FRAME = _frame()
OBJIDS = FRAME.objid.tolist()


def fetch(server, folder, rows, *, dec=0.0, is_matched=True, **changes):
  """Fetches galaxies of FRAME; `dec` is an offset, arcsec."""
  part = FRAME.iloc[list(rows)]
  options = {"size": 128, "field": "petro", "contact": "me@example.org"}
  options |= {"base_url": server.base_url, "rate": 2000.0}
  options |= {"limits": fetching.LIMITS}
  return positions.fetch(
    part.ra.to_numpy(),
    part.dec.to_numpy() + np.asarray(dec) / 3600,
    None if is_matched else part.petroR90_r.to_numpy(),
    folder,
    **(options | changes),
  )


def bytes_of(cutouts) -> list[bytes | None]:
  return [path and path.read_bytes() for path in cutouts.paths]


def images_of(rows) -> list[bytes]:
  return [stand_in.jpeg_of(OBJIDS[row]) for row in rows]


def targets(server, kind="getjpeg") -> list[str]:
  return [sent.target for sent in server.requests if kind in sent.path]
