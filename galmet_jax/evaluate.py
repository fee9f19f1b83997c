"""Predictions for every galaxy of a split, once for each view."""

from collections.abc import Callable
import operator
from typing import Any

import jax
import ml_collections
import numpy as np

from galmet_jax import progress as progress_lib
from galmet_jax.data import augment
from galmet_jax.data import batches
from galmet_jax.data import placement
from galmet_jax.devices import compilation
from galmet_jax.devices import sharding
from galmet_jax.models import resnet
from tfds_sdss import signals

# Batches that the devices may have queued.
_IN_FLIGHT = 2


def make_eval_step(
  model: resnet.ResNet, frame: augment.Frame, mesh: jax.sharding.Mesh
) -> Callable:
  """Makes the jitted evaluation step.

  Args:
    model: the network.
    frame: the crop, resolution and bands that the network sees.
    mesh: the devices over which a batch is sharded.

  Returns:
    A function of the variables, packed images `[B, S, S]` and B views that
    returns predictions, float32 `[B, T]`.
  """

  def eval_step(variables, images, views):
    pixels = augment.apply(images, views, frame)
    return model.apply(variables, pixels, train=False)

  everywhere, sharded = sharding.replicated(mesh), sharding.batch_sharding(mesh)
  return compilation.jit(
    eval_step,
    mesh,
    in_shardings=(everywhere, sharded, sharded),
    out_shardings=everywhere,
  )


def predict(
  eval_step: Callable,
  variables: Any,
  data: placement.Placement,
  config: ml_collections.ConfigDict,
  tta: str,
  progress: str | None = None,
) -> np.ndarray:
  """Predicts every view of every galaxy of a split.

  Args:
    eval_step: the step of `make_eval_step`.
    variables: the network's variables.
    data: a split of N galaxies.
    config: the whole config.
    tta: kind of test-time augmentation, see `augment.tta_views`.
    progress: title of the progress bar; None for no bar.

  Returns:
    float32 `[V, N, T]`, the plain view first.
  """
  split, batch_size = data.split, config.eval.batch_size
  key = jax.random.key(config.seed)
  views = augment.tta_views(tta, split.objid, key, config.augment)
  views = [jax.tree.map(np.asarray, view) for view in views]
  bar = progress_lib.bar(
    total=len(views) * len(split),
    desc=progress,
    unit="image",
    disable=progress is None,
  )
  outputs: list[jax.Array] = []
  with bar:
    for indices, count in batches.evaluation_batches(len(split), batch_size):
      signals.check()
      images = data.images(indices)
      for view in views:
        rows = jax.tree.map(operator.itemgetter(indices), view)
        rows = sharding.shard_batch(rows, data.mesh)
        outputs.append(eval_step(variables, images, rows))
        # Without a bound, all batches would wait in the devices' memory.
        if len(outputs) > _IN_FLIGHT:
          outputs[-1 - _IN_FLIGHT].block_until_ready()
        bar.update(count)
  # The batches follow each other, the views of a batch within; only the last
  # batch is padded.
  found = np.stack(jax.device_get(outputs))
  found = found.reshape(-1, len(views), *found.shape[1:]).swapaxes(0, 1)
  return found.reshape(len(views), -1, found.shape[-1])[:, : len(split)]
