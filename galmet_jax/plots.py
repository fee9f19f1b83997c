"""Figures of a run, one PNG each."""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib
from typing import Any

from matplotlib import axes
from matplotlib import figure
from matplotlib import ticker
import numpy as np

from galmet_jax import figure_style


def predicted_against_true(
  path: pathlib.Path,
  true: np.ndarray,
  predicted: np.ndarray,
  values: Mapping,
  title: str,
  label: str,
) -> None:
  """Draws predictions against true values, as figure 1 of Wu & Boada (2019).

  Points for few galaxies, a 2-D histogram with logarithmic counts for many;
  the distributions of true and predicted values at the sides.

  Args:
    path: the PNG to write.
    true: `[N]`, dex.
    predicted: `[N]`, dex.
    values: of these galaxies, as `metrics.with_intervals` returns them.
    title: of the figure.
    label: of the quantity, such as '12 + log(O/H)'.
  """
  edges, counts = joint_histogram(true, predicted)
  # Equal width and height: the 1:1 line is a diagonal.
  fig = figure.Figure(figsize=(6.4, 6.64))
  grid = fig.add_gridspec(2, 2, width_ratios=(4, 1), height_ratios=(1, 4))
  grid.update(left=0.13, right=0.97, bottom=0.08, top=0.89)
  grid.update(wspace=0.06, hspace=0.06)
  main = fig.add_subplot(grid[1, 0])
  # Nothing is written among the data: the corner holds the legends.
  corner = fig.add_subplot(grid[0, 1])
  corner.set_axis_off()
  mesh = figure_style.draw_galaxies(main, true, predicted, edges, edges)
  if mesh is not None:
    bar = corner.inset_axes((0.03, 0.74, 0.9, 0.08))
    figure_style.draw_counts(mesh, bar, orientation="horizontal")
    bar.set_title("galaxies per cell", fontsize=8, pad=3)
  limits = (edges[0], edges[-1])
  main.plot(limits, limits, "--", color=figure_style.RED, lw=1.2)
  main.set(xlabel=f"True {label}", ylabel=f"Predicted {label}")
  top = fig.add_subplot(grid[0, 0], sharex=main)
  right = fig.add_subplot(grid[1, 1], sharey=main)
  _draw_marginals(top, right, edges, counts)
  handles = right.get_legend_handles_labels()
  corner.legend(*handles, loc="lower left", fontsize=8, frameon=False)
  fig.text(0.13, 0.955, title, fontsize=11)
  fig.text(0.13, 0.92, _summary(values), fontsize=8.5, color=figure_style.GREY)
  figure_style.save(fig, path)


