"""Calibrates a trained run or an ensemble."""

from collections.abc import Sequence
import json
import pathlib
from typing import Any

import jax
import numpy as np
import pandas as pd

from galmet_jax import manifest
from galmet_jax.baselines.gp_svr import GpSvr
from galmet_jax.calibration import calibration
from galmet_jax.calibration import image_statistics
from galmet_jax.calibration import outliers
from galmet_jax.data import dataset
from galmet_jax.run import Run
from galmet_jax.train_state import TrainState
from tfds_sdss import files
from tfds_sdss import sample_info

# Enough for p-values of 0.1 %; a survey has more images.
_MAX_IMAGES = 20_000


def calibrate(
  run: Run,
  state: TrainState,
  views: np.ndarray,
  feature_models: Sequence[GpSvr] = (),
) -> calibration.Calibration:
  """Calibrates a run with its validation galaxies.

  Args:
    run: the run.
    state: the checkpoint that made the predictions.
    views: predictions of the validation galaxies `[V, N, T]`.
    feature_models: the models of image features in the predictions, if any.

  Returns:
    The calibration. Its facts are `checkpoint`, the SHA-256 of the network's
    variables, `step` and `which`; `source` of the calibration galaxies; `eval`
    and `data` of the config; and `sample`, the bands and the scale of the
    images and the units of targets.
  """
  config = run.config
  train, validation = (run.data[name].split for name in ("train", "validation"))
  predicted = views.mean(0)
  targets = [
    calibration.Target.fit(
      name, predicted[:, i], validation.targets[:, i], train.targets[:, i]
    )
    for i, name in enumerate(config.data.targets)
  ]
  facts = {
    "checkpoint": checkpoint_digest(jax.device_get(state.variables)),
    "step": int(state.step),
    "which": config.eval.checkpoint,
    "source": "validation",
    "eval": json.loads(config.eval.to_json()),
    "data": json.loads(config.data.to_json()),
    "sample": sample_info.as_json(dataset.describe(config)),
  }
  statistics = image_statistics.compute(
    _some_images([train.images, validation.images], config.seed)
  )
  return calibration.Calibration(
    facts,
    tuple(targets),
    outliers.ImageModel.fit(statistics),
    calibration.Training.of(train.objid, train.columns),
    tuple(feature_models),
  )


def calibrate_ensemble(
  folders: Sequence[pathlib.Path],
  out_of_fold: pd.DataFrame,
  targets: Sequence[str],
) -> calibration.Calibration:
  """Calibrates an ensemble with the out-of-fold predictions of its members.

  The mean of the members errs less than each of them: its intervals are
  slightly too wide (CV+; Barber et al. 2021).

  Args:
    folders: of the members, which are calibrated themselves.
    out_of_fold: TARGET_true and TARGET_pred of all galaxies of the folds.
    targets: names of the targets.
  """
  members = [calibration.Calibration.load(folder) for folder in folders]
  first = members[0]
  digests = [member.facts["checkpoint"] for member in members]
  facts = {
    **first.facts,
    "checkpoint": join_digests(digests, ensemble=True),
    "source": "out_of_fold",
    "members": {
      folder.name: member.facts["step"]
      for folder, member in zip(folders, members, strict=True)
    },
  }
  fitted = []
  for name in targets:
    true = out_of_fold[f"{name}_true"].to_numpy()
    predicted = out_of_fold[f"{name}_pred"].to_numpy()
    fitted.append(calibration.Target.fit(name, predicted, true, true))
  training = calibration.Training.join([each.training for each in members])
  models = tuple(model for each in members for model in each.feature_models)
  return calibration.Calibration(
    facts, tuple(fitted), first.images, training, models
  )


def checkpoint_digest(variables: dict[str, Any]) -> str:
  """Returns the SHA-256 of a network's variables, NumPy arrays."""
  return files.digest(dict(sorted(manifest.of_variables(variables).items())))


def join_digests(digests: Sequence[str], *, ensemble: bool) -> str:
  """Returns the digest of a run's or an ensemble's checkpoints."""
  if not ensemble:
    return digests[0]
  return files.digest({"members": list(digests)})


def _some_images(parts: list[np.ndarray], seed: int) -> np.ndarray:
  """Returns up to 20,000 of the images, each with equal probability."""
  number = sum(map(len, parts))
  if number <= _MAX_IMAGES:
    return np.concatenate(parts)
  rng = np.random.default_rng(seed)
  chosen = np.sort(rng.choice(number, _MAX_IMAGES, replace=False))
  first = len(parts[0])
  return np.concatenate(
    [
      parts[0][chosen[chosen < first]],
      parts[1][chosen[chosen >= first] - first],
    ]
  )
