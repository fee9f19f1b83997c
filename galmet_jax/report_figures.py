"""The figures of an evaluated run or ensemble."""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib
from typing import Any

import numpy as np
import pandas as pd

from galmet_jax import figure_style
from galmet_jax import metric_writer
from galmet_jax import plots
from galmet_jax import quantities
from galmet_jax.calibration import figure as calibration_figure
from galmet_jax.run import Run

_NUM_EXAMPLES = 24


def draw(
  run: Run,
  summary: Mapping[str, Any],
  tables: Mapping[str, pd.DataFrame],
  targets: Sequence[quantities.Quantity],
) -> None:
  """Writes figures/ of a run.

  Args:
    run: the run.
    summary: content of summary.json.
    tables: predictions by split, as in predictions_SPLIT.csv.
    targets: the targets, of which the first is drawn.
  """
  for name, table in tables.items():
    title = f"{run.config.data.name}, {name} split"
    draw_split(run.results, name, table, targets[0], title, summary[name])
    _draw_examples(run, name, table, title)
  rows = metric_writer.read(run.workdir)
  if rows:
    path = run.results / "figures" / "training_curves.png"
    with figure_style.optional(path):
      unit = quantities.common_unit(targets)
      plots.training_curves(path, rows, run.groups, unit)


def draw_split(
  workdir: pathlib.Path,
  name: str,
  table: pd.DataFrame,
  target: quantities.Quantity,
  title: str,
  block: Mapping[str, Any],
) -> None:
  """Draws predictions against true values, and the calibration of a split.

  Args:
    workdir: receives figures/.
    name: name of the split.
    table: see `report.write_split`.
    target: the target.
    title: of the figures.
    block: metrics of the split in summary.json.
  """
  path = workdir / "figures" / f"predicted_against_true_{name}.png"
  with figure_style.optional(path):
    plots.predicted_against_true(
      path,
      table[f"{target.name}_true"].to_numpy(),
      table[f"{target.name}_pred"].to_numpy(),
      block,
      title=title,
      target=target,
    )
  calibration_figure.draw(workdir, name, block, title)


def _draw_examples(
  run: Run, name: str, table: pd.DataFrame, title: str
) -> None:
  """Draws a random selection of galaxies and those with the largest errors."""
  images, target = run.data[name].split.images, run.config.data.targets[0]
  error = (table[f"{target}_pred"] - table[f"{target}_true"]).to_numpy()
  orders = {
    "examples": np.random.default_rng(run.config.seed).permutation(len(table)),
    "worst_outliers": np.argsort(-np.abs(error)),
  }
  for kind, order in orders.items():
    index = order[:_NUM_EXAMPLES]
    path = run.results / "figures" / f"{kind}_{name}.png"
    with figure_style.optional(path):
      plots.examples(
        path,
        images[index],
        table.iloc[index],
        target,
        title=f"{title}: {kind.replace('_', ' ')}",
      )
