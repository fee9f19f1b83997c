"""Order of the galaxies in batches."""

import numpy as np
import pytest

from galmet_jax import errors
from galmet_jax.data import batches


def epoch_of(seed, epoch, num_examples=23, batch_size=5):
  steps = num_examples // batch_size
  return [
    batches.batch_indices(seed, epoch * steps + i, num_examples, batch_size)
    for i in range(steps)
  ]


def test_epoch_has_no_galaxy_twice():
  for epoch in range(3):
    batches = epoch_of(0, epoch)
    assert all(b.shape == (5,) and b.dtype == np.int32 for b in batches)
    seen = np.concatenate(batches)
    # The remainder of three is dropped.
    assert len(seen) == len(set(seen.tolist())) == 20
    assert seen.min() >= 0
    assert seen.max() < 23


def test_epoch_without_remainder_is_a_permutation():
  seen = np.concatenate(epoch_of(0, 0, num_examples=20))
  np.testing.assert_array_equal(np.sort(seen), np.arange(20))
  assert (seen != np.arange(20)).any()


def test_order_is_a_function_of_seed_and_epoch():
  orders = {
    tuple(np.concatenate(epoch_of(seed, epoch)).tolist())
    for _ in range(2)
    for seed in (0, 1)
    for epoch in range(4)
  }
  assert len(orders) == 8


def test_dropped_remainder_differs_between_epochs():
  dropped = {
    frozenset(range(23)) - {*np.concatenate(epoch_of(0, epoch)).tolist()}
    for epoch in range(5)
  }
  assert len(dropped) > 1
  assert all(len(rest) == 3 for rest in dropped)


def test_steps_per_epoch_drop_the_remainder():
  assert batches.steps_per_epoch(23, 5) == 4
  assert batches.steps_per_epoch(5, 5) == 1
  with pytest.raises(
    errors.ConfigError, match=r"train.batch_size is 5; expected at most 4,"
  ):
    batches.steps_per_epoch(4, 5)


@pytest.mark.parametrize("num_examples", [1, 4, 7, 8])
def test_evaluation_batches_have_each_galaxy_once(num_examples):
  order = batches.evaluation_batches(num_examples, 4)
  assert len(order) == -(-num_examples // 4)
  assert all(indices.shape == (4,) for indices, _ in order)
  counted = np.concatenate([indices[:count] for indices, count in order])
  np.testing.assert_array_equal(counted, np.arange(num_examples))
  assert max(indices.max() for indices, _ in order) < num_examples


def test_order_is_drawn_once_per_epoch(monkeypatch):
  drawn = []
  rng = np.random.default_rng

  def count(seed):
    drawn.append(seed)
    return rng(seed)

  monkeypatch.setattr(np.random, "default_rng", count)
  found = []
  for step in (*range(8), 4):
    batch = batches.batch_indices(7_654_321, step, 21, 5)
    found.append(batch.copy())
    batch[:] = 0  # must not change the cached order
  np.testing.assert_array_equal(found.pop(), found[4])
  assert drawn == [(7_654_321, 0), (7_654_321, 1)]
  for epoch in range(2):
    order = rng((7_654_321, epoch)).permutation(21)[:20]
    np.testing.assert_array_equal(
      np.concatenate(found[4 * epoch : 4 * epoch + 4]), order
    )
