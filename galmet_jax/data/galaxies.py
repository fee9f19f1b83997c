"""TFDS data source -> decoded arrays -> the order in which steps see them."""

from collections.abc import Mapping
import concurrent.futures
import dataclasses
import pathlib

import ml_collections
import numpy as np
import tensorflow_datasets as tfds

from galmet_jax.data import decoded
from tfds_sdss import catalog
from tfds_sdss import images
from tfds_sdss import records
from tfds_sdss.errors import DataError


@dataclasses.dataclass(frozen=True)
class Split:
  """One split, decoded, in order of objid.

  Attributes:
    objid: int64 `[N]`; kept out of JAX, which would cut it to 32 bits.
    images: uint8 `[N, S, S, 3]`; not to be written to.
    targets: float32 `[N, T]`, in the order of `data.targets`; NaN where SDSS
      has no value, never in the first.
    columns: the catalogue's columns, targets included, float32 `[N]` each; NaN
      where SDSS has no value.
  """

  objid: np.ndarray
  images: np.ndarray
  targets: np.ndarray
  columns: Mapping[str, np.ndarray]

  def __len__(self) -> int:
    return len(self.objid)


def load(
  builder: tfds.core.DatasetBuilder,
  config: ml_collections.ConfigDict,
  cache: pathlib.Path | None = None,
) -> dict[str, Split]:
  """Reads and decodes the splits train, validation and test.

  Args:
    builder: the prepared data set.
    config: the `data` block: `targets` and `crop`.
    cache: where the decoded splits are kept, see `caches.directory`; None for
      nowhere.

  Returns:
    The splits by name.

  Raises:
    DataError: for a split without examples, a damaged file, a target
      the set lacks, a label that is no number in range, an image that does not
      decode, images smaller than the crop, or an objid that occurs twice.
  """
  folder = decoded.folder(cache, builder) if cache else None
  kept = decoded.read(folder) if folder else None
  splits = {
    name: _load_split(builder, name, config, kept[name] if kept else None)
    for name in decoded.SPLITS
  }
  if folder and not kept:
    decoded.write(
      folder,
      {
        name: decoded.Galaxies(split.objid, split.images, split.columns)
        for name, split in splits.items()
      },
    )
  return splits


def _load_split(
  builder: tfds.core.DatasetBuilder,
  name: str,
  config: ml_collections.ConfigDict,
  kept: decoded.Galaxies | None,
) -> Split:
  if kept:
    objid, columns = kept.objid, kept.columns
  else:
    objid, columns, jpegs = _read(builder, name)
  if not len(objid):
    raise DataError(
      f"Split {name!r} of {builder.info.full_name} holds no example; expected "
      f"at least one. Check it: {_verify(builder)}"
    )
  missing = set(config.targets) - set(columns)
  if missing:
    raise DataError(
      f"{builder.info.full_name} has no target {sorted(missing)}; expected "
      f"some of {sorted(columns)}."
    )
  repeated = objid[1:][objid[1:] == objid[:-1]]
  if len(repeated):
    raise DataError(f"objid {repeated[0]} occurs twice in split {name!r}.")
  targets = np.stack([columns[target] for target in config.targets], axis=1)
  _check_labels(objid, targets, config.targets)
  size = builder.info.features["image"].shape[0]
  # An odd difference would shift every view by half a pixel, and blur it.
  if size < config.crop or (size - config.crop) % 2:
    raise DataError(
      f"The images of {builder.info.full_name} are {size}×{size}, from which "
      f"data.crop={config.crop} cannot be cut; expected at most {size} and an "
      "even number less. Change --config.data.crop."
    )
  pixels = kept.images if kept else _decode(objid, jpegs, size)
  return Split(objid, pixels, targets, columns)


def _read(
  builder: tfds.core.DatasetBuilder, name: str
) -> tuple[np.ndarray, dict[str, np.ndarray], list[bytes]]:
  """Returns a split's objids in order, its columns and its JPEG images.

  Raises:
    DataError: if a record is damaged.
  """
  fields = records.layout(builder.info.features)
  jpegs: list[bytes] = []
  # Float32 would keep 7 of specobjid's 18 digits; no model reads it.
  lists: dict[str, list] = {
    column: [] for column in fields if column not in ("image", "specobjid")
  }
  for batch in records.read(builder, name):
    for error in batch.faults.values():
      raise DataError(
        f"{batch.path} is damaged ({error}). Check the set: {_verify(builder)}"
      )
    for record in batch.records:
      example = records.decode(fields, record)
      jpegs.append(example["image"])
      for column, values in lists.items():
        values.append(example[column])
  objid = np.array(lists.pop("objid"), np.int64)
  order = np.argsort(objid, kind="stable")
  columns = {
    column: np.array(lists[column], np.float32)[order]
    for column in sorted(lists)
  }
  return objid[order], columns, [jpegs[row] for row in order]


def _decode(objid: np.ndarray, jpegs: list[bytes], size: int) -> np.ndarray:
  """Returns the images, uint8 `[N, size, size, 3]`.

  Raises:
    DataError: if one does not decode.
  """
  pixels = np.empty((len(objid), size, size, 3), np.uint8)

  def decode(start: int) -> None:
    for row in range(start, min(start + records.BATCH, len(objid))):
      images.decode(int(objid[row]), jpegs[row], size, pixels[row])

  with concurrent.futures.ThreadPoolExecutor() as pool:
    # list() raises what a thread has raised.
    list(pool.map(decode, range(0, len(objid), records.BATCH)))
  return pixels


def _verify(builder: tfds.core.DatasetBuilder) -> str:
  """Returns the command that checks the data set."""
  return (
    f"python -m tfds_sdss verify {builder.info.name}/"
    f"{builder.builder_config.name}"
  )


def _check_labels(
  objid: np.ndarray, targets: np.ndarray, names: tuple[str, ...]
) -> None:
  for column, name in enumerate(names):
    low, high = (
      catalog.LABEL_RANGE if name.startswith("oh_") else (-100.0, 100.0)
    )
    values = targets[:, column]
    bad = ~((values >= low) & (values <= high))  # True for NaN too.
    # The sample is of galaxies with the first target; others may be missing.
    if column > 0 and not np.isnan(values).all():
      bad &= ~np.isnan(values)
    if bad.any():
      first = int(np.flatnonzero(bad)[0])
      raise DataError(
        f"{name} of objid {objid[first]} is {values[first]}; expected a "
        f"number between {low:g} and {high:g} ({bad.sum()} such labels). "
        "Mend the catalogue and build the data set again."
      )
