"""Figures that compare runs: RMSE against resolution and training size.

Each function writes one PNG. A curve is an array `[K, 3]`: RMSE and the ends
of its 68 % interval, in dex.
"""

from collections.abc import Mapping
import pathlib

from matplotlib import axes
from matplotlib import figure
from matplotlib import ticker
import numpy as np

from galmet_jax import figure_style
from galmet_jax.paper import published


def resolution(
  path: pathlib.Path,
  sides: np.ndarray,
  curve: np.ndarray,
  baselines: Mapping[str, float],
  *,
  title: str,
) -> None:
  """Draws the test RMSE against image size, with the paper's values.

  Args:
    path: file to write.
    sides: `[K]`, image sides in pixels, 1 to 128, ascending.
    curve: `[K, 3]`.
    baselines: RMSE by name, for systems that see no images.
    title: title of the figure.
  """
  fig = figure.Figure(figsize=(5.4, 3.9), layout="constrained")
  panel = fig.subplots()
  _draw_curve(panel, sides, curve, 0, "this work")
  panel.plot(
    list(published.RESOLUTIONS),
    list(published.RESOLUTIONS.values()),
    "s",
    ms=7,
    mfc="none",
    color=figure_style.INKS[1],
    label="Wu & Boada (2019), SDSS",
    zorder=4,
  )
  for i, (name, rmse) in enumerate(baselines.items()):
    style, label = ("--", ":")[i % 2], f"{name}: {rmse:.3f}"
    panel.axhline(rmse, color=figure_style.GREY, ls=style, lw=1.2, label=label)
  panel.set_xscale("log", base=2)
  panel.set(xlim=(2**-0.5, 2**7.5), xlabel="Pixels on a side")
  panel.xaxis.set_major_locator(ticker.FixedLocator([2**i for i in range(8)]))
  panel.xaxis.set_major_formatter("{x:.0f}")
  panel.xaxis.set_minor_locator(ticker.NullLocator())
  panel.set_ylabel("RMSE (dex)")
  _finish(fig, panel, path, title)


def learning_curve(
  path: pathlib.Path,
  sizes: np.ndarray,
  curves: Mapping[str, np.ndarray],
  quantity: str,
  *,
  title: str,
) -> None:
  """Draws the test RMSE against the number of training galaxies.

  Args:
    path: file to write.
    sizes: `[K]`, numbers of training galaxies, ascending.
    curves: `[K, 3]` by model.
    quantity: name of the target, such as '12 + log(O/H)'.
    title: title of the figure.
  """
  fig = figure.Figure(figsize=(5.4, 3.7), layout="constrained")
  panel = fig.subplots()
  left, right = sizes[0] / 1.25, sizes[-1] * 1.25
  panel.set(xscale="log", xlim=(left, right))
  for i, (name, curve) in enumerate(curves.items()):
    # Shift the curves, or one interval would hide another.
    shift = (right / left) ** (0.008 * (i - (len(curves) - 1) / 2))
    _draw_curve(panel, shift * sizes, curve, i, name)
  # As many tick labels per decade as fit.
  span = right / left
  subs = (1, 2, 5) if span < 50 else (1, 3) if span < 2000 else (1,)
  panel.xaxis.set_major_locator(ticker.LogLocator(subs=subs))
  panel.xaxis.set_major_formatter(figure_style.WHOLE)
  panel.xaxis.set_minor_formatter(ticker.NullFormatter())
  panel.set(xlabel="Training galaxies", ylabel=f"RMSE of {quantity} (dex)")
  _finish(fig, panel, path, title)


def _draw_curve(
  panel: axes.Axes, x: np.ndarray, curve: np.ndarray, number: int, name: str
) -> None:
  color = figure_style.INKS[number % len(figure_style.INKS)]
  style = f"{'osD^'[number % 4]}-"
  rmse, low, high = curve.T
  # `errorbar` rejects an interval that excludes its value, as a bootstrap of
  # few galaxies may give.
  panel.vlines(x, low, high, color=color, lw=1.2)
  panel.plot(x, rmse, style, ms=4, lw=1.2, color=color, label=name)


def _finish(
  fig: figure.Figure, panel: axes.Axes, path: pathlib.Path, title: str
) -> None:
  figure_style.draw_grid(panel)
  panel.legend(
    loc="lower left",
    bbox_to_anchor=(0, 1),
    ncols=2,
    fontsize=8.5,
    frameon=False,
  )
  figure_style.save_for_print(fig, path, title)
