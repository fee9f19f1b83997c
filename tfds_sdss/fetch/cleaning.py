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
# Changes with the rules: a catalogue of other rules is read again.
VERSION = 2
_POSITION = {"ra", "dec"}
# Rules whose rows are no loss: another row of the galaxy is kept.
_REPEATED = ("same_spectrum", "same_galaxy")


def clean(rows: pd.DataFrame) -> tuple[pd.DataFrame, dict]:
  """Checks a catalogue and keeps one row per galaxy.

  A row is dropped if it has no objid or position, if its oh_p50 is missing or
  impossible, or if it repeats a spectrum. If an objID has several spectra, the
  one with the smallest zErr is kept, and in a tie the one with the smallest
  specObjID; without these columns, the first row is kept. Any other value
  outside the valid range of its column is missing.

  Args:
    rows: columns of text, named as in `columns.BY_NAME`; `objid` and `oh_p50`
      are required. Unknown columns are ignored.

  Returns:
    The catalogue, sorted by objid, with the types of `columns.BY_NAME` and the
    column `sky_group`; and a report: `rows` read, `dropped` rows by rule,
    `missing` values by column, `sky_pairs`: number of groups with several
    galaxies.

  Raises:
    DataError: if a column is absent, an objID is not an integer or another
      value is not a number: then the whole catalogue is suspect.
  """
  absent = {"objid", "oh_p50"} - set(rows.columns)
  if absent:
    raise DataError(
      f"expected the columns objID and oh_p50, found {', '.join(rows.columns)}"
    )
  numbers = {
    name: _parse(name, rows[name])
    for name in columns.BY_NAME
    if name in rows.columns
  }
  valid = pd.DataFrame(
    {name: columns.in_range(name, values) for name, values in numbers.items()}
  )
  frame = pd.DataFrame(
    {
      name: values.where(valid[name], columns.BY_NAME[name].missing).astype(
        columns.BY_NAME[name].dtype
      )
      for name, values in numbers.items()
    }
  )
  dropped = {}

  def drop(rule: str, bad: pd.Series) -> None:
    nonlocal frame
    bad = bad[frame.index]
    dropped[rule] = int(bad.sum())
    frame = frame[~bad]

  drop("no_objid", ~valid.objid)
  if set(frame) >= _POSITION:
    drop("no_position", ~(valid.ra & valid.dec))
  label = numbers["oh_p50"]
  drop("no_oh_p50", label.isna() | label.isin(columns.MARKERS))
  drop("impossible_oh_p50", ~valid.oh_p50)
  if "specobjid" in frame:
    drop(
      "same_spectrum",
      frame.duplicated("specobjid") & valid.specobjid[frame.index],
    )
  order = [name for name in ("objid", "zErr", "specobjid") if name in frame]
  frame = frame.sort_values(order, kind="stable")
  drop("same_galaxy", frame.duplicated("objid"))
  missing = (~valid.loc[frame.index]).sum()
  frame = frame.reset_index(drop=True)
  frame["sky_group"] = sky_groups(frame)
  sizes = frame.sky_group.value_counts()
  report = {
    "rows": len(rows),
    "dropped": dropped,
    "missing": {
      name: int(number) for name, number in missing.items() if number
    },
    "sky_pairs": int((sizes > 1).sum()),
  }
  return frame, report


def divide(
  dropped: dict[str, int], source: str
) -> tuple[dict[str, int], dict[str, int]]:
  """Divides dropped rows by rule into losses and rows that are no loss.

  Args:
    dropped: from the report of `clean`.
    source: SkyServer's query promises a label for each row; the catalogue on
      Zenodo does not.
  """
  expected = {*_REPEATED, *(("no_oh_p50",) if source == "zenodo" else ())}
  found = {rule: number for rule, number in dropped.items() if number}
  return (
    {rule: number for rule, number in found.items() if rule not in expected},
    {rule: number for rule, number in found.items() if rule in expected},
  )


def _parse(name: str, values: pd.Series) -> pd.Series:
  """Turns a column of text into float64, or int64 for ids."""
  if columns.BY_NAME[name].dtype == np.int64:
    # pandas' parser may convert ids to floats, which round them.
    parse = catalog.parse_objid if name == "objid" else _parse_other_id
    return pd.Series([parse(text) for text in values], values.index, "int64")
  try:
    numbers = [catalog.parse_number(text) for text in values]
  except ValueError as error:
    raise DataError(
      f"column {name}: expected numbers, found {error}. Fetch the catalogue "
      "again."
    ) from error
  return pd.Series(numbers, values.index, "float64")


def _parse_other_id(text: str) -> int:
  """Returns an id; 0 if it is absent or was rounded as a float."""
  try:
    return catalog.parse_objid(text)
  except DataError:
    return 0


def sky_groups(frame: pd.DataFrame) -> np.ndarray:
  """Returns the smallest objid of each galaxy's group, int64 `[N]`.

  Groups are friends of friends: chains of galaxies, each within 2 arcsec of
  the next.

  Args:
    frame: objid, and ra and dec in degrees; without them, each galaxy is a
      group.
  """
  size = len(frame)
  if not size or not set(frame) >= _POSITION:
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
