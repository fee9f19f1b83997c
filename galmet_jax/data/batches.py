"""Order of the galaxies in training and evaluation batches."""

import functools

import numpy as np

from galmet_jax import errors


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
  """Returns the number of whole batches in an epoch.

  The rest of a permutation is dropped, a different one each epoch, so that
  all steps share one compiled shape.

  Raises:
    ConfigError: if the batch is larger than the split.
  """
  if num_examples < batch_size:
    raise errors.ConfigError(
      f"train.batch_size is {batch_size}; expected at most {num_examples}, the "
      "number of training galaxies. Lower --config.train.batch_size."
    )
  return num_examples // batch_size


def batch_indices(
  seed: int, step: int, num_examples: int, batch_size: int
) -> np.ndarray:
  """Returns the galaxies of a training step, int32 `[batch_size]`.

  The result depends on the arguments alone, so that a run resumes without a
  saved loader state.
  """
  epoch, position = divmod(step, steps_per_epoch(num_examples, batch_size))
  start = position * batch_size
  order = _order(seed, epoch, num_examples)
  return order[start : start + batch_size].astype(np.int32)


# Cached, because a permutation per step makes an epoch quadratic in the number
# of galaxies. Two entries, because prefetching crosses epochs.
@functools.lru_cache(maxsize=2)
def _order(seed: int, epoch: int, num_examples: int) -> np.ndarray:
  """Returns the order of an epoch, int64 `[N]`; shared, so read-only."""
  return np.random.default_rng((seed, epoch)).permutation(num_examples)


def evaluation_batches(
  num_examples: int, batch_size: int
) -> list[tuple[np.ndarray, int]]:
  """Divides a split into batches of one shape, each galaxy once, in order.

  Returns:
    Pairs of indices, int32 `[batch_size]`, and the number of them to count:
    the last batch is padded with its first galaxy.
  """
  batches = []
  for start in range(0, num_examples, batch_size):
    count = min(batch_size, num_examples - start)
    indices = np.full(batch_size, start, np.int32)
    indices[:count] += np.arange(count, dtype=np.int32)
    batches.append((indices, count))
  return batches
