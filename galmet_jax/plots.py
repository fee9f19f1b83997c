"""Figures of a run, one PNG each."""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib
from typing import Any

from matplotlib import axes
from matplotlib import figure
from matplotlib import ticker
import numpy as np
import pandas as pd

from galmet_jax import figure_style
from galmet_jax import metrics
from galmet_jax import quantities


def predicted_against_true(
  path: pathlib.Path,
  true: np.ndarray,
  predicted: np.ndarray,
  values: Mapping,
  title: str,
  target: quantities.Quantity,
) -> None:
  """Draws predictions against true values, as figure 1 of Wu & Boada (2019).

  Few galaxies are drawn as points, many as a 2-D histogram with a logarithmic
  scale. The panels at the sides show the distributions of true and predicted
  values `[N]` of `target`. `values` are metrics from `metrics.with_intervals`.
  """
  both = np.concatenate([true, predicted])
  edges = figure_style.cell_edges(both, len(true))
  # With this height the main panel is square and the 1:1 line a diagonal.
  fig = figure.Figure(figsize=(6.4, 6.64))
  grid = fig.add_gridspec(2, 2, width_ratios=(4, 1), height_ratios=(1, 4))
  grid.update(left=0.13, right=0.97, bottom=0.08, top=0.89)
  grid.update(wspace=0.06, hspace=0.06)
  main = fig.add_subplot(grid[1, 0])
  # The corner holds the legends, which would hide galaxies in the main panel.
  corner = fig.add_subplot(grid[0, 1])
  corner.set_axis_off()
  mesh = figure_style.draw_galaxies(main, true, predicted, edges, edges)
  if mesh is not None:
    bar = corner.inset_axes((0.03, 0.74, 0.9, 0.08))
    figure_style.draw_counts(mesh, bar, orientation="horizontal")
    bar.set_title("galaxies per cell", fontsize=8, pad=3)
  limits = (edges[0], edges[-1])
  main.plot(limits, limits, "--", color=figure_style.RED, lw=1.2)
  main.set(xlabel=f"True {target.axis}", ylabel=f"Predicted {target.axis}")
  top = fig.add_subplot(grid[0, 0], sharex=main)
  right = fig.add_subplot(grid[1, 1], sharey=main)
  _draw_marginals(top, right, true, predicted, edges)
  handles = right.get_legend_handles_labels()
  corner.legend(*handles, loc="lower left", fontsize=8, frameon=False)
  fig.text(0.13, 0.955, title, fontsize=11)
  spec = quantities.digits(values["rmse"])
  low, high = (metrics.show(x, spec) for x in values["rmse_ci68"])
  rmse, nmad = (metrics.show(values[name], spec) for name in ("rmse", "nmad"))
  unit = f" {target.unit}".rstrip().replace("$", r"\$")
  # A long unit fits the figure once.
  again = unit if len(unit) < 6 else ""
  summary = (
    f"RMSE {rmse}{unit} (68 %: {low}–{high})  ·  NMAD {nmad}{again}  ·  "
    f"R² {metrics.show(values['r2'], '.3f')}  ·  n = {values['n']:,}"
  )
  fig.text(0.13, 0.92, summary, fontsize=8.5, color=figure_style.GREY)
  figure_style.save(fig, path)


def _draw_marginals(
  top: axes.Axes,
  right: axes.Axes,
  true: np.ndarray,
  predicted: np.ndarray,
  edges: np.ndarray,
) -> None:
  counts_true = np.histogram(true, edges)[0]
  counts_predicted = np.histogram(predicted, edges)[0]
  outline: dict[str, Any] = {
    "color": figure_style.GREY,
    "lw": 1.2,
    "label": "true",
  }
  top.stairs(counts_true, edges, **outline)
  right.stairs(
    counts_predicted,
    edges,
    orientation="horizontal",
    fill=True,
    color=figure_style.PALE_BLUE,
    label="predicted",
  )
  # Repeated for comparison: predictions shrink to the mean.
  right.stairs(counts_true, edges, orientation="horizontal", **outline)
  limit = 1.08 * max(counts_true.max(), counts_predicted.max())
  top.set(ylim=(0, limit), ylabel="Galaxies")
  right.set(xlim=(0, limit), xlabel="Galaxies")
  for side, axis in ((top, top.yaxis), (right, right.xaxis)):
    figure_style.open_sides(side)
    side.label_outer()
    # A label at zero would overlap the last label of the main panel.
    axis.set_major_locator(ticker.MaxNLocator(2, integer=True, prune="lower"))
    axis.set_major_formatter(figure_style.WHOLE)


