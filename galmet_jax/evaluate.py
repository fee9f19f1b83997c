"""Predictions of a split: every galaxy once, averaged over views."""

from collections.abc import Callable
from typing import Any

import jax
import ml_collections
import numpy as np
import tqdm

from galmet_jax import augment
from galmet_jax import input_pipeline
from galmet_jax import networks
from galmet_jax import sharding


def make_eval_step(
  model: networks.Network, frame: augment.Frame, mesh: jax.sharding.Mesh
) -> Callable:
  """Makes the jitted step: (variables, images, views) -> predictions.

  Args:
    model: the network.
    frame: what of an image the network sees.
    mesh: where the batch is laid out.

  Returns:
    A function of the variables, uint8 images `[B, S, S, 3]` and B views that
    returns float32 `[B, T]`.
  """

  def eval_step(variables, images, views):
    pixels = augment.apply(images, views, frame)
    return model.apply(variables, pixels, train=False)

  everywhere, dealt = sharding.replicated(mesh), sharding.along_data(mesh)
  return jax.jit(
    eval_step,
    in_shardings=(everywhere, dealt, dealt),
    out_shardings=everywhere,
  )


def predict(
  eval_step: Callable,
  variables: Any,
  split: input_pipeline.Split,
  config: ml_collections.ConfigDict,
  tta: str,
  progress: str | None = None,
) -> np.ndarray:
  """Predicts a split for each view of each galaxy.

  Args:
    eval_step: of `make_eval_step`.
    variables: the network's variables.
    split: N galaxies.
    config: the whole config.
    tta: kind of views, as in `augment.tta_views`.
    progress: title of a progress bar, or None for none.

  Returns:
    float32 `[V, N, T]`, the plain view first.
  """
  key = jax.random.key(config.seed)
  views = augment.tta_views(tta, split.objid, key, config.augment)
  views = [jax.tree.map(np.asarray, view) for view in views]
  batches = input_pipeline.evaluation_batches(
    len(split), config.eval.batch_size
  )
  shape = (len(views), len(split), split.targets.shape[1])
  predictions = np.empty(shape, np.float32)
  bar = tqdm.tqdm(
    total=shape[0] * shape[1],
    desc=progress,
    unit="image",
    dynamic_ncols=True,
    disable=progress is None,
  )
  with bar:
    for v, view in enumerate(views):
      done = 0
      for indices, count in batches:
        rows = jax.tree.map(lambda x, i=indices: x[i], view)
        output = eval_step(variables, split.images[indices], rows)
        predictions[v, done : done + count] = np.asarray(output)[:count]
        done += count
        bar.update(count)
  return predictions
