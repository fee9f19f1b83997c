"""Columns of angles, in degrees, hours or sexagesimal text."""

from astropy import coordinates
from astropy import units
from astropy.table import Table
import numpy as np

from tfds_sdss.errors import DataError
from tfds_sdss.own import user_tables


def degrees(table: Table, name: str) -> np.ndarray:
  """Returns a column in degrees, float64 `[N]`; NaN where missing.

  Raises:
    DataError: if a value is no number, and the unit does not say how to read
      it; names the row.
  """
  unit = table[name].unit
  if table[name].dtype.kind in "biuf":
    values = user_tables.numbers(table, name)
    if unit in (None, units.dimensionless_unscaled):
      return values
    return (values * units.Unit(unit)).to_value(units.deg)
  texts = user_tables.texts(table, name)
  try:
    return user_tables.numbers(table, name)
  except DataError as error:
    if unit not in (units.hourangle, units.deg):
      raise DataError(
        f"{error} Expected degrees. Convert the column, or give it the unit "
        "hourangle or deg in an ECSV file."
      ) from None
  values = np.full(len(texts), np.nan)
  for row, text in enumerate(texts):
    if not text:
      continue
    try:
      values[row] = coordinates.Angle(text, unit).degree
    except ValueError:
      raise DataError(
        f"column {name}, row {row + 1}: expected an angle, found {text!r}. "
        "Correct it."
      ) from None
  return values
