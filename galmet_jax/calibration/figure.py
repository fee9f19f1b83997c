"""Four panels about calibrated intervals: figures/calibration_SPLIT.png."""

from collections.abc import Mapping
import pathlib
from typing import Any

from matplotlib import axes
from matplotlib import figure
import numpy as np

from galmet_jax import figure_style
from galmet_jax import quantities
from galmet_jax.calibration import judgement

_TITLES = {
  "predicted": "predicted value",
  "true": "true value",
  "lgm_tot_p50": "stellar mass",
  "petroMag_r": "Petrosian magnitude in r",
  "modelMag_r": "model magnitude in r",
  "petroR90_r": "R90",
}


def draw(
  folder: pathlib.Path, split: str, metrics: Mapping[str, Any], title: str
) -> None:
  """Draws the calibration of a split, if it has one.

  The panels show coverage against nominal probability, the histogram of the
  probability integral transform, the coverage in bins of several quantities,
  and the scores.

  Args:
    folder: directory of the results.
    split: name of the split.
    metrics: its block of the summary.
    title: title of the figure.
  """
  block = metrics.get("calibration", {})
  path = folder / "figures" / f"calibration_{split}.png"
  if "coverage" in block:
    with figure_style.optional(path):
      _draw(path, block, title)


def _draw(path: pathlib.Path, block: Mapping[str, Any], title: str) -> None:
  fig = figure.Figure(figsize=(9.6, 7.6), layout="constrained")
  panels = fig.subplots(2, 2).ravel()
  _draw_coverage(panels[0], np.array(block["coverage"]))
  _draw_pit(panels[1], block)
  _draw_bins(panels[2], block["bins_of"])
  _draw_scores(panels[3], block)
  note = (
    f"n = {block['n']:,}; calibrated on {block['n_calibration']:,} galaxies in "
    f"{block['bins']} bins of the predicted value"
  )
  fig.suptitle(f"{title}\n{note}", x=0.01, ha="left", fontsize=10)
  figure_style.save(fig, path)


def _draw_coverage(panel: axes.Axes, rows: np.ndarray) -> None:
  level, measured, low, high = rows.T
  panel.plot([0, 1], [0, 1], "--", color=figure_style.GREY, lw=1)
  panel.fill_between(
    *(level, low, high),
    color=figure_style.PALE_BLUE,
    alpha=0.5,
    linewidth=0,
    label="95 % of measurements, if calibrated",
  )
  panel.plot(level, measured, "o-", color=figure_style.BLUE, ms=4, lw=1.2)
  panel.set(
    xlim=(0, 1),
    ylim=(0, 1),
    xlabel="Probability of the interval",
    ylabel="Fraction of galaxies inside",
    title="Coverage",
  )
  panel.legend(loc="upper left", fontsize=8, frameon=False)
  figure_style.draw_grid(panel)


def _draw_pit(panel: axes.Axes, block: Mapping[str, Any]) -> None:
  counts = np.array(block["pit"])
  edges = np.linspace(0, 1, len(counts) + 1)
  panel.axhspan(*block["pit_band"], color=figure_style.PALE_BLUE, alpha=0.5)
  panel.stairs(counts, edges, color=figure_style.BLUE, lw=1.4)
  panel.set(
    xlim=(0, 1),
    ylim=(0, None),
    xlabel="Probability below the true value (PIT)",
    ylabel="Galaxies",
    title=f"Uniform if calibrated (KS test: p = {block['pit_ks_p']:.2g})",
  )
  figure_style.draw_grid(panel)


def _draw_bins(panel: axes.Axes, bins_of: Mapping[str, Any]) -> None:
  markers = "osD^vP"
  for (name, rows), marker, color in zip(
    bins_of.items(), markers, figure_style.COLORS, strict=False
  ):
    values = np.array(rows)
    position = np.arange(1, len(values) + 1)
    # A true value is unknown when an interval is used.
    style = ":" if name == "true" else "-"
    for column, label in ((2, _TITLES[name]), (3, None)):
      panel.plot(
        *(position, values[:, column], marker + style),
        color=color,
        ms=4,
        lw=1,
        label=label,
      )
  for level in judgement.WRITTEN:
    panel.axhline(level, color=figure_style.GREY, ls="--", lw=1)
  panel.set(
    ylim=(0, 1.02),
    xticks=range(1, 6),
    xlabel="Fifth of the galaxies, in order of the quantity",
    ylabel="Fraction inside the 68 and 95 % intervals",
    title="Coverage in bins",
  )
  panel.legend(loc="lower center", fontsize=7.5, ncols=2, frameon=False)
  figure_style.draw_grid(panel)


def _draw_scores(panel: axes.Axes, block: Mapping[str, Any]) -> None:
  bars = {
    "these intervals": block["crps"],
    "one Gaussian": block["crps_gaussian"],
    "training labels": block["crps_training"],
  }
  colors = (figure_style.BLUE, figure_style.PALE_BLUE, "#CCCCCC")
  drawn = panel.barh(list(bars), list(bars.values()), color=colors, height=0.6)
  spec = quantities.digits(block["crps"])
  panel.bar_label(drawn, fmt=f"{{:{spec}}}", padding=3, fontsize=8)
  panel.invert_yaxis()
  panel.set(
    xlim=(0, 1.2 * max(bars.values())),
    xlabel="CRPS (smaller is better)",
    title=(
      f"Median half-width: {block['half_width_68']:#.3g} (68 %), "
      f"{block['half_width_95']:#.3g} (95 %)\n"
      f"Slopes: {block['slope']:.3f} of predicted on true, "
      f"{block['slope_true']:.3f} of true on predicted"
    ),
  )
  panel.title.set_fontsize(9)
  figure_style.open_sides(panel)
