"""The paper's figures as panels of a page."""

from collections.abc import Mapping

from bokeh.plotting import figure
import numpy as np
import pandas as pd

from galmet_jax import figure_style
from galmet_jax import quantities
from galmet_jax.page import panels

_BINS = 30


def curve(
  rows: pd.DataFrame,
  systems: Mapping[int, str],
  label: str,
  target: quantities.Quantity,
) -> figure:
  """Draws the RMSE of systems against a number.

  Args:
    rows: from `table.compare_systems`.
    systems: system by number.
    label: of the number.
    target: the first target.
  """
  numbers = sorted(systems)
  found = rows.set_index("system").loc[[systems[x] for x in numbers]]
  plot = panels.new_figure(
    label,
    f"RMSE [{target.unit}]" if target.unit else "RMSE",
    title="RMSE with 68 % intervals",
    tools="save",
    x_axis_type="log",
  )
  blue = figure_style.BLUE
  plot.segment(numbers, found.rmse_low, numbers, found.rmse_high, color=blue)
  plot.line(numbers, found.rmse, color=blue)
  plot.scatter(numbers, found.rmse, color=blue, size=7)
  return plot


def distributions(
  values: Mapping[str, np.ndarray], target: quantities.Quantity
) -> figure:
  """Draws histograms of true and predicted values.

  Args:
    values: `[N]` by label.
    target: the first target.
  """
  finite = np.concatenate([x[np.isfinite(x)] for x in values.values()])
  edges = np.histogram_bin_edges(finite, _BINS)
  plot = panels.new_figure(
    target.label, "galaxies", title="Distributions", tools="save"
  )
  for i, (label, numbers) in enumerate(values.items()):
    counts = np.histogram(numbers, edges)[0]
    plot.step(
      edges,
      np.append(counts, counts[-1]),
      mode="after",
      color=figure_style.INKS[i % len(figure_style.INKS)],
      line_width=2,
      legend_label=label,
    )
  plot.legend.location = "top_left"
  return plot
