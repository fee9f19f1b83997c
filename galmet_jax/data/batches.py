"""The order in which steps see the galaxies: a function of (seed, epoch)."""

import functools

import numpy as np

from tfds_sdss.errors import DataError


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
  """Returns how many whole batches an epoch has.

  The rest of a permutation is dropped, a different one each epoch, so that
  one compiled shape serves all steps.

  Raises:
    DataError: if there is no whole batch.
  """
  if num_examples < batch_size:
    raise DataError(
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
  start = position * batch_size
  order = _order(seed, epoch, num_examples)
  return order[start : start + batch_size].astype(np.int32)


# Made anew for every step it would cost the square of the examples. Two: what
# reads ahead is in the next epoch before this one has ended.
@functools.lru_cache(maxsize=2)
def _order(seed: int, epoch: int, num_examples: int) -> np.ndarray:
  """Returns the order of an epoch, int64 `[N]`; not to be written to."""
  return np.random.default_rng((seed, epoch)).permutation(num_examples)


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
