"""Predictions of a split: every galaxy once, averaged over views."""

import collections
from collections.abc import Callable
from typing import Any

import jax
import ml_collections
import numpy as np
import tqdm

from galmet_jax.data import augment
from galmet_jax.data import batches
from galmet_jax.data import placement
from galmet_jax.devices import processes
from galmet_jax.devices import sharding
from galmet_jax.devices.cpu import xla
from galmet_jax.models import network

_IN_FLIGHT = 2


def make_eval_step(
  model: network.Network, frame: augment.Frame, mesh: jax.sharding.Mesh
) -> Callable:
  """Makes the jitted step: (variables, images, views) -> predictions.

  Args:
    model: the network.
    frame: what of an image the network sees.
    mesh: where the batch is laid out.

  Returns:
    A function of the variables, packed images `[B, S, S]` and B views that
    returns float32 `[B, T]`.
  """

  def eval_step(variables, images, views):
    pixels = augment.apply(images, views, frame)
    return model.apply(variables, pixels, train=False)

  everywhere, dealt = sharding.replicated(mesh), sharding.batch_sharding(mesh)
  return jax.jit(
    eval_step,
    in_shardings=(everywhere, dealt, dealt),
    out_shardings=everywhere,
    compiler_options=xla.compiler_options(mesh),
  )


def predict(
  eval_step: Callable,
  variables: Any,
  data: placement.Placement,
  config: ml_collections.ConfigDict,
  tta: str,
  progress: str | None = None,
) -> np.ndarray:
  """Predicts a split for each view of each galaxy.

  Args:
    eval_step: of `make_eval_step`.
    variables: the network's variables.
    data: a split of N galaxies.
    config: the whole config.
    tta: kind of views, as in `augment.tta_views`.
    progress: title of a progress bar, or None for none.

  Returns:
    float32 `[V, N, T]`, the plain view first.
  """
  split = data.split
  key = jax.random.key(config.seed)
  views = augment.tta_views(tta, split.objid, key, config.augment)
  views = [jax.tree.map(np.asarray, view) for view in views]
  order = batches.evaluation_batches(len(split), config.eval.batch_size)
  starts = range(0, len(split), config.eval.batch_size)
  shape = (len(views), len(split), split.targets.shape[1])
  predictions = np.empty(shape, np.float32)
  bar = tqdm.tqdm(
    total=shape[0] * shape[1],
    desc=progress,
    unit="image",
    dynamic_ncols=True,
    disable=progress is None or not processes.is_first(),
  )
  waiting: collections.deque = collections.deque()

  def fetch():
    v, start, count, output = waiting.popleft()
    predictions[v, start : start + count] = np.asarray(output)[:count]
    bar.update(count)

  with bar:
    for start, (indices, count) in zip(starts, order, strict=True):
      images = data.images(indices)
      for v, view in enumerate(views):
        rows = jax.tree.map(lambda x, i=indices: x[i], view)
        rows = sharding.shard_batch(rows, data.mesh)
        output = eval_step(variables, images, rows)
        waiting.append((v, start, count, output))
        # The devices work on a batch while the one before is fetched.
        if len(waiting) > _IN_FLIGHT:
          fetch()
    while waiting:
      fetch()
  return predictions
