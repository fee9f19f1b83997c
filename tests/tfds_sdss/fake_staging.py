"""Writes small staging folders in the layout of `fetch`."""

import hashlib

import numpy as np
import pandas as pd

from tests.tfds_sdss import fake_layout
from tfds_sdss import columns
from tfds_sdss import staging

OBJID = fake_layout.OBJID


def table(number: int, names=columns.SKYSERVER) -> pd.DataFrame:
  """Returns a catalogue of invented, plausible values."""
  generator = np.random.default_rng(0)
  values = {}
  for name in names:
    column = columns.BY_NAME[name]
    if name == "reliable":
      drawn = generator.integers(0, 2, number)
    elif name == "dr7objid":
      drawn = 587722981741363294 + np.arange(number)
    elif name == "objid":
      drawn = OBJID + np.arange(number)
    elif name == "specobjid":
      drawn = 534815957734942720 + np.arange(number)
    elif name == "bptclass":
      drawn = generator.integers(-1, 6, number)
    elif column.unit == "mag":
      drawn = generator.normal(17, 1, number)
    elif name.startswith("oh_"):
      drawn = generator.normal(8.9, 0.1, number)
    elif name == "ra":
      drawn = generator.uniform(0, 360, number)
    elif name == "z":
      drawn = generator.uniform(0.02, 0.3, number)
    elif name == "lgm_tot_p50":
      drawn = generator.normal(10, 0.5, number)
    elif name == "sfr_tot_p50":
      drawn = generator.normal(0, 0.5, number)
    elif name == "zErr":
      drawn = generator.uniform(5e-6, 1e-4, number)
    else:
      drawn = generator.lognormal(size=number)
    values[name] = drawn.astype(column.dtype)
  frame = pd.DataFrame(values)
  frame["sky_group"] = frame["objid"]
  return frame


def write(
  root,
  frame: pd.DataFrame,
  source: str = "dr17",
  size: int = 128,
  failed=(),
  absent=(),
) -> staging.Staging:
  """Fills a staging folder.

  Args:
    root: path of the folder.
    frame: rows of the catalogue.
    source: source of the fetch, for source.json.
    size: width and height of the images, pixels.
    failed: objids without an image on the server.
    absent: objids without a request so far.
  """
  folder = staging.Staging(root)
  folder.root.mkdir(parents=True)
  folder.write_source(
    {
      "source": source,
      "image_size": size,
      "limit": None,
      "report": {"rows": len(frame) + 2, "dropped": {"same_galaxy": 2}},
    }
  )
  folder.write_catalog(frame)
  with folder.open_manifest() as append:
    for objid in frame["objid"].tolist():
      url = f"http://example.org/{objid}"
      if objid in failed:
        entry = staging.Entry(objid, url, "http_404", True, 404)
      elif objid in absent:
        continue
      else:
        data = fake_layout.jpeg(objid, size)
        folder.write_image(objid, data)
        digest = hashlib.sha256(data).hexdigest()
        black = 0.01 + objid % 10 / 20
        entry = staging.Entry(
          objid, url, status=200, sha256=digest, zeros=black
        )
      append(entry)
  return folder
