"""Options of a sample of one's own, as the user gives them."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import math
import pathlib
import re

from tfds_sdss import catalog
from tfds_sdss import columns
from tfds_sdss.errors import DataError

ROLES = ("id", "image")
_RESERVED = frozenset(("objid", "fold", *columns.DERIVED, *columns.CUSTOM))
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


@dataclasses.dataclass(frozen=True)
class Request:
  """A sample that a user asks for.

  Attributes:
    catalog: table of galaxies, see `user_tables.read`.
    images: folder of the images.
    columns: column of the table by name in the sample; `id` and `image` are
      required, and at least one column to predict, the first of them by
      default.
    bands: bands of the images' R, G and B.
    pixel_scale: size of a pixel, arcsec.
    field_r90: width of an image in petroR90_r of its galaxy. Either this or
      `pixel_scale` is given.
    ranges: smallest and largest valid value by name in the sample.
  """

  catalog: pathlib.Path
  images: pathlib.Path
  columns: Mapping[str, str]
  bands: tuple[str, ...]
  pixel_scale: float | None = None
  field_r90: float | None = None
  ranges: Mapping[str, tuple[float, float]] = dataclasses.field(
    default_factory=dict
  )

  def __post_init__(self):
    names = [name for name in self.columns if name not in ROLES]
    labels = [name for name in names if name not in ("ra", "dec")]
    for name in names:
      if not _NAME.fullmatch(name) or name in _RESERVED:
        raise DataError(
          f"--columns: {name!r} cannot be the name of a column. Expected "
          "letters, digits and _, beginning with a letter, and none of "
          f"{', '.join(sorted(_RESERVED))}."
        )
    if not set(self.columns) >= set(ROLES) or not labels:
      raise DataError(
        "--columns: expected id, image and at least one column to predict, "
        "such as id=NAME,image=FILE,oh_p50=LABEL, found "
        f"{', '.join(self.columns) or 'none'}."
      )
    if ("ra" in names) != ("dec" in names):
      raise DataError("--columns: expected both ra and dec, or neither.")
    unknown = sorted(set(self.ranges) - set(names))
    if unknown:
      raise DataError(
        f"--ranges: {', '.join(unknown)} is not in --columns, which has "
        f"{', '.join(names)}."
      )
    if len(self.bands) != 3 or not all(self.bands):
      raise DataError(
        "--bands: expected the bands of the images' red, green and blue, such "
        f"as i,r,g, found {','.join(self.bands) or 'none'}."
      )
    scales = [s for s in (self.pixel_scale, self.field_r90) if s is not None]
    if len(scales) != 1 or not 0 < scales[0] < math.inf:
      raise DataError(
        "expected one positive number, either --pixel_scale in arcsec or "
        "--field_r90, the width of the images in petroR90_r, found "
        f"{', '.join(f'{scale:g}' for scale in scales) or 'none'}."
      )

  @property
  def label(self) -> str:
    """Name of the column that is predicted by default."""
    skipped = (*ROLES, "ra", "dec")
    return next(name for name in self.columns if name not in skipped)


def parse_ranges(text: str) -> dict[str, tuple[float, float]]:
  """Parses `mass=7:12,sfr=-4:3`: {name: (low, high)}.

  Raises:
    DataError: for anything else.
  """
  found = {}
  for part in text.split(",") if text else ():
    name, _, limits = (item.strip() for item in part.partition("="))
    try:
      low, high = (catalog.parse_number(limit) for limit in limits.split(":"))
      if not (
        name and low < high and high - low < math.inf and name not in found
      ):
        raise ValueError
    except ValueError:
      raise DataError(
        "--ranges: expected NAME=LOW:HIGH, such as mass=7:12, each name once "
        f"and separated by commas, found {part!r}."
      ) from None
    found[name] = (low, high)
  return found
