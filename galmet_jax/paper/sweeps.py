"""Test RMSE against image resolution and number of training galaxies.

`common` is the config that the systems have in common, `configs` has the config
of each system, and `rows` is the table from `table.compare_systems`.
"""

from collections.abc import Mapping
import json
import pathlib

from flax import traverse_util
import ml_collections
import numpy as np
import pandas as pd

from galmet_jax import metrics
from galmet_jax import quantities
from galmet_jax.baselines import trees
from galmet_jax.data import dataset
from galmet_jax.data import galaxies
from galmet_jax.data import splits as splits_lib
from galmet_jax.paper import published
from galmet_jax.paper import run_figures

_CURVE = ["rmse", "rmse_low", "rmse_high"]


def swept_resolution(
  config: ml_collections.ConfigDict, common: ml_collections.ConfigDict
) -> int | None:
  """Returns the resolution, if a system trains like the rest except for it.

  The result is None if another field differs, or none.
  """
  ours, theirs = (
    traverse_util.flatten_dict(json.loads(one.to_json()), sep=".")
    for one in (config, common)
  )
  differing = {
    field: value
    for field, value in ours.items()
    if value != theirs.get(field) and not field.startswith("eval.")
  }
  return differing.get("data.resolution") if len(differing) == 1 else None


def by_resolution(
  common: ml_collections.ConfigDict,
  configs: Mapping[str, ml_collections.ConfigDict],
) -> dict[int, str]:
  """Returns systems by their resolution; empty if it does not vary."""
  systems = {
    side: name
    for name, config in configs.items()
    if (side := swept_resolution(config, common)) is not None
  }
  if systems and "gri" in configs:
    systems[common.data.resolution or common.data.crop] = "gri"
  return systems


def by_size(
  configs: Mapping[str, ml_collections.ConfigDict],
  splits: Mapping[str, galaxies.Split],
) -> dict[int, str]:
  """Returns systems by their training galaxies; empty if none has fewer."""
  systems = {
    config.data.num_train: name
    for name, config in configs.items()
    if config.data.num_train is not None
  }
  if systems and "gri" in configs:
    systems[len(splits["train"])] = "gri"
  return systems


def draw_resolution(
  figures: pathlib.Path,
  common: ml_collections.ConfigDict,
  configs: Mapping[str, ml_collections.ConfigDict],
  rows: pd.DataFrame,
  title: str,
) -> None:
  """Draws figures / resolution.png if the resolution varies."""
  systems = by_resolution(common, configs)
  if not systems:
    return
  rows = rows.set_index("system")
  sides = sorted(systems)
  run_figures.resolution(
    figures / "resolution.png",
    np.array(sides),
    rows.loc[[systems[side] for side in sides], _CURVE].to_numpy(),
    {
      published.reference(name).label: rows.rmse[name]
      for name in ("training_mean", "random_forest")
    },
    title=title,
  )


def draw_learning_curve(
  figures: pathlib.Path,
  common: ml_collections.ConfigDict,
  configs: Mapping[str, ml_collections.ConfigDict],
  splits: Mapping[str, galaxies.Split],
  rows: pd.DataFrame,
  title: str,
) -> None:
  """Draws figures / learning_curve.png if the training size varies.

  Adds a random forest trained on the same galaxies.
  """
  systems = by_size(configs, splits)
  if not systems:
    return
  sizes = sorted(systems)
  names = [systems[size] for size in sizes]
  run_figures.learning_curve(
    figures / "learning_curve.png",
    np.array(sizes),
    {
      "network": rows.set_index("system").loc[names, _CURVE].to_numpy(),
      "random forest": np.array(
        [_train_forest(common, splits, size) for size in sizes]
      ),
    },
    quantities.of(dataset.describe(common), common.data.targets)[0].label,
    title=title,
  )


def _train_forest(
  common: ml_collections.ConfigDict,
  splits: Mapping[str, galaxies.Split],
  size: int,
) -> list[float]:
  """Returns RMSE and interval of a forest trained on `size` galaxies."""
  data = common.data.copy_and_resolve_references()
  data.num_train = size
  train = splits_lib.apply_splits(dict(splits), data, common.seed)["train"]
  test = splits["test"]
  block = metrics.with_intervals(
    test.targets[:, 0],
    trees.predict_random_forest(train, test, common.seed)[:, 0],
    common.eval.bootstrap_draws,
    common.seed,
  )
  return [block["rmse"], *block["rmse_ci68"]]
