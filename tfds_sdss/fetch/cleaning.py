"""From a catalogue as text to one clean row per galaxy.

Nothing is dropped unsaid: every rule counts what it took.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse
from scipy import spatial
from scipy.sparse import csgraph

from tfds_sdss import catalog
from tfds_sdss import columns
from tfds_sdss.errors import DataError

# Galaxies nearer to each other are one group: the same galaxy measured twice,
# or a pair that shares most of its image.
GROUP_RADIUS_ARCSEC = 2.0

_ID_COLUMNS = ("objid", "specobjid")
_ARCSEC = np.pi / 180 / 3600  # radians


def clean(rows: pd.DataFrame) -> tuple[pd.DataFrame, dict]:
  """Checks a catalogue and keeps one row per galaxy.

  A row is dropped if it has no position, if its oh_p50 is missing or
  impossible, or if it repeats a spectrum. Of two spectra of one objID the one
  with the least zErr is kept, then the one with the least specObjID; a
  catalogue without these columns keeps the first row.

  Args:
    rows: text, named as in `columns.COLUMNS`; `objid` and `oh_p50` at least.
      Other columns are passed over.

  Returns:
    The catalogue, in order of objid, with the columns' own types and the
    column `sky_group`; and a report: `rows` that came, `dropped` by rule,
    `missing` values by column, `sky_pairs`: groups of several galaxies.

  Raises:
    DataError: if a column is absent, an id is no integer or another value no
      number. Then no value of that catalogue can be trusted.
  """
  absent = {"objid", "oh_p50"} - set(rows.columns)
  if absent:
    raise DataError(
      f"expected the columns objID and oh_p50, found {', '.join(rows.columns)}"
    )
  names = [c.name for c in columns.COLUMNS if c.name in rows.columns]
  frame = pd.DataFrame({name: _parse(name, rows[name]) for name in names})
  dropped = {}

  def drop(rule: str, bad: pd.Series) -> None:
    nonlocal frame
    dropped[rule] = int(bad.sum())
    frame = frame[~bad]

  if "ra" in frame:
    drop(
      "no_position", ~(frame.ra.between(0, 360) & frame.dec.between(-90, 90))
    )
  drop("no_oh_p50", frame.oh_p50.isna())
  drop("impossible_oh_p50", ~frame.oh_p50.between(*catalog.LABEL_RANGE))
  if "specobjid" in frame:
    drop("same_spectrum", frame.duplicated("specobjid"))
  order = [name for name in ("objid", "zErr", "specobjid") if name in frame]
  frame = frame.sort_values(order, kind="stable")
  drop("same_galaxy", frame.duplicated("objid"))
  frame = frame.reset_index(drop=True)
  frame["sky_group"] = _sky_groups(frame)
  sizes = frame.sky_group.value_counts()
  report = {
    "rows": len(rows),
    "dropped": dropped,
    "missing": {
      name: int(number) for name, number in frame.isna().sum().items() if number
    },
    "sky_pairs": int((sizes > 1).sum()),
  }
  return frame, report


def _parse(name: str, values: pd.Series) -> pd.Series:
  """Turns a column of text into numbers; a missing one is NaN."""
  if name in _ID_COLUMNS:
    # One by one and never through a float, which would round them.
    ids = [catalog.parse_objid(text) for text in values]
    return pd.Series(ids, values.index, "int64")
  try:
    numbers = pd.Series([float(text or "nan") for text in values], values.index)
  except ValueError as error:
    raise DataError(
      f"column {name}: expected numbers, found {error}. Fetch the catalogue "
      "again."
    ) from error
  numbers = numbers.where(np.isfinite(numbers) & (numbers > catalog.MISSING))
  dtype = columns.BY_NAME[name].dtype
  if issubclass(dtype, np.integer):
    # Of these only bptclass can be missing; -1 is SDSS's "unclassifiable".
    numbers = numbers.fillna(-1)
  return numbers.astype(dtype)


def _sky_groups(frame: pd.DataFrame) -> np.ndarray:
  """Returns the least objid of each galaxy's group, int64 `[N]`.

  Groups are friends of friends: chains of galaxies each of which is within
  GROUP_RADIUS_ARCSEC of the next.
  """
  objid = frame.objid.to_numpy()
  if "ra" not in frame or not len(frame):
    return objid.copy()
  ra, dec = np.radians(frame.ra), np.radians(frame.dec)
  unit = np.stack(
    [np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1
  )
  chord = 2 * np.sin(GROUP_RADIUS_ARCSEC * _ARCSEC / 2)
  pairs = spatial.KDTree(unit).query_pairs(chord, output_type="ndarray")
  size = len(frame)
  graph = sparse.coo_array(
    (np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (size, size)
  )
  _, group = csgraph.connected_components(graph, directed=False)
  least = np.full(group.max() + 1, np.iinfo(np.int64).max)
  np.minimum.at(least, group, objid)
  return least[group]
