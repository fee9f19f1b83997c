"""What the figures share: colours, cells, axes, files.

Drawn with matplotlib's objects alone: pyplot keeps global state and looks for
a display, which threads and batch jobs cannot share or do not have.
"""

import pathlib
from typing import Any

import matplotlib
from matplotlib import axes
from matplotlib import collections
from matplotlib import colors
from matplotlib import figure
from matplotlib import ticker
import numpy as np

# Okabe & Ito (2008): told apart with every kind of colour vision.
BLUE, RED = "#0072B2", "#D55E00"
COLORS = (BLUE, "#E69F00", "#009E73", "#CC79A7", "#56B4E9", RED)
# Those of them dark enough for thin lines and for text.
INKS = (BLUE, RED, COLORS[2], COLORS[3])
PALE_BLUE, GREY = "#8FBFDD", "#5F5F5F"
WHOLE = "{x:,.0f}"
# Fewer galaxies would leave most cells of a 2-D histogram empty.
MANY = 500
# The palest shades would not differ from an empty cell.
_BLUES = matplotlib.colormaps["Blues"](np.linspace(0.22, 1, 256))
# Never so dark that a line upon them is lost.
_GREYS = matplotlib.colormaps["Greys"](np.linspace(0.08, 0.5, 256))


def cell_edges(values: np.ndarray, number: int) -> np.ndarray:
  """Divides the range of all values into cells of equal width.

  Args:
    values: `[K]`, finite.
    number: of galaxies; the more, the finer the cells.

  Returns:
    edges `[B + 1]`, a little beyond the least and the greatest value.
  """
  low, high = float(np.min(values)), float(np.max(values))
  # A single value needs room as well.
  margin = 0.03 * (high - low) or 0.1
  # Twice the cube root (Rice's rule), within what the eye can resolve.
  num_bins = int(np.clip(round(2 * np.cbrt(number)), 12, 60))
  return np.linspace(low - margin, high + margin, num_bins + 1)


def draw_galaxies(
  panel: axes.Axes,
  x: np.ndarray,
  y: np.ndarray,
  x_edges: np.ndarray,
  y_edges: np.ndarray,
  *,
  grey: bool = False,
) -> collections.QuadMesh | None:
  """Draws points for few galaxies, a 2-D histogram for many.

  Args:
    panel: to draw in; its limits become the outermost edges.
    x: `[N]`.
    y: `[N]`.
    x_edges: `[B + 1]`, of the cells.
    y_edges: `[C + 1]`, of the cells.
    grey: in pale grey, as the background of coloured lines.

  Returns:
    The cells, of logarithmic shades from one galaxy to the most in a cell, or
    None where there are points.
  """
  panel.set(xlim=x_edges[[0, -1]], ylim=y_edges[[0, -1]])
  if len(x) < MANY:
    color, alpha = (GREY, 0.4) if grey else (BLUE, 0.6)
    panel.scatter(x, y, s=16, color=color, alpha=alpha, linewidths=0)
    return None
  counts = np.histogram2d(x, y, bins=(x_edges, y_edges))[0]
  cmap = colors.ListedColormap(_GREYS if grey else _BLUES)
  norm = colors.LogNorm(vmin=1, vmax=counts.max())
  cells = np.ma.masked_equal(counts.T, 0)
  return panel.pcolormesh(x_edges, y_edges, cells, cmap=cmap, norm=norm)


def draw_counts(
  mesh: collections.QuadMesh, bar: axes.Axes, **kwargs: Any
) -> None:
  """Draws what the shades of the cells mean.

  Args:
    mesh: the cells, from `draw_galaxies`.
    bar: to draw in.
    **kwargs: of `Figure.colorbar`.
  """
  colorbar = bar.figure.colorbar(mesh, bar, format=WHOLE, **kwargs)
  colorbar.long_axis.set_minor_formatter(ticker.NullFormatter())
  bar.tick_params(labelsize=8)


def open_sides(panel: axes.Axes) -> None:
  """Takes the upper and the right side of the frame away."""
  panel.spines[["top", "right"]].set_visible(False)


def draw_grid(panel: axes.Axes) -> None:
  """Draws a pale grid in an open frame."""
  open_sides(panel)
  panel.grid(color="#E5E5E5", lw=0.6)


def save(fig: figure.Figure, path: pathlib.Path, dpi: int = 150) -> None:
  """Writes a figure as PNG, of `dpi` pixels in an inch."""
  # The same margin around all that is drawn, however long its labels.
  fig.savefig(path, dpi=dpi, bbox_inches="tight", pad_inches=0.12)


def save_for_print(fig: figure.Figure, path: pathlib.Path, title: str) -> None:
  """Writes a figure of constrained layout, titled at its upper left."""
  fig.suptitle(title, x=0.01, ha="left", fontsize=11)
  save(fig, path, dpi=300)
