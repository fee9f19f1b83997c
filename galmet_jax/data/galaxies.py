"""Reads a TFDS data set into arrays in memory."""

from collections.abc import Mapping
import concurrent.futures
import dataclasses
import os
import pathlib

import ml_collections
import numpy as np
import tensorflow_datasets as tfds

from galmet_jax import errors
from tfds_sdss import columns as columns_lib
from tfds_sdss import images
from tfds_sdss import records
from tfds_sdss import sample_info
from tfds_sdss import splits
from tfds_sdss.errors import DataError

# A fold out of range has an error of its own.
_FOLD = columns_lib.Column("fold", "", "", "0 to 9, by a hash", (-100.0, 100.0))
# Features that are not columns. A float32 keeps only 7 of the 18 digits of an
# identifier.
_IDS = ("objid", "specobjid", "dr7objid")
_NO_COLUMNS = ("image", "id", *_IDS)


@dataclasses.dataclass(frozen=True)
class Split:
  """The galaxies of one split, in order of objid.

  Attributes:
    objid: SDSS objIDs, int64 `[N]`. NumPy only: JAX would cut them to 32 bits.
    images: pixels, uint8 `[N, S, S, 3]`.
    targets: the columns in `data.targets`, float32 `[N, T]`; NaN where a value
      is missing or out of range, except in the first.
    columns: all columns of the catalogue, targets included, float32 `[N]`
      each; NaN where a value is missing or out of range.
  """

  objid: np.ndarray
  images: np.ndarray
  targets: np.ndarray
  columns: Mapping[str, np.ndarray]

  def __len__(self) -> int:
    return len(self.objid)


def load(
  builder: tfds.core.DatasetBuilder, config: ml_collections.ConfigDict
) -> dict[str, Split]:
  """Reads and decodes the splits train, validation and test.

  Args:
    builder: the prepared data set.
    config: the `data` block, with `targets` and `crop`.

  Returns:
    The splits by name.

  Raises:
    ConfigError: if the data set lacks a target, or its images do not fit the
      crop.
    DataError: if a split is empty, a file is damaged, an image does not
      decode, a label is missing or out of range, an objid occurs twice, or a
      split is not complete.
  """
  _check_config(builder, config)
  info = sample_info.read(pathlib.Path(builder.data_dir))
  loaded = {
    name: _load_split(builder, info, name, config.targets)
    for name in splits.SPLIT_PARTS
  }
  objid = np.concatenate([split.objid for split in loaded.values()])
  ids, counts = np.unique(objid, return_counts=True)
  if len(ids) < len(objid):
    raise DataError(
      f"objid {ids[counts > 1][0]} is in two splits of "
      f"{builder.info.full_name} ({len(objid) - len(ids)} such galaxies). "
      f"Check the data set: {verify_command(builder)}"
    )
  return loaded


def _check_config(
  builder: tfds.core.DatasetBuilder, config: ml_collections.ConfigDict
) -> None:
  features = builder.info.features
  columns = sorted(set(features) - set(_NO_COLUMNS))
  missing = sorted(set(config.targets) - set(columns))
  if missing:
    raise errors.ConfigError(
      f"{builder.info.full_name} has no target {missing}; expected some of "
      f"{columns}. Change --config.data.targets."
    )
  size = features["image"].shape[0]
  # An odd difference would shift and blur every view by half a pixel.
  if size < config.crop or (size - config.crop) % 2:
    raise errors.ConfigError(
      f"data.crop is {config.crop}; expected at most {size}, the image size of "
      f"{builder.info.full_name}, and smaller by an even number. Change "
      "--config.data.crop."
    )


def with_targets(split: Split, targets: tuple[str, ...]) -> Split:
  """Returns a split with other columns as its targets."""
  return dataclasses.replace(split, targets=_stack(split.columns, targets))


def _stack(
  columns: Mapping[str, np.ndarray], targets: tuple[str, ...]
) -> np.ndarray:
  return np.stack([columns[target] for target in targets], axis=1)


