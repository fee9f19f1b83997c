"""report.html: the page of an evaluated run."""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib
from typing import Any

import jax
import numpy as np
import pandas as pd

from galmet_jax import metric_writer
from galmet_jax import quantities
from galmet_jax.calibration import calibration as calibration_lib
from galmet_jax.calibration import image_statistics
from galmet_jax.page import gallery
from galmet_jax.page import page
from galmet_jax.page import panels
from galmet_jax.page import saliency
from galmet_jax.page import sprites
from galmet_jax.predict import flags
from galmet_jax.run import Run
from galmet_jax.train_state import TrainState

FILE = "report.html"


def write(
  run: Run,
  state: TrainState,
  tables: Mapping[str, pd.DataFrame],
  calibration: calibration_lib.Calibration,
  summary: Mapping[str, Any],
  target: quantities.Quantity,
) -> pathlib.Path:
  """Writes report.html of the first target.

  Args:
    run: the run.
    state: its checkpoint.
    tables: predictions of each split, as in predictions_SPLIT.csv.
    calibration: the run's.
    summary: content of summary.json.
    target: the first target.

  Returns:
    The path of the page.
  """
  # Not joined: they may be most of the memory.
  images = [run.data[name].split.images for name in tables]
  statistics = np.concatenate([image_statistics.compute(x) for x in images])
  p = calibration.images.p_values(statistics)
  galaxies = pd.concat(
    [_galaxies(name, table, target.name) for name, table in tables.items()],
    ignore_index=True,
  )
  predicted = galaxies["pred"].to_numpy()
  for level, (low, high) in calibration_lib.INTERVALS.items():
    bounds = calibration.targets[0].residuals.bounds(predicted, level)
    galaxies[f"pred_{low}"], galaxies[f"pred_{high}"] = bounds
  galaxies["ood_p"] = p
  doubts = flags.of_predictions(calibration, p, predicted[:, None])
  galaxies["flags"] = flags.describe(doubts, {})
  figures = [
    panels.coverage(summary[name]["calibration"], name)
    for name in tables
    if "coverage" in summary[name].get("calibration", {})
  ]
  rows = metric_writer.read(run.workdir)
  if rows:
    figures.append(panels.training(rows, target.unit))
  name = run.config.data.name
  path = run.results / FILE
  page.write(
    path,
    page.Content(
      title=f"{name}: {target.label}",
      facts=_facts(tables, summary, target),
      target=target,
      galaxies=galaxies,
      thumbnails=np.concatenate([sprites.shrink(x) for x in images]),
      figures=figures,
      gallery=_worst(run, state, galaxies, images, target),
    ),
    run.config.seed,
  )
  return path


def _worst(
  run: Run,
  state: TrainState,
  galaxies: pd.DataFrame,
  images: Sequence[np.ndarray],
  target: quantities.Quantity,
) -> gallery.Gallery | None:
  """Returns the galaxies with the largest errors; None if no label is known."""
  error = (galaxies["pred"] - galaxies["true"]).to_numpy()
  order = np.argsort(-np.nan_to_num(np.abs(error), nan=-1.0), kind="stable")
  index = order[: min(gallery.NUMBER, np.isfinite(error).sum())]
  if not len(index):
    return None
  ends = np.cumsum([len(x) for x in images])
  parts = np.searchsorted(ends, index, side="right")
  worst = np.stack(
    [images[part][i - ends[part]] for part, i in zip(parts, index, strict=True)]
  )
  variables = jax.device_get(state.variables)
  return gallery.Gallery(
    title=f"The {len(index)} largest errors",
    images=gallery.crop(worst, run.frame.crop),
    captions=[
      (row.id, row.split, f"true {row.true:.3f}, predicted {row.pred:.3f}")
      for row in galaxies.iloc[index].itertuples()
    ],
    maps=saliency.compute(run.model, variables, run.frame, worst),
    unit=target.unit,
  )


def _galaxies(split: str, table: pd.DataFrame, target: str) -> pd.DataFrame:
  return pd.DataFrame(
    {
      # JavaScript has no integers of 64 bits.
      "id": table["objid"].astype(str),
      "split": split,
      "true": table[f"{target}_true"].astype(np.float64),
      "pred": table[f"{target}_pred"].astype(np.float64),
    }
  )


def _facts(
  tables: Mapping[str, pd.DataFrame],
  summary: Mapping[str, Any],
  target: quantities.Quantity,
) -> str:
  """Returns a sentence for each split."""
  unit = f" {target.unit}" if target.unit else ""
  found = []
  for name, table in tables.items():
    block = summary[name]
    found.append(
      f"{name}: {len(table):,} galaxies, RMSE {block['rmse']:.4f}{unit}, NMAD "
      f"{block['nmad']:.4f}{unit}, bias {block['bias']:+.4f}{unit}."
    )
  step = summary["checkpoint"]["step"]
  return " ".join([*found, f"The network is that of step {step:,}."])
