"""Checks a catalogue and reduces it to one row per galaxy.

Every dropped row is counted, by rule.
"""

from __future__ import annotations

from astropy import coordinates
from astropy import units
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse import csgraph

from tfds_sdss import catalog
from tfds_sdss import columns
from tfds_sdss.errors import DataError

# Closer galaxies form a group: one galaxy observed twice, or a pair with almost
# the same image.
_GROUP_RADIUS = 2.0 * units.arcsec
_ID_COLUMNS = ("objid", "specobjid")


def clean(rows: pd.DataFrame) -> tuple[pd.DataFrame, dict]:
  """Checks a catalogue and keeps one row per galaxy.

  A row is dropped if it has no position, if its oh_p50 is missing or
  impossible, or if it repeats a spectrum. If an objID has several spectra, the
  one with the smallest zErr is kept, and in a tie the one with the smallest
  specObjID; without these columns, the first row is kept.

  Args:
    rows: columns of text, named as in `columns.COLUMNS`; `objid` and `oh_p50`
      are required. Unknown columns are ignored.

  Returns:
    The catalogue, sorted by objid, with the types of `columns.COLUMNS` and the
    column `sky_group`; and a report: `rows` read, `dropped` rows by rule,
    `missing` values by column, `sky_pairs`: number of groups with several
    galaxies.

  Raises:
    DataError: if a column is absent, an id is not an integer or another value
      is not a number: then the whole catalogue is suspect.
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
  """Turns a column of text into numbers; missing values become NaN."""
  if name in _ID_COLUMNS:
    # pandas' parser may convert ids to floats, which round them.
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
    # Only bptclass can be missing; -1 is SDSS's "unclassifiable".
    numbers = numbers.fillna(-1)
  return numbers.astype(dtype)


def _sky_groups(frame: pd.DataFrame) -> np.ndarray:
  """Returns the smallest objid of each galaxy's group, int64 `[N]`.

  Groups are friends of friends: chains of galaxies, each within 2 arcsec of
  the next.
  """
  size = len(frame)
  if "ra" not in frame or not size:
    return frame.objid.to_numpy().copy()
  position = coordinates.SkyCoord(
    frame.ra.to_numpy(), frame.dec.to_numpy(), unit="deg"
  )
  first, second, *_ = position.search_around_sky(position, _GROUP_RADIUS)
  friends = sparse.coo_array(
    (np.ones(len(first)), (first, second)), (size, size)
  )
  _, group = csgraph.connected_components(friends, directed=False)
  return frame.objid.groupby(group).transform("min").to_numpy()
