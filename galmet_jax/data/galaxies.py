"""Reads a TFDS data set into arrays in memory."""

from collections.abc import Mapping
import concurrent.futures
import dataclasses
import os

import ml_collections
import numpy as np
import tensorflow_datasets as tfds

from galmet_jax import errors
from tfds_sdss import catalog
from tfds_sdss import images
from tfds_sdss import records
from tfds_sdss import splits
from tfds_sdss.errors import DataError

# Features that are not columns. A float32 keeps only 7 of the 18 digits of an
# identifier.
_NO_COLUMNS = ("image", "objid", "specobjid")


@dataclasses.dataclass(frozen=True)
class Split:
  """The galaxies of one split, in order of objid.

  Attributes:
    objid: SDSS objIDs, int64 `[N]`. NumPy only: JAX would cut them to 32 bits.
    images: pixels, uint8 `[N, S, S, 3]`.
    targets: the columns in `data.targets`, float32 `[N, T]`; NaN where SDSS has
      no value, except in the first.
    columns: all columns of the catalogue, targets included, float32 `[N]`
      each; NaN where SDSS has no value.
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
      decode, a label is missing or out of range, or an objid occurs twice.
  """
  _check_config(builder, config)
  return {
    name: _load_split(builder, name, config.targets)
    for name in splits.SPLIT_PARTS
  }


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


def _load_split(
  builder: tfds.core.DatasetBuilder, name: str, targets: tuple[str, ...]
) -> Split:
  serialized = _read(builder, name)
  if not serialized:
    raise DataError(
      f"Split {name!r} of {builder.info.full_name} is empty; expected at least "
      f"one galaxy. Check the data set: {_verify_command(builder)}"
    )
  objid, pixels, columns = _decode(builder.info.features, serialized)
  repeated = objid[1:][objid[1:] == objid[:-1]]
  if len(repeated):
    raise DataError(
      f"objid {repeated[0]} occurs twice in split {name!r}. Check the data "
      f"set: {_verify_command(builder)}"
    )
  split = Split(
    objid, pixels, np.stack([columns[t] for t in targets], axis=1), columns
  )
  _check_labels(split, targets)
  return split


def _read(builder: tfds.core.DatasetBuilder, name: str) -> list[bytes]:
  """Returns the serialized records of a split, in the order of the files."""
  serialized: list[bytes] = []
  for batch in records.read(builder, name):
    for error in batch.faults.values():
      raise DataError(
        f"{batch.path} is damaged ({error}). Check the data set: "
        f"{_verify_command(builder)}"
      )
    serialized += batch.records
  return serialized


def _decode(
  features: tfds.features.FeaturesDict, serialized: list[bytes]
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
  """Returns objids, images and columns, as in `Split`."""
  layout = records.layout(features)
  ids = {"objid": layout["objid"]}
  unsorted = [records.decode(ids, record)["objid"] for record in serialized]
  objid = np.array(unsorted, np.int64)
  order = np.argsort(objid, kind="stable")
  objid = objid[order]

  layout.pop("specobjid", None)
  names = sorted(set(layout) - set(_NO_COLUMNS))
  size = features["image"].shape[0]
  pixels = np.empty((len(objid), size, size, 3), np.uint8)
  table = np.empty((len(names), len(objid)), np.float32)

  def decode(start: int) -> None:
    for row in range(start, min(start + records.BATCH, len(objid))):
      example = records.decode(layout, serialized[order[row]])
      table[:, row] = [example[name] for name in names]
      images.decode(int(objid[row]), example["image"], size, pixels[row])

  # Decoding a JPEG releases Python's global lock, parsing a record holds it, so
  # more threads than cores only wait for it.
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    # list() raises what a thread has raised.
    list(pool.map(decode, range(0, len(objid), records.BATCH)))
  return objid, pixels, dict(zip(names, table, strict=True))


def _verify_command(builder: tfds.core.DatasetBuilder) -> str:
  return (
    f"python -m tfds_sdss verify {builder.info.name}/"
    f"{builder.builder_config.name}"
  )


def _check_labels(split: Split, names: tuple[str, ...]) -> None:
  """Raises DataError if a label is missing or out of range."""
  for name, values in zip(names, split.targets.T, strict=True):
    low, high = (
      catalog.LABEL_RANGE if name.startswith("oh_") else (-100.0, 100.0)
    )
    bad = ~((values >= low) & (values <= high))  # True for NaN too
    # Every galaxy has the first target. Others may have gaps, but not only.
    if name != names[0] and not np.isnan(values).all():
      bad &= ~np.isnan(values)
    if bad.any():
      first = int(np.flatnonzero(bad)[0])
      raise DataError(
        f"{name} of objid {split.objid[first]} is {values[first]}; expected a "
        f"number between {low:g} and {high:g} ({bad.sum()} such labels). "
        "Correct the catalogue and build the data set again."
      )
