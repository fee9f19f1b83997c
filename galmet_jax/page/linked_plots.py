"""The linked plots of a page: a lasso in one selects in all."""

from collections.abc import Sequence

from bokeh import models
from bokeh.models.annotations import geometry
from bokeh.plotting import figure
import numpy as np

from galmet_jax import figure_style
from galmet_jax import quantities
from galmet_jax.page import panels
from galmet_jax.page import sprites


def draw(
  source: models.ColumnDataSource,
  view: models.CDSView,
  target: quantities.Quantity,
  curve: np.ndarray | None,
) -> list[figure]:
  """Draws the galaxies in several plots, with the same selection.

  Args:
    source: the galaxies.
    view: those that are shown.
    target: the predicted target.
    curve: see `page.Content`.
  """
  names = source.column_names
  unit = f" [{target.unit}]" if target.unit else ""
  predicted = ("pred", f"predicted {target.label}")
  residual = ("residual", f"predicted − true{unit}")
  mass = ("mass", "log stellar mass [solar masses]")
  if "true" in names:
    true = ("true", f"true {target.label}")
    axes = [(true, predicted), (predicted, residual)]
    if "mass" in names:
      axes += [(mass, predicted), (mass, residual)]
  else:
    width = ("width", f"width of the 68 % interval{unit}")
    axes = [(predicted, width), (predicted, ("ood_p", "p of the image"))]
  plots = [_draw(source, view, x, y) for x, y in axes]
  if curve is not None:
    # The third plot is that of mass and prediction.
    plots[2].line(*curve, color=figure_style.RED, line_width=2)
  return plots


def _draw(
  source: models.ColumnDataSource,
  view: models.CDSView,
  x: tuple[str, str],
  y: tuple[str, str],
) -> figure:
  plot = panels.new_figure(
    x[1],
    y[1],
    tools="pan,wheel_zoom,box_select,lasso_select,tap,reset,save",
    active_drag="lasso_select",
    # A canvas takes seconds for tens of thousands of points.
    output_backend="webgl",
  )
  dots = plot.scatter(
    x[0],
    y[0],
    source=source,
    view=view,
    size=5,
    color=figure_style.BLUE,
    alpha=0.6,
    selection_color=figure_style.RED,
    nonselection_alpha=0.15,
  )
  tooltip = _tooltip(source.column_names)
  plot.add_tools(models.HoverTool(renderers=[dots], tooltips=tooltip, limit=1))
  if x[0] == "true" or y[0] == "residual":
    plot.add_layout(
      geometry.Slope(
        gradient=float(x[0] == "true"),
        y_intercept=0,
        line_color=figure_style.RED,
        line_dash="dashed",
      )
    )
  return plot


def _tooltip(columns: Sequence[str]) -> str:
  """Returns a tooltip with the thumbnail; Bokeh escapes the values."""
  lines = ["@id", "predicted @pred{0.000}"]
  if "true" in columns:
    lines[1:1] = ["@split"] if "split" in columns else []
    lines += ["true @true{0.000}, difference @residual{0.000}"]
  if "width" in columns:
    lines += [
      "68 %: @pred_p16{0.000} to @pred_p84{0.000}",
      "95 %: @pred_p2p5{0.000} to @pred_p97p5{0.000}",
      "p of the image @ood_p{0.000}",
    ]
  lines.append("@flags")
  rows = "".join(f"<div>{line}</div>" for line in lines)
  # Bokeh's tooltips are translucent, which would change the colours.
  return (
    "<div><style>:host { opacity: 1 !important; }</style>"
    f"{thumbnail('@{sheet}', '@{left}', '@{top}')}"
    f'<div style="max-width:18rem">{rows}</div></div>'
  )


def thumbnail(sheet: str, left: str, top: str) -> str:
  """Returns HTML that shows a part of a sheet."""
  side = f"{sprites.SIDE}px"
  return (
    f'<div style="width:{side};height:{side};background-image:var(--s{sheet});'
    f'background-position:{left}px {top}px"></div>'
  )
