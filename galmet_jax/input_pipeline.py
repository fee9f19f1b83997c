"""TFDS data source -> decoded arrays -> the order in which steps see them."""

from collections.abc import Mapping
import concurrent.futures
import dataclasses

import ml_collections
import numpy as np
import tensorflow_datasets as tfds

from tfds_sdss import catalog
from tfds_sdss import images


@dataclasses.dataclass(frozen=True)
class Split:
  """One split, decoded, in order of objid.

  Attributes:
    objid: int64 `[N]`; kept out of JAX, which would cut it to 32 bits.
    images: uint8 `[N, S, S, 3]`.
    targets: float32 `[N, T]`, in the order of `data.targets`.
    columns: the catalogue's columns, targets included, float32 `[N]` each.
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
    config: the `data` block: `targets` and `crop`.

  Returns:
    The splits by name.

  Raises:
    catalog.DataError: for a split without examples, a target the set lacks, a
      label that is no number in range, an image that does not decode, images
      smaller than the crop, or an objid that occurs twice.
  """
  return {
    name: _load_split(builder, name, config)
    for name in ("train", "validation", "test")
  }


def _load_split(
  builder: tfds.core.DatasetBuilder,
  name: str,
  config: ml_collections.ConfigDict,
) -> Split:
  source = builder.as_data_source(
    split=name, decoders={"image": tfds.decode.SkipDecoding()}
  )
  if not len(source):
    raise catalog.DataError(
      f"Split {name!r} of {builder.info.full_name} holds no example; expected "
      f"at least one. Check it: python -m tfds_sdss verify "
      f"{builder.info.name}/{builder.builder_config.name}"
    )
  examples = sorted(source, key=lambda example: example["objid"])
  missing = set(config.targets) - set(examples[0])
  if missing:
    raise catalog.DataError(
      f"{builder.info.full_name} has no target {sorted(missing)}; expected "
      f"some of {sorted(set(examples[0]) - {'image', 'objid'})}."
    )
  objid = np.array([example["objid"] for example in examples], np.int64)
  repeated = objid[1:][objid[1:] == objid[:-1]]
  if len(repeated):
    raise catalog.DataError(
      f"objid {repeated[0]} occurs twice in split {name!r}."
    )
  targets = np.array(
    [[example[target] for target in config.targets] for example in examples],
    np.float32,
  )
  _check_labels(objid, targets, config.targets)
  others = set(examples[0]) - {"image", "objid"}
  columns = {
    column: np.array([example[column] for example in examples], np.float32)
    for column in sorted(others)
  }
  size = builder.info.features["image"].shape[0]
  # An odd difference would shift every view by half a pixel, and blur it.
  if size < config.crop or (size - config.crop) % 2:
    raise catalog.DataError(
      f"The images of {builder.info.full_name} are {size}×{size}, from which "
      f"data.crop={config.crop} cannot be cut; expected at most {size} and an "
      "even number less. Change --config.data.crop."
    )
  with concurrent.futures.ThreadPoolExecutor() as pool:
    pixels = pool.map(
      lambda example: images.decode(example["objid"], example["image"], size),
      examples,
    )
    return Split(objid, np.stack(list(pixels)), targets, columns)


def _check_labels(
  objid: np.ndarray, targets: np.ndarray, names: tuple[str, ...]
) -> None:
  for column, name in enumerate(names):
    low, high = (
      catalog.LABEL_RANGE if name.startswith("oh_") else (-100.0, 100.0)
    )
    values = targets[:, column]
    bad = ~((values >= low) & (values <= high))  # True for NaN too.
    if bad.any():
      first = int(np.flatnonzero(bad)[0])
      raise catalog.DataError(
        f"{name} of objid {objid[first]} is {values[first]}; expected a "
        f"number between {low:g} and {high:g} ({bad.sum()} such labels). "
        "Mend the catalogue and build the data set again."
      )


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
  """Returns how many whole batches an epoch has.

  The rest of a permutation is dropped, a different one each epoch, so that
  one compiled shape serves all steps.

  Raises:
    catalog.DataError: if there is no whole batch.
  """
  if num_examples < batch_size:
    raise catalog.DataError(
      f"The training split has {num_examples} examples; expected at least "
      f"train.batch_size={batch_size}. Lower --config.train.batch_size."
    )
  return num_examples // batch_size


def batch_indices(
  seed: int, step: int, num_examples: int, batch_size: int
) -> np.ndarray:
  """Returns the examples of a training step, int32 `[batch_size]`.

  A function of its arguments alone: a resumed run needs no loader state.
  """
  epoch, position = divmod(step, steps_per_epoch(num_examples, batch_size))
  order = np.random.default_rng((seed, epoch)).permutation(num_examples)
  start = position * batch_size
  return order[start : start + batch_size].astype(np.int32)


def evaluation_batches(
  num_examples: int, batch_size: int
) -> list[tuple[np.ndarray, int]]:
  """Deals a split into batches of one shape, each example once.

  Returns:
    (indices int32 `[batch_size]`, number of them that count) pairs; the last
    batch is padded with its first example.
  """
  batches = []
  for start in range(0, num_examples, batch_size):
    indices = np.arange(start, min(start + batch_size, num_examples))
    padded = np.full(batch_size, start, np.int32)
    padded[: len(indices)] = indices
    batches.append((padded, len(indices)))
  return batches
