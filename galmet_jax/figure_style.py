"""Settings, colours, histogram cells and file output shared by all figures.

Figures are built from matplotlib objects without pyplot, whose global state and
display backend do not suit threads and batch jobs.
"""

from collections.abc import Iterator
import contextlib
import io
import pathlib
from typing import Any

import matplotlib
from matplotlib import axes
from matplotlib import collections
from matplotlib import colors
from matplotlib import figure
from matplotlib import ticker
import numpy as np

from tfds_sdss import files
from tfds_sdss import signals

# Okabe & Ito (2008): distinguishable with any kind of colour vision.
BLUE, RED = "#0072B2", "#D55E00"
COLORS = (BLUE, "#E69F00", "#009E73", "#CC79A7", "#56B4E9", RED)
# The colours dark enough for thin lines and text.
INKS = (BLUE, RED, COLORS[2], COLORS[3])
PALE_BLUE, GREY = "#8FBFDD", "#5F5F5F"
WHOLE = "{x:,.0f}"
# With fewer galaxies most cells of a 2-D histogram are empty.
MANY = 500
# Without the palest shades, which look like an empty cell.
_BLUES = matplotlib.colormaps["Blues"](np.linspace(0.22, 1, 256))
# Without the dark shades, on which a line is invisible.
_GREYS = matplotlib.colormaps["Greys"](np.linspace(0.08, 0.5, 256))


@contextlib.contextmanager
def optional(path: pathlib.Path) -> Iterator[None]:
  """Draws with matplotlib's own settings; a failure costs one line only.

  The user's matplotlibrc may need TeX or fonts that are absent here.

  Args:
    path: the figure or its folder, for the message.
  """
  signals.check()
  try:
    with matplotlib.rc_context():
      matplotlib.rcdefaults()
      yield
  # Whatever goes wrong, the numbers are worth more than a figure.
  except Exception as error:
    reason = " ".join(str(error).split())[:200]
    print(f"{path} is not drawn ({type(error).__name__}: {reason}).")


def cell_edges(values: np.ndarray, number: int) -> np.ndarray:
  """Divides the range of finite values `[K]` into cells of equal width.

  Returns edges `[B + 1]`, with a margin on both sides. More galaxies (`number`)
  give finer cells.
  """
  low, high = float(np.min(values)), float(np.max(values))
  # Equal values still get cells of non-zero width.
  margin = 0.03 * (high - low) or 0.1
  # Rice's rule, limited to cells large enough to see.
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
  """Draws points for few galaxies and a 2-D histogram for many.

  The outermost edges become the panel's limits. Pale grey is meant as a
  background for coloured lines.

  Returns:
    The cells, with a logarithmic scale from one galaxy to the fullest cell, or
    None for points.
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
  """Draws the colour bar of cells; `kwargs` are those of `Figure.colorbar`."""
  colorbar = bar.figure.colorbar(mesh, bar, format=WHOLE, **kwargs)
  colorbar.long_axis.set_minor_formatter(ticker.NullFormatter())
  bar.tick_params(labelsize=8)


def open_sides(panel: axes.Axes) -> None:
  """Hides the top and right spines."""
  panel.spines[["top", "right"]].set_visible(False)


def draw_grid(panel: axes.Axes) -> None:
  """Draws a pale grid and hides the top and right spines."""
  open_sides(panel)
  panel.grid(color="#E5E5E5", lw=0.6)


def save(fig: figure.Figure, path: pathlib.Path, dpi: int = 150) -> None:
  """Writes a figure as PNG, whole or not at all; creates its folder."""
  path.parent.mkdir(parents=True, exist_ok=True)
  image = io.BytesIO()
  # "tight" gives every figure the same margin, whatever the size of its labels.
  fig.savefig(image, dpi=dpi, bbox_inches="tight", pad_inches=0.12)
  files.write_atomically(path, image.getvalue())


def save_for_print(fig: figure.Figure, path: pathlib.Path, title: str) -> None:
  """Writes a figure with constrained layout and a title at 300 dpi."""
  fig.suptitle(title, x=0.01, ha="left", fontsize=11)
  save(fig, path, dpi=300)
