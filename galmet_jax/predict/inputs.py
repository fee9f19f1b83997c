"""The galaxies to predict: a table, a folder of images, or a TFDS split."""

from collections.abc import Sequence
import concurrent.futures
import dataclasses
import os
import pathlib
from typing import Any

from astropy import units
from astropy.table import Table
import numpy as np

from galmet_jax import errors
from galmet_jax.data import galaxies
from galmet_jax.predict import angles
from galmet_jax.predict.flags import Flag
from tfds_sdss import build
from tfds_sdss import catalog
from tfds_sdss import images as images_lib
from tfds_sdss import sample_info
from tfds_sdss.errors import DataError
from tfds_sdss.own import image_files
from tfds_sdss.own import user_tables

# Columns that have a role without `--columns`.
_USUAL = {
  "id": ("id", "objid", "name", "source_id"),
  "image": ("image", "file", "filename"),
  "ra": ("ra", "raj2000"),
  "dec": ("dec", "decj2000"),
  "radius": ("petroR90_r", "radius"),
}
# Galaxies whose images are in memory at a time.
CHUNK = 1024
_SUFFIXES = (".jpg", ".jpeg", ".png")
# Radii of galaxies in arcsec are smaller: these are pixels.
_LARGEST_RADIUS = 60.0


@dataclasses.dataclass
class Rows:
  """The galaxies, without their pixels.

  Attributes:
    table: the input's columns, N rows.
    ids: int64 `[N]`, -1 where unknown.
    positions: ra and dec, degrees, float64 `[N, 2]`, NaN where unknown.
    radius: petroR90_r, arcsec, float64 `[N]`, or None.
    files: path of each image, empty where unknown; None if in `data`.
    flags: known flags, int32 `[N]`.
    names: for people: the id or else the name of the file, `[N]`; empty where
      unknown.
    data: bytes of each image, or None.
    extra: further columns of the output, `[N]` each.
  """

  table: Table
  ids: np.ndarray
  positions: np.ndarray
  radius: np.ndarray | None
  files: list[str] | None
  flags: np.ndarray
  names: list[str] = dataclasses.field(default_factory=list)
  data: list[bytes] | None = None
  extra: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

  def __len__(self) -> int:
    return len(self.ids)

  def read(
    self, rows: Sequence[int] | np.ndarray, size: int
  ) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Decodes the images of some rows.

    Args:
      rows: numbers of n rows.
      size: width and height of the images, pixels.

    Returns:
      Images, uint8 `[n, size, size, 3]`, zero where there is none; their flags,
      int32 `[n]`; and what was found instead of an image, by place in `rows`.
    """
    pixels = np.zeros((len(rows), size, size, 3), np.uint8)
    flags = self.flags[rows]
    details: dict[int, str] = {}

    def decode(i: int) -> None:
      data = self._bytes(rows[i])
      if not data:
        if not flags[i]:
          flags[i] |= Flag.NO_IMAGE
        return
      try:
        pixels[i] = images_lib.decode(0, data, size, png=True)
      except images_lib.ImageError as error:
        flags[i] |= Flag.BAD_IMAGE
        details[i] = error.found

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
      list(pool.map(decode, range(len(rows))))
    return pixels, flags, dict(sorted(details.items()))

  def _bytes(self, row: int) -> bytes:
    if self.data is not None:
      return self.data[row]
    path = self.files[row] if self.files else ""
    try:
      return pathlib.Path(path).read_bytes() if path else b""
    except OSError:
      return b""


def read(
  source: str,
  columns: str,
  folder: str,
  data_dir: str | None,
  *,
  needs_images: bool,
) -> Rows:
  """Reads the galaxies.

  Args:
    source: a table, a folder of images, or `tfds:NAME:SPLIT`.
    columns: `ROLE=COLUMN,...` with the roles id, image, ra, dec and radius;
      usual names are found without.
    folder: folder of the images of a table; empty: that of the table.
    data_dir: data directory of TFDS.
    needs_images: whether the images must be files.

  Raises:
    DataError: if the input cannot be read, or a column is absent or invalid.
    ConfigError: if the images' place is unknown.
    DatasetNotBuiltError: if the TFDS data set is absent.
  """
  if source.startswith("tfds:"):
    return _read_split(source, data_dir)
  path = pathlib.Path(source).expanduser().absolute()
  if path.is_dir():
    return _read_folder(path)
  table = user_tables.read(path)
  try:
    return read_table(table, columns, folder, needs_images=needs_images)
  except DataError as error:
    raise type(error)(f"{path}: {error}") from None


def _read_split(source: str, data_dir: str | None) -> Rows:
  _, name, split = [*source.split(":"), "", ""][:3]
  if split not in ("train", "validation", "test"):
    raise errors.ConfigError(
      f"--input={source}: expected tfds:NAME:SPLIT, such as "
      "tfds:sdss_metallicity/mock:test."
    )
  builder = build.load(name, data_dir)
  objid, columns, data = galaxies.read_split(builder, split)
  table = Table({"objid": objid, **columns})
  info = sample_info.read(pathlib.Path(builder.data_dir))
  for column in info.columns:
    if column.name in columns:
      found = table[column.name]
      found.description = column.description
      if column.unit:
        found.unit = units.Unit(column.unit, parse_strict="silent")
  number = len(objid)
  positions = np.full((number, 2), np.nan)
  if {"ra", "dec"} <= set(columns):
    positions = np.stack([columns["ra"], columns["dec"]], 1).astype(np.float64)
  flags = np.zeros(number, np.int32)
  names = list(map(str, objid.tolist()))
  return Rows(table, objid, positions, None, None, flags, names, data)


def _read_folder(path: pathlib.Path) -> Rows:
  files = sorted(
    each
    for each in path.iterdir()
    if each.suffix.lower() in _SUFFIXES and each.is_file()
  )
  if not files:
    raise DataError(
      f"{path}: expected images ({', '.join(_SUFFIXES)}), found none."
    )
  names = [each.name for each in files]
  ids = user_tables.numbers_of_ids([each.stem for each in files])
  number = len(files)
  return Rows(
    Table({"file": names}),
    ids,
    np.full((number, 2), np.nan),
    None,
    [str(each) for each in files],
    np.zeros(number, np.int32),
    names,
  )


def read_table(
  table: Table, columns: str, folder: str, *, needs_images: bool
) -> Rows:
  """Reads the galaxies of a table; see `read`."""
  role_of = _roles(table, columns)
  number = len(table)
  ids = np.full(number, -1, np.int64)
  texts = [""] * number
  if "id" in role_of:
    texts, ids = _ids(table, role_of["id"])
  positions = np.full((number, 2), np.nan)
  if {"ra", "dec"} <= set(role_of):
    positions = np.stack(
      [
        angles.degrees(table, role_of["ra"]),
        angles.degrees(table, role_of["dec"]),
      ],
      1,
    )
  flags = np.zeros(number, np.int32)
  rows = Rows(table, ids, positions, None, None, flags, texts)
  if not needs_images:
    _add_positions(rows, table, role_of)
    return rows
  if not folder and "image" not in role_of:
    raise errors.ConfigError(
      "the input has neither a column of image files nor positions to fetch. "
      "Give --images=FOLDER (files named by id, or --columns=image=COLUMN), or "
      "--fetch=dr17 --contact=MAIL for positions in SDSS."
    )
  names = texts
  if "image" in role_of:
    names = user_tables.texts(table, role_of["image"])
    rows.names = [text or name for text, name in zip(texts, names, strict=True)]
  elif "id" not in role_of:
    raise DataError(
      "expected a column of ids or image files, found "
      f"{', '.join(table.colnames[:10])}. Name it: --columns=image=COLUMN."
    )
  # Beam's workers have another working directory.
  root = pathlib.Path(folder or ".").expanduser().absolute()
  if not root.is_dir():
    raise errors.ConfigError(f"--images={root}: expected a folder, found none.")
  rows.files = [_locate(root, name) for name in names]
  return rows


def _locate(root: pathlib.Path, name: str) -> str:
  file = image_files.locate(root, name)
  return str(root / file) if file else ""


def _roles(table: Table, columns: str) -> dict[str, str]:
  """Returns the column of each role that the table has."""
  given = user_tables.parse_columns(columns) if columns else {}
  unknown = sorted(set(given) - set(_USUAL))
  if unknown:
    raise DataError(
      f"--columns: expected the roles {', '.join(_USUAL)}, found "
      f"{', '.join(unknown)}. Remove them: all columns are kept anyway."
    )
  found = {role: user_tables.find(table, name) for role, name in given.items()}
  lower = {name.lower(): name for name in reversed(table.colnames)}
  for role, names in _USUAL.items():
    for name in names:
      if role not in found and name.lower() in lower:
        found[role] = lower[name.lower()]
  return found


def _ids(table: Table, name: str) -> tuple[list[str], np.ndarray]:
  """Returns ids as text, and as integers, -1 where missing."""
  if table[name].dtype.kind == "f":
    values = user_tables.numbers(table, name)
    for value in values[np.isfinite(values)][:1]:
      catalog.parse_objid(str(value))  # its error says why
  texts = user_tables.texts(table, name)
  known = [row for row, text in enumerate(texts) if text]
  ids = np.full(len(texts), -1, np.int64)
  ids[known] = user_tables.numbers_of_ids([texts[row] for row in known])
  return texts, ids


def _add_positions(rows: Rows, table: Table, role_of: dict[str, Any]) -> None:
  if not {"ra", "dec"} <= set(role_of):
    raise DataError(
      "--fetch needs positions: expected the columns ra and dec, found "
      f"{', '.join(table.colnames[:10])}. Name them: --columns=ra=X,dec=Y."
    )
  if "radius" in role_of:
    rows.radius = user_tables.numbers(table, role_of["radius"])
    known = rows.radius[np.isfinite(rows.radius)]
    if len(known) and (known > _LARGEST_RADIUS).all():
      raise DataError(
        f"column {role_of['radius']}: expected petroR90_r in arcsec, found "
        f"{known.min():g} to {known.max():g}, probably pixels. Multiply by the "
        "pixel scale, or leave the column out to look the radii up."
      )