def joint_histogram(
  true: np.ndarray, predicted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Counts galaxies in square cells that cover all of them.

  Args:
    true: `[N]`.
    predicted: `[N]`.

  Returns:
    edges `[B + 1]`, the same for both values, and counts
    `[B (true), B (predicted)]`, whose sums are the two distributions.
  """
  both = np.concatenate([true, predicted])
  edges = figure_style.cell_edges(both, len(true))
  return edges, np.histogram2d(true, predicted, bins=(edges, edges))[0]


def _draw_marginals(
  top: axes.Axes, right: axes.Axes, edges: np.ndarray, counts: np.ndarray
) -> None:
  true, predicted = counts.sum(1), counts.sum(0)
  outline: dict[str, Any] = {
    "color": figure_style.GREY,
    "lw": 1.2,
    "label": "true",
  }
  filled: dict[str, Any] = {"color": figure_style.PALE_BLUE, "fill": True}
  sideways: dict[str, Any] = {"orientation": "horizontal"}
  top.stairs(true, edges, **outline)
  right.stairs(predicted, edges, label="predicted", **filled, **sideways)
  # The true values once more: how far predictions shrink to the mean.
  right.stairs(true, edges, **outline, **sideways)
  most = 1.08 * max(true.max(), predicted.max())
  top.set(ylim=(0, most), ylabel="Galaxies")
  right.set(xlim=(0, most), xlabel="Galaxies")
  for side, axis in ((top, top.yaxis), (right, right.xaxis)):
    figure_style.open_sides(side)
    side.label_outer()
    # Without the zero, which would meet the main panel's last label.
    axis.set_major_locator(ticker.MaxNLocator(2, integer=True, prune="lower"))
    axis.set_major_formatter(figure_style.WHOLE)


def _summary(values: Mapping) -> str:
  low, high = values["rmse_ci68"]
  return (
    f"RMSE {values['rmse']:.4f} dex (68 %: {low:.4f}–{high:.4f})  ·  "
    f"NMAD {values['nmad']:.4f} dex  ·  R² {values['r2']:.3f}  ·  "
    f"n = {values['n']:,}"
  )


def training_curves(
  path: pathlib.Path, rows: Sequence[Mapping], groups: Sequence[str]
) -> None:
  """Draws loss, validation RMSE and learning rates against the step.

  Args:
    path: the PNG to write.
    rows: of metrics.jsonl, as `logging.read` returns them.
    groups: the layer groups; one without a rate at a step is frozen there.
  """
  names = ["train/loss", *(f"lr/{group}" for group in groups)]
  steps, (loss, *rates) = series(rows, names)
  # One step between two gaps makes no line, but a point.
  style = ".-" if len(steps) < 40 else "-"
  fig = figure.Figure(figsize=(7.2, 5.6), layout="constrained")
  upper, lower = fig.subplots(2, 1, sharex=True, height_ratios=(3, 2))
  window = len(steps) // 50
  color = figure_style.PALE_BLUE if window > 1 else figure_style.BLUE
  upper.plot(steps, loss, style, lw=0.8, color=color, label="loss")
  if window > 1:
    # At the two ends, of the steps there are.
    kernel, ones = np.ones(window), np.ones_like(loss)
    mean = np.convolve(loss, kernel, "same") / np.convolve(ones, kernel, "same")
    upper.plot(
      steps, mean, color=figure_style.BLUE, label=f"mean over {window:,} steps"
    )
  ends, (rmse,) = series(rows, ["validation/rmse"])
  if len(ends):
    upper.plot(
      ends,
      rmse,
      "o",
      ms=4,
      color=figure_style.RED,
      label="validation RMSE (dex)",
    )
  _scale_losses(upper, [*loss, *rmse])
  for i, (group, rate) in enumerate(zip(groups, rates, strict=True)):
    color = figure_style.COLORS[i % len(figure_style.COLORS)]
    # Equal rates lie upon each other: the broader line shows at the sides.
    width = 1.2 + 0.9 * (len(groups) - 1 - i)
    lower.plot(steps, rate, style, color=color, lw=width, label=group)
  if np.nanmin(rates, initial=np.inf) > 0:
    lower.set_yscale("log")
    # Not down to a cosine's last steps, which are all but zero.
    peaks = [np.nanmax(rate) for rate in rates if np.isfinite(rate).any()]
    floor = min(peaks, default=0.0) / 2000
    lower.set_ylim(bottom=max(floor, lower.get_ylim()[0]))
  upper.set_ylabel("Loss, RMSE")
  lower.set(xlabel="Step", ylabel="Learning rate")
  whole = ticker.MaxNLocator(8, integer=True, steps=[1, 2, 5, 10])
  lower.xaxis.set_major_locator(whole)
  lower.xaxis.set_major_formatter(figure_style.WHOLE)
  for panel in (upper, lower):
    figure_style.draw_grid(panel)
    # Above the curves: any place among them is covered in some run.
    panel.legend(
      loc="lower left", bbox_to_anchor=(0, 1), ncols=6, frameon=False
    )
  fig.align_ylabels()
  figure_style.save(fig, path)


def series(
  rows: Sequence[Mapping], names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
  """Extracts columns from the rows that have the first of them.

  Args:
    rows: of metrics.jsonl.
    names: of the columns.

  Returns:
    steps `[K]`, and float64 `[len(names), K]`: NaN, a gap in a curve, where a
    row lacks a column.
  """
  rows = [row for row in rows if names[0] in row]
  columns = [[row.get(name, np.nan) for row in rows] for name in names]
  return np.array([row["step"] for row in rows]), np.array(columns, np.float64)


def _scale_losses(panel: axes.Axes, losses: Sequence[float]) -> None:
  if np.nanmin(losses, initial=np.inf) > 0:
    panel.set_yscale("log")
    panel.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter("{x:g}")
    panel.yaxis.set_minor_formatter(ticker.NullFormatter())


def examples(
  path: pathlib.Path,
  images: np.ndarray,
  true: np.ndarray,
  predicted: np.ndarray,
  objid: np.ndarray,
  title: str,
) -> None:
  """Draws the first galaxies, up to 24, with their values.

  Args:
    path: the PNG to write.
    images: uint8 `[N, S, S, 3]`, in the order in which to show them.
    true: `[N]`, dex.
    predicted: `[N]`, dex.
    objid: int64 `[N]`.
    title: of the figure.
  """
  number = min(len(images), 24)
  columns = min(number, 6)
  rows = -(-number // columns)
  # No narrower than three images: the title needs the room.
  width, height = 1.5 * max(columns, 3), 2.0 * rows + 0.3
  fig = figure.Figure(figsize=(width, height))
  # One panel in inches, from the upper left corner.
  panel = fig.add_axes((0, 0, 1, 1))
  panel.set_axis_off()
  center: dict[str, Any] = {"ha": "center", "va": "center"}
  panel.text(width / 2, 0.1, title, fontsize=11, **center)
  for i in range(number):
    row, column = divmod(i, columns)
    x = width / 2 + 1.5 * (column - columns / 2 + 0.5)
    y = 1.2 + 2.0 * row
    panel.imshow(images[i], extent=(x - 0.7, x + 0.7, y + 0.7, y - 0.7))
    panel.text(
      x,
      y - 0.78,
      str(objid[i]),
      fontsize=6.5,
      color=figure_style.GREY,
      **center,
    )
    text = f"true {true[i]:.3f}\npredicted {predicted[i]:.3f}"
    panel.text(x, y + 0.89, text, fontsize=8, **center)
  panel.set(xlim=(0, width), ylim=(height, 0))
  figure_style.save(fig, path)


def lr_find(
  path: pathlib.Path,
  rates: np.ndarray,
  losses: np.ndarray,
  smoothed: np.ndarray,
  suggested: float,
) -> None:
  """Draws a learning-rate range test (Smith 2017).

  Args:
    path: the PNG to write.
    rates: `[K]`, rising.
    losses: `[K]`, of one mini-batch each.
    smoothed: `[K]`, the smoothed losses.
    suggested: the rate to mark.
  """
  fig = figure.Figure(figsize=(6.4, 4.0), layout="constrained")
  panel = fig.subplots()
  panel.plot(rates, losses, color=figure_style.PALE_BLUE, lw=0.8, label="loss")
  panel.plot(rates, smoothed, color=figure_style.BLUE, lw=1.6, label="smoothed")
  label = f"suggested: {suggested:.2g}"
  panel.axvline(suggested, color=figure_style.RED, ls="--", lw=1.2, label=label)
  panel.set(xscale="log", xlabel="Learning rate", ylabel="Loss")
  _scale_losses(panel, losses.tolist())
  figure_style.draw_grid(panel)
  panel.legend(fontsize=9, frameon=False)
  figure_style.save(fig, path)
