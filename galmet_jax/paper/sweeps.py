"""How the error falls with resolution and with the number of galaxies."""

from collections.abc import Mapping
import json
import pathlib
from typing import Any

import ml_collections
import numpy as np
import pandas as pd

from galmet_jax import baselines
from galmet_jax import metrics
from galmet_jax import report
from galmet_jax import workdir as workdir_lib
from galmet_jax.data import galaxies
from galmet_jax.data import splits
from galmet_jax.paper import published
from galmet_jax.paper import run_figures


def lone_change(
  config: ml_collections.ConfigDict,
  configs: Mapping[str, ml_collections.ConfigDict],
  name: str,
) -> dict[str, Any]:
  """Returns what a system changes of the training, if it is one field.

  Args:
    config: what the systems have in common.
    configs: of each system.
    name: of the system.

  Returns:
    The field's full name and its value, or nothing.
  """
  if name not in configs:
    return {}
  ours, common = (
    workdir_lib.flatten(json.loads(fields.to_json()))
    for fields in (configs[name], config)
  )
  changed = {
    field: value
    for field, value in ours.items()
    if value != common.get(field) and not field.startswith("eval.")
  }
  return changed if len(changed) == 1 else {}


def draw_resolution(
  figures: pathlib.Path,
  config: ml_collections.ConfigDict,
  configs: Mapping[str, ml_collections.ConfigDict],
  rows: pd.DataFrame,
  title: str,
) -> None:
  """Draws the RMSE of the systems that differ in their resolution alone.

  Args:
    figures: resolution.png is written there, if there are such systems.
    config: what the systems have in common.
    configs: of each system.
    rows: the table, as `published.table` makes it.
    title: the sample.
  """
  rows = rows.set_index("system")
  points = {}
  for name in configs:
    side = lone_change(config, configs, name).get("data.resolution")
    if side is not None:
      points[side] = rows.loc[name]
  if not points:
    return
  if "gri" in rows.index:
    points[config.data.resolution or config.data.crop] = rows.loc["gri"]
  sides = sorted(points)
  run_figures.rmse_against_resolution(
    figures / "resolution.png",
    np.array(sides),
    np.array([points[side].rmse for side in sides]),
    np.array([[points[s].rmse_low, points[s].rmse_high] for s in sides]),
    {
      "Wu & Boada (2019), SDSS": (
        np.array(list(published.RESOLUTIONS)),
        np.array(list(published.RESOLUTIONS.values())),
      )
    },
    {
      report.BASELINES[name]: rows.loc[name].rmse
      for name in ("training_mean", "random_forest")
    },
    title=title,
  )


def draw_learning_curve(
  figures: pathlib.Path,
  config: ml_collections.ConfigDict,
  configs: Mapping[str, ml_collections.ConfigDict],
  galaxies: Mapping[str, galaxies.Split],
  rows: pd.DataFrame,
  title: str,
) -> None:
  """Draws the RMSE of the systems that train on fewer galaxies.

  Beside a forest that learns from the same galaxies.

  Args:
    figures: learning_curve.png is written there, if there are such systems.
    config: what the systems have in common.
    configs: of each system.
    galaxies: the splits.
    rows: the table, as `published.table` makes it.
    title: the sample.
  """
  by_size = {
    configs[name].data.num_train: name
    for name in configs
    if configs[name].data.num_train is not None
  }
  if not by_size:
    return
  if "gri" in configs:
    by_size[len(galaxies["train"])] = "gri"
  rows = rows.set_index("system")
  network, forest = [], []
  for size in sorted(by_size):
    row = rows.loc[by_size[size]]
    network.append([row.rmse, row.rmse_low, row.rmse_high])
    forest.append(_forest(config, galaxies, size))
  first, second = np.array(network).T, np.array(forest).T
  run_figures.learning_curve(
    figures / "learning_curve.png",
    np.array(sorted(by_size)),
    {
      "network": (first[0], first[1], first[2]),
      "random forest": (second[0], second[1], second[2]),
    },
    report.label(config.data.targets[0]),
    title=title,
  )


def _forest(
  config: ml_collections.ConfigDict,
  galaxies: Mapping[str, galaxies.Split],
  size: int,
) -> list[float]:
  """Returns RMSE and interval of a forest that learns from `size` galaxies."""
  data = config.data.copy_and_resolve_references()
  data.num_train = size
  train = splits.apply_splits(dict(galaxies), data, config.seed)["train"]
  test = galaxies["test"]
  block = metrics.with_intervals(
    test.targets[:, 0],
    baselines.predict_random_forest(train, test, config.seed)[:, 0],
    config.eval.bootstrap_draws,
    config.seed,
  )
  return [block["rmse"], *block["rmse_ci68"]]
