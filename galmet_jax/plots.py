"""Figures of a run, one PNG each.

Drawn with matplotlib's objects alone: pyplot keeps global state and looks for
a display, which threads and batch jobs cannot share or do not have.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib

import matplotlib
from matplotlib import axes
from matplotlib import colors
from matplotlib import figure
from matplotlib import ticker
import numpy as np

# Okabe & Ito (2008): told apart with every kind of colour vision.
_BLUE, _VERMILLION = "#0072B2", "#D55E00"
_COLORS = (_BLUE, "#E69F00", "#009E73", "#CC79A7", _VERMILLION, "#56B4E9")
_GREY = "#5F5F5F"
_DPI = 150

# With fewer galaxies than this most cells of a 2-D histogram would be empty.
_SCATTER_BELOW = 500
_MAX_EXAMPLES, _EXAMPLES_PER_ROW = 24, 6
# Lines of fewer points than this show the points too: one step alone between
# two gaps makes no line.
_MARKERS_BELOW = 40


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
  fig = figure.Figure(figsize=(6.4, 6.4))
  grid = fig.add_gridspec(
    2,
    2,
    width_ratios=(4, 1),
    height_ratios=(1, 4),
    left=0.13,
    right=0.96,
    bottom=0.09,
    top=0.92,
    wspace=0.05,
    hspace=0.05,
  )
  main = fig.add_subplot(grid[1, 0])
  main.plot(edges[[0, -1]], edges[[0, -1]], "--", color=_VERMILLION, lw=1.2)
  if len(true) < _SCATTER_BELOW:
    main.scatter(true, predicted, s=14, color=_BLUE, alpha=0.6, linewidths=0)
  else:
    _draw_histogram(main, edges, counts)
  limits = (edges[0], edges[-1])
  main.set(
    xlim=limits,
    ylim=limits,
    xlabel=f"True {label}",
    ylabel=f"Predicted {label}",
  )
  main.text(
    0.03,
    0.97,
    _summary(values),
    transform=main.transAxes,
    va="top",
    fontsize=9,
    linespacing=1.4,
    bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8},
  )
  top = fig.add_subplot(grid[0, 0], sharex=main)
  right = fig.add_subplot(grid[1, 1], sharey=main)
  _draw_marginals(top, right, edges, counts)
  fig.suptitle(title, x=0.13, y=0.975, ha="left", fontsize=11)
  fig.savefig(path, dpi=_DPI)


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
  main: axes.Axes, edges: np.ndarray, counts: np.ndarray
) -> None:
  # The palest blues would not differ from an empty cell.
  shades = matplotlib.colormaps["Blues"](np.linspace(0.22, 1, 256))
  mesh = main.pcolormesh(
    edges,
    edges,
    np.ma.masked_equal(counts.T, 0),
    cmap=colors.ListedColormap(shades),
    norm=colors.LogNorm(vmin=1, vmax=counts.max()),
  )
  # Under the diagonal, where galaxies are rare.
  bar = main.inset_axes((0.62, 0.12, 0.33, 0.025))
  main.figure.colorbar(mesh, cax=bar, orientation="horizontal")
  bar.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
  bar.xaxis.set_minor_formatter(ticker.NullFormatter())
  bar.tick_params(labelsize=8)
  bar.set_title("Galaxies per cell", fontsize=8, pad=3)


def _draw_marginals(
  top: axes.Axes, right: axes.Axes, edges: np.ndarray, counts: np.ndarray
) -> None:
  true, predicted = counts.sum(1), counts.sum(0)
  outline = {"color": _GREY, "lw": 1.2, "label": "true"}
  filled = {"color": _BLUE, "alpha": 0.5, "fill": True, "label": "predicted"}
  # The predictions' side repeats the true values: how far predictions shrink
  # to the mean is seen there.
  top.stairs(true, edges, **outline)
  right.stairs(predicted, edges, orientation="horizontal", **filled)
  right.stairs(true, edges, orientation="horizontal", **outline)
  most = 1.08 * max(true.max(), predicted.max())
  top.set(ylim=(0, most), ylabel="Galaxies")
  right.set(xlim=(0, most), xlabel="Galaxies")
  top.tick_params(labelbottom=False)
  right.tick_params(labelleft=False)
  for axis in (top.yaxis, right.xaxis):
    axis.set_major_locator(ticker.MaxNLocator(2, integer=True))
    axis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
  for side in (top, right):
    side.spines[["top", "right"]].set_visible(False)
  # In the empty corner above.
  right.legend(
    loc="lower left",
    bbox_to_anchor=(0, 1.03),
    fontsize=8,
    frameon=False,
    borderaxespad=0,
    handlelength=1.2,
  )


def _summary(values: Mapping) -> str:
  low, high = values["rmse_ci68"]
  return (
    f"RMSE = {values['rmse']:.4f} dex ({low:.4f}–{high:.4f})\n"
    f"NMAD = {values['nmad']:.4f} dex\n"
    f"R² = {values['r2']:.3f}\n"
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
  steps, values = series(rows, ["train/loss", *(f"lr/{g}" for g in groups)])
  epochs = [row for row in rows if "validation/rmse" in row]
  loss = values.pop("train/loss")
  marker = "." if len(steps) < _MARKERS_BELOW else ""
  fig = figure.Figure(figsize=(7.2, 5.6), layout="constrained")
  upper, lower = fig.subplots(2, 1, sharex=True, height_ratios=(3, 2))
  window = max(1, len(steps) // 50)
  style = {"color": "#A6C8E0", "lw": 0.6} if window > 1 else {"color": _BLUE}
  upper.plot(steps, loss, marker=marker, label="training loss", **style)
  if window > 1:
    smooth = running_mean(loss, window)
    name = f"its mean over {window:,} steps"
    upper.plot(steps, smooth, color=_BLUE, lw=1.5, label=name)
  if epochs:
    upper.plot(
      [row["step"] for row in epochs],
      [row["validation/rmse"] for row in epochs],
      "o",
      color=_VERMILLION,
      ms=4.5,
      mec="white",
      mew=0.5,
      label="validation RMSE (dex)",
    )
  upper.set_ylabel("Loss, RMSE")
  _log_if_wide(upper, [*loss, *(row["validation/rmse"] for row in epochs)])
  for i, group in enumerate(groups):
    lower.plot(
      steps,
      values[f"lr/{group}"],
      marker=marker,
      color=_COLORS[i % len(_COLORS)],
      # Equal rates lie upon each other: the broader line shows at the sides.
      lw=max(1.2, 1.2 + 1.6 * (len(groups) - 1 - i)),
      label=group,
    )
  _scale_rates(lower, [values[f"lr/{group}"] for group in groups])
  lower.set(xlabel="Step", ylabel="Learning rate")
  lower.xaxis.set_major_locator(ticker.MaxNLocator(8, integer=True))
  lower.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
  for panel in (upper, lower):
    # Beside the curves: any place among them is covered in some run.
    panel.legend(
      loc="upper left", bbox_to_anchor=(1, 1), fontsize=8, frameon=False
    )
    _tidy(panel)
  fig.savefig(path, dpi=_DPI)


def series(
  rows: Sequence[Mapping], names: Sequence[str]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  """Extracts columns from the rows of training steps.

  Args:
    rows: of metrics.jsonl.
    names: of the columns.

  Returns:
    steps `[K]`, and name -> float64 `[K]`: NaN, a gap in a curve, where a row
    lacks it.
  """
  rows = [row for row in rows if "train/loss" in row]
  columns = {
    name: np.array([row.get(name, np.nan) for row in rows], np.float64)
    for name in names
  }
  return np.array([row["step"] for row in rows], np.int64), columns


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
  """Averages over a window centred on each value, cut off at the ends.

  Args:
    values: `[K]`.
    window: in values; at most K.

  Returns:
    `[K]`.
  """
  kernel = np.ones(window)
  weight = np.convolve(np.ones(len(values)), kernel, "same")
  return np.convolve(values, kernel, "same") / weight


def _log_if_wide(panel: axes.Axes, values: Sequence[float]) -> None:
  """Makes the y axis logarithmic where values differ tenfold."""
  finite = np.asarray(values)[np.isfinite(values)]
  if len(finite) and finite.max() > 10 * finite.min() > 0:
    panel.set_yscale("log")
    panel.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))


def _scale_rates(panel: axes.Axes, rates: Sequence[np.ndarray]) -> None:
  known = [rate[np.isfinite(rate)] for rate in rates]
  known = [rate for rate in known if len(rate)]
  if known and min(rate.min() for rate in known) > 0:
    panel.set_yscale("log")
    # A cosine's last steps are all but zero: with them the axis would span
    # many decades in which nothing else happens.
    floor = min(rate.max() for rate in known) / 2000
    panel.set_ylim(bottom=max(floor, panel.get_ylim()[0]))


def _tidy(panel: axes.Axes) -> None:
  panel.spines[["top", "right"]].set_visible(False)
  panel.grid(color="#E5E5E5", lw=0.6)
  panel.set_axisbelow(True)


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
  number = min(len(images), _MAX_EXAMPLES)
  columns = min(number, _EXAMPLES_PER_ROW)
  rows = -(-number // columns)
  # No narrower than three images: the title needs the room.
  size = (1.5 * max(columns, 3), 2.05 * rows + 0.4)
  fig = figure.Figure(figsize=size, layout="constrained")
  panels = fig.subplots(rows, columns, squeeze=False).ravel()
  for panel in panels[number:]:
    panel.set_axis_off()
  for i, panel in enumerate(panels[:number]):
    panel.imshow(images[i])
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_visible(False)
    panel.set_title(str(objid[i]), fontsize=6.5, color=_GREY, pad=3)
    panel.set_xlabel(
      f"true {true[i]:.3f}\npredicted {predicted[i]:.3f}", fontsize=8
    )
  fig.suptitle(title, fontsize=11)
  fig.savefig(path, dpi=_DPI)


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
  panel.plot(rates, losses, color="#A6C8E0", lw=0.8, label="loss")
  panel.plot(rates, smoothed, color=_BLUE, lw=1.6, label="smoothed")
  panel.axvline(
    suggested,
    color=_VERMILLION,
    ls="--",
    lw=1.2,
    label=f"suggested: {suggested:.2g}",
  )
  panel.set_xscale("log")
  panel.set(xlabel="Learning rate", ylabel="Loss")
  _log_if_wide(panel, losses)
  _tidy(panel)
  panel.legend(fontsize=9)
  fig.savefig(path, dpi=_DPI)