def training_curves(
  path: pathlib.Path,
  rows: Sequence[Mapping],
  groups: Sequence[str],
  unit: str,
) -> None:
  """Draws loss, validation RMSE and learning rates against the step.

  `rows` are those of metrics.jsonl. A layer group without a rate at a step is
  frozen there. `unit` is that of the RMSE; it may be empty.
  """
  losses = ["train/loss", "validation/rmse"]
  columns = ["step", *losses, *(f"lr/{group}" for group in groups)]
  table = pd.DataFrame(rows).reindex(columns=columns)
  train, validation = (table.dropna(subset=name) for name in losses)
  # Markers, because a single step between two gaps does not make a line.
  style = ".-" if len(train) < 40 else "-"
  fig = figure.Figure(figsize=(7.2, 5.6), layout="constrained")
  upper, lower = fig.subplots(2, 1, sharex=True, height_ratios=(3, 2))
  loss, window = train["train/loss"], len(train) // 50
  color = figure_style.PALE_BLUE if window > 1 else figure_style.BLUE
  upper.plot(train["step"], loss, style, lw=0.8, color=color, label="loss")
  if window > 1:
    mean = loss.rolling(window, center=True, min_periods=1).mean()
    label = f"mean over {window:,} steps"
    upper.plot(train["step"], mean, color=figure_style.BLUE, label=label)
  if len(validation):
    points = validation["step"], validation["validation/rmse"]
    label = f"validation RMSE ({unit})" if unit else "validation RMSE"
    label = label.replace("$", r"\$")
    upper.plot(*points, "o", ms=4, color=figure_style.RED, label=label)
  _scale_losses(upper, table[losses].min().min())
  rates = train[columns[3:]]
  for i, group in enumerate(groups):
    color = figure_style.COLORS[i % len(figure_style.COLORS)]
    # Curves of equal rates overlap: the wider ones stay visible at the sides.
    width = 1.2 + 0.9 * (len(groups) - 1 - i)
    rate = rates[f"lr/{group}"]
    lower.plot(train["step"], rate, style, color=color, lw=width, label=group)
  if rates.min().min() > 0:
    lower.set_yscale("log")
    # Cuts off the last steps of a cosine, which are almost zero.
    floor = rates.max().min() / 2000
    lower.set_ylim(bottom=max(floor, lower.get_ylim()[0]))
  upper.set_ylabel("Loss, RMSE")
  lower.set(xlabel="Step", ylabel="Learning rate")
  integers = ticker.MaxNLocator(8, integer=True, steps=[1, 2, 5, 10])
  lower.xaxis.set_major_locator(integers)
  lower.xaxis.set_major_formatter(figure_style.WHOLE)
  for panel in (upper, lower):
    figure_style.draw_grid(panel)
    # Above the panel: inside, a legend would cover the curves of some runs.
    panel.legend(
      loc="lower left", bbox_to_anchor=(0, 1), ncols=6, frameon=False
    )
  fig.align_ylabels()
  figure_style.save(fig, path)


def _scale_losses(panel: axes.Axes, lowest: float) -> None:
  if lowest > 0:
    panel.set_yscale("log")
    panel.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter("{x:g}")
    panel.yaxis.set_minor_formatter(ticker.NullFormatter())


def examples(
  path: pathlib.Path,
  images: np.ndarray,
  table: pd.DataFrame,
  target: str,
  title: str,
) -> None:
  """Draws galaxies with their objid and values, six to a row.

  `images` are uint8 `[N, S, S, 3]`; the N rows of `table` contain objid,
  TARGET_true and TARGET_pred.
  """
  columns = min(len(images), 6)
  rows = -(-len(images) // columns)
  # At least three images wide, so that the title fits.
  width, height = 1.5 * max(columns, 3), 2.0 * rows + 0.3
  fig = figure.Figure(figsize=(width, height))
  # One panel for all images, with inches from the upper left as units.
  panel = fig.add_axes((0, 0, 1, 1))
  panel.set_axis_off()
  center: dict[str, Any] = {"ha": "center", "va": "center"}
  panel.text(width / 2, 0.1, title, fontsize=11, **center)
  values = table[["objid", f"{target}_true", f"{target}_pred"]]
  for i, (objid, true, predicted) in enumerate(values.itertuples(index=False)):
    row, column = divmod(i, columns)
    x = width / 2 + 1.5 * (column - columns / 2 + 0.5)
    y = 1.2 + 2.0 * row
    panel.imshow(images[i], extent=(x - 0.7, x + 0.7, y + 0.7, y - 0.7))
    grey = figure_style.GREY
    panel.text(x, y - 0.78, str(objid), fontsize=6.5, color=grey, **center)
    # Three decimals for metallicities.
    text = f"true {true:#.4g}\npredicted {predicted:#.4g}"
    panel.text(x, y + 0.89, text, fontsize=8, **center)
  panel.set(xlim=(0, width), ylim=(height, 0))
  figure_style.save(fig, path)


def lr_find(path: pathlib.Path, table: pd.DataFrame, suggested: float) -> None:
  """Draws `loss` and `smoothed` against `rate`; marks the suggested rate."""
  fig = figure.Figure(figsize=(6.4, 4.0), layout="constrained")
  panel = fig.subplots()
  for name, width in (("loss", 0.8), ("smoothed", 1.6)):
    color = figure_style.PALE_BLUE if name == "loss" else figure_style.BLUE
    panel.plot(table["rate"], table[name], color=color, lw=width, label=name)
  label = f"suggested: {suggested:.2g}"
  panel.axvline(suggested, color=figure_style.RED, ls="--", lw=1.2, label=label)
  panel.set(xscale="log", xlabel="Learning rate", ylabel="Loss")
  _scale_losses(panel, table["loss"].min())
  figure_style.draw_grid(panel)
  panel.legend(fontsize=9, frameon=False)
  figure_style.save(fig, path)
