"""Columns, bands and scale of a built sample, for readers without its builder.

Nothing can find a wrong scale or wrong bands in the images later. So they are
stored beside the shards, and belong to each network that is trained on them.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib

import numpy as np
import tensorflow_datasets as tfds

from tfds_sdss import columns as columns_lib
from tfds_sdss import features as features_lib
from tfds_sdss import files

FILE = "sample.json"
# Features that no network predicts and no table describes.
_NO_COLUMNS = ("image", "objid", "id", "fold")
# Bands of the images' R, G and B in all samples of this project.
_BANDS = ("i", "r", "g")
# Width of the images in petroR90_r (Wu & Boada 2019, section 3).
FIELD_R90 = 5.05
_ZENODO_SCALE = 0.262  # arcsec per pixel


@dataclasses.dataclass(frozen=True)
class Info:
  """Description of a sample.

  Attributes:
    label: name of the column that is predicted by default.
    columns: columns of the sample, except for objid, id and fold.
    image_size: width and height of the images, pixels.
    bands: bands of the images' R, G and B.
    pixel_scale: size of a pixel, arcsec; None if it differs between galaxies.
    field_r90: width of an image in petroR90_r of its galaxy; None if that
      differs. Either this or `pixel_scale` is given.
    png: whether the images may be PNG files.
  """

  label: str
  columns: tuple[columns_lib.Column, ...]
  image_size: int
  bands: tuple[str, ...] = _BANDS
  pixel_scale: float | None = None
  field_r90: float | None = None
  png: bool = False

  @property
  def by_name(self) -> dict[str, columns_lib.Column]:
    """The columns by name."""
    return {column.name: column for column in self.columns}

  def describe_images(self) -> str:
    """Returns the bands and the scale of the images as text."""
    scale = f"{self.field_r90:g} petroR90_r wide" if self.field_r90 else ""
    if self.pixel_scale:
      scale = f"{self.pixel_scale:g} arcsec per pixel"
    return f"R, G, B = {', '.join(self.bands)}; {scale}"

  def differences(self, expected: Info) -> str:
    """Returns what differs from another description; empty for nothing."""
    pairs = [
      (field.name, getattr(expected, field.name), getattr(self, field.name))
      for field in dataclasses.fields(self)
      if field.name != "columns"
    ]
    pairs += [
      (f"column {name}", expected.by_name.get(name), self.by_name.get(name))
      for name in {**expected.by_name, **self.by_name}
    ]
    return "; ".join(
      f"{name}: expected {wanted}, found {found}"
      for name, wanted, found in pairs
      if wanted != found
    )


def of_project(
  name: str,
  features: tfds.features.FeaturesDict,
  pixel_scale: float | None = None,
) -> Info:
  """Returns the description of one of this project's own samples.

  Args:
    name: sample, such as `mock`.
    features: its features.
    pixel_scale: scale of all images of dr17 or dr14, arcsec; None if they are
      scaled to the galaxies, as by default.
  """
  if name == "zenodo":
    pixel_scale = _ZENODO_SCALE
  return Info(
    label="oh_p50",
    columns=tuple(
      _of_feature(column, features[column])
      for column in features
      if column not in _NO_COLUMNS
    ),
    image_size=features["image"].shape[0],
    pixel_scale=pixel_scale,
    field_r90=None if pixel_scale else FIELD_R90,
  )


def _of_feature(name: str, feature) -> columns_lib.Column:
  if name in columns_lib.BY_NAME:
    return columns_lib.BY_NAME[name]._replace(table="")
  # The mock sample has columns that SDSS does not have.
  text, _, unit = feature.doc.desc.rpartition(", ")
  is_oh = name.startswith("oh_")
  return columns_lib.Column(
    name,
    table="",
    unit="dex" if is_oh else "",
    description=text if text and unit == "dex" else feature.doc.desc,
    valid=columns_lib.BY_NAME["oh_p50"].valid if is_oh else (-100.0, 100.0),
  )


def write(folder: pathlib.Path, info: Info) -> None:
  """Writes a description into the folder of a built sample."""
  files.write_json(folder / FILE, as_json(info))


def as_json(info: Info) -> dict:
  """Returns a description as JSON; `parse` inverts it."""
  columns = [
    {
      "name": column.name,
      "unit": column.unit,
      "description": column.description,
      "valid": list(column.valid),
      "dtype": np.dtype(column.dtype).name,
    }
    for column in info.columns
  ]
  content = dataclasses.asdict(info)
  return {**content, "columns": columns, "bands": list(info.bands)}


def read(folder: pathlib.Path) -> Info:
  """Returns the description of any built sample.

  Args:
    folder: `data_dir`/sdss_metallicity/NAME/VERSION. A sample that was built
      before this file existed is one of the project's own.

  Raises:
    DamagedFileError: if the file is not as it was written.
  """
  remedy = f"Delete {folder} and build again."
  try:
    content = files.read_json(folder / FILE, remedy, needs_digest=True)
  except FileNotFoundError:
    builder = features_lib.open_builder(folder)
    return of_project(folder.parent.name, builder.info.features)
  try:
    return parse(content)
  # Whatever a changed file may hold.
  except (TypeError, ValueError, KeyError, AttributeError) as error:
    raise files.DamagedFileError(
      f"{folder / FILE} is damaged: {type(error).__name__} {error}. {remedy}"
    ) from error


def parse(content: dict) -> Info:
  """Returns the description of `as_json`.

  Raises:
    TypeError, ValueError, KeyError, AttributeError: for other content.
  """
  found = tuple(
    columns_lib.Column(
      column["name"],
      table="",
      unit=column["unit"],
      description=column["description"],
      valid=_range(*column["valid"]),
      dtype=np.dtype(column["dtype"]).type,
    )
    for column in content["columns"]
  )
  bands = tuple(content["bands"])
  info = Info(**{**content, "columns": found, "bands": bands})
  if info.label not in info.by_name:
    raise ValueError(f"no column {info.label}")
  return info


def _range(low: float, high: float) -> tuple[float, float]:
  if not -math.inf < low < high < math.inf:  # TypeError for texts
    raise ValueError(f"a range from {low} to {high}")
  # An integer keeps its digits.
  return low, high