def _load_split(
  builder: tfds.core.DatasetBuilder,
  info: sample_info.Info,
  name: str,
  targets: tuple[str, ...],
) -> Split:
  objid, columns, jpegs = read_split(builder, name)
  repeated = objid[1:][objid[1:] == objid[:-1]]
  if len(repeated):
    raise DataError(
      f"objid {repeated[0]} occurs twice in split {name!r}. Check the data "
      f"set: {verify_command(builder)}"
    )
  described = info.by_name | {"fold": _FOLD}
  undescribed = sorted(set(columns) - set(described))
  if undescribed:
    raise DataError(
      f"{builder.info.full_name}: {sample_info.FILE} does not describe "
      f"{', '.join(undescribed)}. Delete the data set and build it again."
    )
  _check_first_target(objid, columns[targets[0]], described[targets[0]])
  columns = {
    column: np.where(
      columns_lib.is_valid(described[column], values),
      values,
      np.float32(np.nan),
    )
    for column, values in columns.items()
  }
  stacked = _stack(columns, targets)
  for target, values in zip(targets, stacked.T, strict=True):
    if np.isnan(values).all():
      raise DataError(
        f"Split {name!r} of {builder.info.full_name} has no {target} in its "
        "valid range; expected at least one. Change --config.data.targets, or "
        "correct the catalogue and build the data set again."
      )
  return Split(objid, _decode(objid, jpegs, info), stacked, columns)


def read_split(
  builder: tfds.core.DatasetBuilder, name: str
) -> tuple[np.ndarray, dict[str, np.ndarray], list[bytes]]:
  """Returns the objids of a split in order, its columns and its JPEGs."""
  layout = records.layout(builder.info.features)
  for name_of_id in ("id", *_IDS[1:]):
    layout.pop(name_of_id, None)
  names = sorted(set(layout) - set(_NO_COLUMNS))
  objids: list[int] = []
  jpegs: list[bytes] = []
  tables: list[np.ndarray] = []
  for batch in records.read(builder, name):
    for error in batch.faults.values():
      raise DataError(
        f"{batch.path} is damaged ({error}). Check the data set: "
        f"{verify_command(builder)}"
      )
    examples = [records.decode(layout, record) for record in batch.records]
    objids += [example["objid"] for example in examples]
    jpegs += [example["image"] for example in examples]
    rows = [[example[column] for column in names] for example in examples]
    tables.append(np.array(rows, np.float32))
  if not objids:
    raise DataError(
      f"Split {name!r} of {builder.info.full_name} is empty; expected at least "
      f"one galaxy. Check the data set: {verify_command(builder)}"
    )
  expected = builder.info.splits[name].num_examples
  if len(objids) != expected:
    raise DataError(
      f"Split {name!r} of {builder.info.full_name} has {len(objids)} galaxies; "
      f"expected {expected}. Check the data set: {verify_command(builder)}"
    )
  objid = np.array(objids, np.int64)
  order = np.argsort(objid, kind="stable")
  columns = np.concatenate(tables)[order].T.copy()
  return (
    objid[order],
    dict(zip(names, columns, strict=True)),
    [jpegs[row] for row in order],
  )


def _decode(
  objid: np.ndarray, jpegs: list[bytes], info: sample_info.Info
) -> np.ndarray:
  """Returns the pixels of images, uint8 `[N, size, size, 3]`."""
  size = info.image_size
  pixels = np.empty((len(objid), size, size, 3), np.uint8)

  def decode(start: int) -> None:
    for row in range(start, min(start + records.BATCH, len(objid))):
      images.decode(
        int(objid[row]), jpegs[row], size, pixels[row], png=info.png
      )

  # Threads run in parallel only while they decode, without Python's global
  # lock. Parsing holds it: parsing here, too, would slow all threads down.
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    # list() raises the errors of the threads.
    list(pool.map(decode, range(0, len(objid), records.BATCH)))
  return pixels


def verify_command(builder: tfds.core.DatasetBuilder) -> str:
  """Returns the command that checks a data set."""
  return (
    f"python -m tfds_sdss verify {builder.info.name}/"
    f"{builder.builder_config.name}"
  )


def _check_first_target(
  objid: np.ndarray, values: np.ndarray, column: columns_lib.Column
) -> None:
  """Raises DataError if a label is missing or out of range."""
  bad = ~columns_lib.is_valid(column, values)
  if bad.any():
    first = int(np.flatnonzero(bad)[0])
    low, high = column.valid
    raise DataError(
      f"{column.name} of objid {objid[first]} is {values[first]}; expected a "
      f"number between {low:g} and {high:g} ({bad.sum()} such labels). "
      "Correct the catalogue and build the data set again, or make another "
      "column the first of --config.data.targets."
    )
