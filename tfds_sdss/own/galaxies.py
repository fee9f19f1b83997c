"""Reads a user's own catalogue and images as a sample."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import logging
import pathlib
import re
from typing import Any

from astropy import units
from astropy.table import Table
import numpy as np
import pandas as pd
import tensorflow_datasets as tfds

from tfds_sdss import columns
from tfds_sdss import origin
from tfds_sdss import sample as sample_lib
from tfds_sdss import sample_info
from tfds_sdss.errors import DataError
from tfds_sdss.fetch import cleaning
from tfds_sdss.own import image_files
from tfds_sdss.own import options
from tfds_sdss.own import user_tables

_log = logging.getLogger(__name__)

# Features are float32.
_LARGEST = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True)
class Galaxies:
  """A user's galaxies, checked.

  Attributes:
    info: description of the sample.
    sample: galaxies with a label and an image.
    images: folder of the images.
    source: catalogue and folder, as text.
  """

  info: sample_info.Info
  sample: sample_lib.Sample
  images: pathlib.Path
  source: str

  def features(self) -> dict[str, Any]:
    """Returns the features of the TFDS data set."""
    size = self.info.image_size
    features: dict[str, Any] = {
      "image": tfds.features.Image(
        shape=(size, size, 3),
        encoding_format="png" if self.info.png else "jpeg",
        doc=self.info.describe_images(),
      ),
      "objid": tfds.features.Scalar(np.int64, doc="Id, or a hash of it"),
      "fold": tfds.features.Scalar(np.int64, doc="0 to 9, by a hash"),
    }
    if "id" in self.sample.frame:
      features["id"] = tfds.features.Text(doc="Id in the user's catalogue")
    for column in self.info.columns:
      is_integer = np.issubdtype(column.dtype, np.integer)
      unit = f", {column.unit}" if column.unit else ""
      features[column.name] = tfds.features.Scalar(
        np.int64 if is_integer else np.float32,
        doc=f"{column.description}{unit}",
      )
    return features

  def digest(self) -> str:
    """Returns the digest of the galaxies, see `origin.digest`."""
    return origin.digest(self.sample.frame)


def read(request: options.Request, name: str, max_loss: float) -> Galaxies:
  """Reads a catalogue, checks its images and divides the galaxies.

  Args:
    request: the catalogue and its columns.
    name: name of the sample.
    max_loss: largest accepted fraction of galaxies without an image.

  Raises:
    DataError: if a file, a column, an id or a value is invalid, no galaxy has a
      label, or too many galaxies have no image.
  """
  table = user_tables.read(request.catalog)
  try:
    frame, described, outside, is_valid = _read_columns(table, request)
  except DataError as error:
    raise DataError(f"{request.catalog}: {error}") from None
  label = described[request.label]
  rows, out_of_range = len(frame), outside.pop(label.name)
  report = {
    "rows": rows,
    "dropped": {
      f"no_{label.name}": int((~is_valid).sum()) - out_of_range,
      f"{label.name}_out_of_range": out_of_range,
    },
  }
  frame = frame[is_valid].reset_index(drop=True)
  if not len(frame):
    low, high = label.valid
    raise DataError(
      f"{request.catalog}: expected galaxies with {label.name} from {low:g} to "
      f"{high:g}, found none in {rows} rows. Check the column "
      f"{request.columns[label.name]}, or give --ranges."
    )
  if number := rows - len(frame):
    _log.warning(
      "%s: %d of %d rows have no valid %s and are left out",
      *(request.catalog, number, rows, label.name),
    )
  frame["sky_group"] = _groups(frame)
  total = len(frame)
  checked = image_files.check(request.images, frame, max_loss)
  info = sample_info.Info(
    label=request.label,
    columns=tuple(described.values()),
    image_size=checked.size,
    bands=request.bands,
    pixel_scale=request.pixel_scale,
    field_r90=request.field_r90,
    png=checked.png,
  )
  sample = sample_lib.Sample(
    name,
    sample_lib.assign_splits(checked.frame),
    total,
    checked.lost,
    report,
    {column: count for column, count in outside.items() if count},
    described,
  )
  source = f"{request.catalog.absolute()} and {request.images.absolute()}"
  return Galaxies(info, sample, request.images.absolute(), source)


def _read_columns(
  table: Table, request: options.Request
) -> tuple[pd.DataFrame, dict[str, columns.Column], dict[str, int], np.ndarray]:
  """Reads the columns of a sample.

  Returns:
    The galaxies, their columns, the number of values out of range by column,
    and whether each galaxy has a valid label, bool `[N]`.
  """
  found = {
    name: user_tables.find(table, column)
    for name, column in request.columns.items()
  }
  objid, texts = user_tables.ids(table, found["id"])
  frame = pd.DataFrame({"objid": objid})
  if texts:
    frame["id"] = texts
  frame["image_file"] = user_tables.texts(table, found["image"])
  described, outside, has_label = {}, {}, np.array([])
  for name in request.columns:
    if name in options.ROLES:
      continue
    column, values = _read_column(table, found[name], name, request.ranges)
    described[name] = column
    is_valid = columns.is_valid(column, values)
    is_missing = np.isnan(values) | (values == column.missing)
    outside[name] = int((~is_valid & ~is_missing).sum())
    frame[name] = np.where(is_valid, values, column.missing).astype(
      column.dtype
    )
    if name == request.label:
      has_label = is_valid
  return frame, described, outside, has_label


def _read_column(
  table: Table,
  found: str,
  name: str,
  ranges: Mapping[str, tuple[float, float]],
) -> tuple[columns.Column, np.ndarray]:
  """Describes a column and reads its values."""
  unit = table[found].unit
  known = columns.BY_NAME.get(name)
  values = user_tables.numbers(table, found)
  if known:
    values = values * _factor(found, unit, known)
    column = known._replace(table="", valid=ranges.get(name, known.valid))
  else:
    column = columns.Column(
      name,
      table="",
      unit=str(unit or ""),
      description=" ".join(str(table[found].description or found).split()),
      valid=ranges.get(name, (-_LARGEST, _LARGEST)),
      dtype=np.float64,
    )
    is_integer = table[found].dtype.kind in "iu"
    if is_integer and columns.is_valid(column, values).all():
      column = column._replace(dtype=np.int64)
  if column.dtype == np.int64:
    return column, _integers(table, found)
  return column, values


def _integers(table: Table, found: str) -> np.ndarray:
  """Returns integers with all their digits; 0 where none is given."""
  limits = np.iinfo(np.int64)
  values = [
    int(text) if re.fullmatch(r"-?[0-9]{1,19}", text) else 0
    for text in user_tables.texts(table, found)
  ]
  return np.array(
    [value if limits.min <= value <= limits.max else 0 for value in values],
    np.int64,
  )


def _factor(found: str, unit: Any, known: columns.Column) -> float:
  """Returns the factor that turns a table's unit into the known one."""
  expected = units.Unit(known.unit)
  if (
    unit is None
    or isinstance(unit, units.UnrecognizedUnit)
    or unit == units.dimensionless_unscaled
    # Logarithms: their zero point is that of the description.
    or any(isinstance(u, units.FunctionUnitBase) for u in (unit, expected))
    or units.dex in (unit, expected)
  ):
    return 1.0
  try:
    return float(unit.to(expected))
  except units.UnitConversionError:
    raise DataError(
      f"column {found}: expected the unit of {known.name}, "
      f"{known.unit or 'none'}, found {unit}. Convert the column, or give it "
      "another name."
    ) from None


def _groups(frame: pd.DataFrame) -> np.ndarray:
  """Returns the sky group of each galaxy; its own without a position."""
  groups = frame["objid"].to_numpy().copy()
  if {"ra", "dec"} <= set(frame):
    known = frame[["ra", "dec"]].notna().all(axis=1).to_numpy()
    part = frame.loc[known].reset_index(drop=True)
    groups[known] = cleaning.sky_groups(part)
  return groups
