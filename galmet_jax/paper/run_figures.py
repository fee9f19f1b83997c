"""Figures of whole runs in a reproduction of Wu & Boada (2019), one PNG each.

The figures of single galaxies are in `galaxy_figures.py`.
"""

from collections.abc import Mapping
import pathlib

from matplotlib import axes
from matplotlib import figure
from matplotlib import ticker
import numpy as np
from sklearn import isotonic

from galmet_jax import figure_style

# Height of a label of 8.5 points, as a fraction of a panel's height.
_LINE = 0.065


def rmse_against_resolution(
  path: pathlib.Path,
  pixels: np.ndarray,
  rmse: np.ndarray,
  intervals: np.ndarray,
  references: Mapping[str, tuple[np.ndarray, np.ndarray]],
  baselines: Mapping[str, float],
  *,
  title: str,
) -> None:
  """Draws the test RMSE against the size of the images.

  Args:
    path: the PNG to write.
    pixels: `[K]`, on a side of the images, 1 to 128.
    rmse: `[K]`, dex.
    intervals: `[K, 2]`, the 68 % interval of each, dex.
    references: name -> pixels `[R]` and RMSE `[R]`, such as the paper's; may
      be empty.
    baselines: name -> RMSE of what looks at no images; may be empty.
    title: of the figure: the sample, and whether it is synthetic.
  """
  fig = figure.Figure(figsize=(5.4, 3.9), layout="constrained")
  panel = fig.subplots()
  low, high = np.transpose(intervals)
  _draw_curve(panel, pixels, rmse, low, high, 0, "this work")
  for i, (name, (sizes, values)) in enumerate(references.items()):
    color = figure_style.INKS[(i + 1) % len(figure_style.INKS)]
    marker = "sD^o"[i % 4]
    panel.plot(
      sizes, values, marker, ms=7, mfc="none", color=color, label=name, zorder=4
    )
  for value in baselines.values():
    panel.axhline(value, color=figure_style.GREY, ls="--", lw=1)
  panel.set_xscale("log", base=2)
  panel.set(xlim=(2**-0.5, 2**7.5), xlabel="Pixels on a side")
  panel.xaxis.set_major_locator(ticker.FixedLocator([2**i for i in range(8)]))
  panel.xaxis.set_major_formatter("{x:.0f}")
  panel.xaxis.set_minor_locator(ticker.NullLocator())
  panel.set_ylabel("RMSE (dex)")
  figure_style.draw_grid(panel)
  names = [f"{name}: {value:.3f}" for name, value in baselines.items()]
  colors = [figure_style.GREY] * len(names)
  _label_at_right(panel, list(baselines.values()), names, colors)
  panel.legend(
    loc="lower left",
    bbox_to_anchor=(0, 1),
    ncols=3,
    fontsize=8.5,
    frameon=False,
  )
  figure_style.save_for_print(fig, path, title)


def learning_curve(
  path: pathlib.Path,
  sizes: np.ndarray,
  curves: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
  label: str,
  *,
  title: str,
) -> None:
  """Draws the test RMSE against the number of training galaxies.

  Args:
    path: the PNG to write.
    sizes: `[K]`, training galaxies.
    curves: model -> RMSE `[K]` and the ends of its 68 % interval `[K]` and
      `[K]`, dex; NaN where a model was not trained.
    label: of the quantity, such as '12 + log(O/H)'.
    title: of the figure: the sample, and whether it is synthetic.
  """
  fig = figure.Figure(figsize=(5.4, 3.7), layout="constrained")
  panel = fig.subplots()
  least, most = np.min(sizes) / 1.25, np.max(sizes) * 1.25
  panel.set(xscale="log", xlim=(least, most))
  ends, colors = [], []
  for i, (name, (rmse, low, high)) in enumerate(curves.items()):
    trained = np.isfinite(rmse)
    # Side by side, or an interval would hide another.
    shift = (most / least) ** (0.008 * (i - (len(curves) - 1) / 2))
    x, y = shift * sizes[trained], rmse[trained]
    _draw_curve(panel, x, y, low[trained], high[trained], i, name)
    ends.append(y[np.argmax(x)])
    colors.append(figure_style.INKS[i % len(figure_style.INKS)])
  # As many as have room: 1, 2, 5, 10 or 1, 3, 10 or 1, 10.
  span = most / least
  subs = (1, 2, 5) if span < 50 else (1, 3) if span < 2000 else (1,)
  panel.xaxis.set_major_locator(ticker.LogLocator(subs=subs))
  panel.xaxis.set_major_formatter(figure_style.WHOLE)
  panel.xaxis.set_minor_formatter(ticker.NullFormatter())
  panel.set(xlabel="Training galaxies", ylabel=f"RMSE of {label} (dex)")
  figure_style.draw_grid(panel)
  _label_at_right(panel, ends, list(curves), colors)
  figure_style.save_for_print(fig, path, title)


def _draw_curve(
  panel: axes.Axes,
  x: np.ndarray,
  y: np.ndarray,
  low: np.ndarray,
  high: np.ndarray,
  number: int,
  name: str,
) -> None:
  color = figure_style.INKS[number % len(figure_style.INKS)]
  marker = "osD^"[number % 4]
  order = np.argsort(x)
  # Not `errorbar`, which refuses an interval that does not hold its value.
  panel.vlines(x, low, high, color=color, lw=1.2)
  panel.plot(
    x[order], y[order], f"{marker}-", ms=4, lw=1.2, color=color, label=name
  )


def spread(values: np.ndarray, gap: float) -> np.ndarray:
  """Moves values apart as little as possible, in the sense of least squares.

  Args:
    values: `[K]`.
    gap: the least distance between two of them.

  Returns:
    `[K]`, in the order of `values`, apart by `gap` or more.
  """
  order = np.argsort(values, kind="stable")
  steps = gap * np.arange(len(values))
  moved = np.empty(len(values))
  moved[order] = isotonic.isotonic_regression(values[order] - steps) + steps
  return moved


def _label_at_right(
  panel: axes.Axes, values: list[float], names: list[str], colors: list[str]
) -> None:
  """Writes names beside the panel, at their values or as near as they fit."""
  if not names:
    return
  low, high = panel.get_ylim()
  heights = spread(np.array(values), _LINE * (high - low))
  for height, name, color in zip(heights, names, colors, strict=True):
    panel.text(
      1.02,
      height,
      name,
      transform=panel.get_yaxis_transform(),
      va="center",
      fontsize=8.5,
      color=color,
    )
