"""Figures of a run, one PNG each.

Drawn with matplotlib's objects alone: pyplot keeps global state and looks for
a display, which threads and batch jobs cannot share or do not have.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib
from typing import Any

import matplotlib
from matplotlib import axes
from matplotlib import colors
from matplotlib import figure
from matplotlib import ticker
import numpy as np

# Okabe & Ito (2008): told apart with every kind of colour vision.
_BLUE, _RED = "#0072B2", "#D55E00"
_COLORS = (_BLUE, "#E69F00", "#009E73", "#CC79A7", "#56B4E9", _RED)
_PALE_BLUE, _GREY = "#8FBFDD", "#5F5F5F"
_WHOLE = "{x:,.0f}"


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
  # Few galaxies would leave most cells of a 2-D histogram empty.
  if len(true) < 500:
    main.scatter(true, predicted, s=16, color=_BLUE, alpha=0.6, linewidths=0)
  else:
    _draw_histogram(main, corner, edges, counts)
  limits = (edges[0], edges[-1])
  main.plot(limits, limits, "--", color=_RED, lw=1.2)
  main.set(xlim=limits, xlabel=f"True {label}")
  main.set(ylim=limits, ylabel=f"Predicted {label}")
  top = fig.add_subplot(grid[0, 0], sharex=main)
  right = fig.add_subplot(grid[1, 1], sharey=main)
  _draw_marginals(top, right, edges, counts)
  handles = right.get_legend_handles_labels()
  corner.legend(*handles, loc="lower left", fontsize=8, frameon=False)
  fig.text(0.13, 0.955, title, fontsize=11)
  fig.text(0.13, 0.92, _summary(values), fontsize=8.5, color=_GREY)
  _save(fig, path)


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
  low = float(min(np.min(true), np.min(predicted)))
  high = float(max(np.max(true), np.max(predicted)))
  # A single value needs room as well.
  margin = 0.03 * (high - low) or 0.1
  # Twice the cube root (Rice's rule), within what the eye can resolve.
  num_bins = int(np.clip(round(2 * np.cbrt(len(true))), 12, 60))
  edges = np.linspace(low - margin, high + margin, num_bins + 1)
  return edges, np.histogram2d(true, predicted, bins=(edges, edges))[0]


def _draw_histogram(
  main: axes.Axes, corner: axes.Axes, edges: np.ndarray, counts: np.ndarray
) -> None:
  # The palest blues would not differ from an empty cell.
  shades = matplotlib.colormaps["Blues"](np.linspace(0.22, 1, 256))
  cmap = colors.ListedColormap(shades)
  norm = colors.LogNorm(vmin=1, vmax=counts.max())
  cells = np.ma.masked_equal(counts.T, 0)
  mesh = main.pcolormesh(edges, edges, cells, cmap=cmap, norm=norm)
  bar = corner.inset_axes((0.03, 0.74, 0.9, 0.08))
  corner.figure.colorbar(mesh, bar, orientation="horizontal", format=_WHOLE)
  bar.xaxis.set_minor_formatter(ticker.NullFormatter())
  bar.tick_params(labelsize=8)
  bar.set_title("galaxies per cell", fontsize=8, pad=3)


def _draw_marginals(
  top: axes.Axes, right: axes.Axes, edges: np.ndarray, counts: np.ndarray
) -> None:
  true, predicted = counts.sum(1), counts.sum(0)
  outline: dict[str, Any] = {"color": _GREY, "lw": 1.2, "label": "true"}
  filled: dict[str, Any] = {"color": _PALE_BLUE, "fill": True}
  sideways: dict[str, Any] = {"orientation": "horizontal"}
  top.stairs(true, edges, **outline)
  right.stairs(predicted, edges, label="predicted", **filled, **sideways)
  # The true values once more: how far predictions shrink to the mean.
  right.stairs(true, edges, **outline, **sideways)
  most = 1.08 * max(true.max(), predicted.max())
  top.set(ylim=(0, most), ylabel="Galaxies")
  right.set(xlim=(0, most), xlabel="Galaxies")
  for side, axis in ((top, top.yaxis), (right, right.xaxis)):
    side.spines[["top", "right"]].set_visible(False)
    side.label_outer()
    # Without the zero, which would meet the main panel's last label.
    axis.set_major_locator(ticker.MaxNLocator(2, integer=True, prune="lower"))
    axis.set_major_formatter(_WHOLE)


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
  color = _PALE_BLUE if window > 1 else _BLUE
  upper.plot(steps, loss, style, lw=0.8, color=color, label="loss")
  if window > 1:
    # At the two ends, of the steps there are.
    kernel, ones = np.ones(window), np.ones_like(loss)
    mean = np.convolve(loss, kernel, "same") / np.convolve(ones, kernel, "same")
    upper.plot(steps, mean, color=_BLUE, label=f"mean over {window:,} steps")
  ends, (rmse,) = series(rows, ["validation/rmse"])
  if len(ends):
    upper.plot(ends, rmse, "o", ms=4, color=_RED, label="validation RMSE (dex)")
  _scale_losses(upper, [*loss, *rmse])
  for i, (group, rate) in enumerate(zip(groups, rates, strict=True)):
    color = _COLORS[i % len(_COLORS)]
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
  lower.xaxis.set_major_formatter(_WHOLE)
  for panel in (upper, lower):
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(color="#E5E5E5", lw=0.6)
    # Above the curves: any place among them is covered in some run.
    panel.legend(
      loc="lower left", bbox_to_anchor=(0, 1), ncols=6, frameon=False
    )
  fig.align_ylabels()
  _save(fig, path)


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


def _save(fig: figure.Figure, path: pathlib.Path) -> None:
  # The same margin around all that is drawn, however long its labels.
  fig.savefig(path, dpi=150, bbox_inches="tight", pad_inches=0.12)


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
    panel.text(x, y - 0.78, str(objid[i]), fontsize=6.5, color=_GREY, **center)
    text = f"true {true[i]:.3f}\npredicted {predicted[i]:.3f}"
    panel.text(x, y + 0.89, text, fontsize=8, **center)
  panel.set(xlim=(0, width), ylim=(height, 0))
  _save(fig, path)


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
  panel.plot(rates, losses, color=_PALE_BLUE, lw=0.8, label="loss")
  panel.plot(rates, smoothed, color=_BLUE, lw=1.6, label="smoothed")
  label = f"suggested: {suggested:.2g}"
  panel.axvline(suggested, color=_RED, ls="--", lw=1.2, label=label)
  panel.set(xscale="log", xlabel="Learning rate", ylabel="Loss")
  _scale_losses(panel, losses.tolist())
  panel.spines[["top", "right"]].set_visible(False)
  panel.grid(color="#E5E5E5", lw=0.6)
  panel.legend(fontsize=9, frameon=False)
  _save(fig, path)
