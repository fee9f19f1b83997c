"""Style of a page, and its further figures."""

from collections.abc import Mapping
from collections.abc import Sequence
import itertools
from typing import Any

from bokeh.models import Range1d
from bokeh.plotting import figure

from galmet_jax import figure_style

_HEIGHT = 380  # px

STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --back: #ffffff;
  --line: #c8ccd1; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e7eb; --back: #16191d; --line: #4a5058; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--text);
  background: var(--back); margin: 1rem auto; padding: 0 1rem;
  max-width: 1180px; }
h1 { font-size: 1.3rem; margin: 0 0 .4rem; }
h2 { font-size: 1.1rem; margin: 1.4rem 0 .4rem; }
p { margin: .3rem 0 .8rem; max-width: 48rem; }
.plots { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); }
.controls { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(180px, 1fr)); }
.gallery { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(345px, 1fr)); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: .15rem .7rem .15rem 0; text-align: left;
  border-bottom: 1px solid var(--line); }
a { color: inherit; }
figure { margin: 0; font-size: .8rem; }
figure img { margin-right: 2px; }
"""

# Bokeh draws on a canvas, which has no style sheet.
DARK = """
const blues = new Set();
function recolour(dark) {
  const text = dark ? "#e4e7eb" : "#1b1f24";
  const line = dark ? "#4a5058" : "#c8ccd1";
  const blue = "#0072B2", bright = "#56B4E9";
  const back = dark ? "#16191d" : "#ffffff";
  for (const document of Bokeh.documents) {
    for (const model of document._all_models.values()) {
      if (model.type == "Figure") {
        model.background_fill_color = model.border_fill_color = back;
        model.outline_line_color = line;
      } else if (model.type.endsWith("Axis")) {
        model.axis_label_text_color = model.major_label_text_color = text;
        model.axis_line_color = model.major_tick_line_color = line;
        model.minor_tick_line_color = line;
      } else if (model.type == "Grid") {
        model.grid_line_color = line;
        model.grid_line_alpha = 0.5;
      } else if (model.type == "Title") {
        model.text_color = text;
      } else if (model.type == "GlyphRenderer") {
        for (const glyph of [model.glyph, model.nonselection_glyph]) {
          if (glyph.line_color?.value == blue) { blues.add(glyph); }
          if (blues.has(glyph)) {
            const color = {value: dark ? bright : blue};
            glyph.line_color = color;
            if (glyph.type == "Scatter") { glyph.fill_color = color; }
          }
        }
      } else if (model.type == "Legend") {
        model.background_fill_color = back;
        model.border_line_color = line;
        model.label_text_color = text;
      }
    }
  }
}
const scheme = matchMedia("(prefers-color-scheme: dark)");
function start() {
  if (!Bokeh.documents.length) { setTimeout(start, 50); return; }
  recolour(scheme.matches);
}
scheme.addEventListener("change", () => recolour(scheme.matches));
start();
"""


def new_figure(x: str, y: str, **options: Any) -> figure:
  """Returns an empty figure with labelled axes."""
  plot = figure(
    height=_HEIGHT,
    x_axis_label=x,
    y_axis_label=y,
    sizing_mode="stretch_width",
    **options,
  )
  # It is a link to Bokeh's site.
  plot.toolbar.logo = None
  return plot


def coverage(block: Mapping[str, Any], split: str) -> figure:
  """Draws how many galaxies lie within intervals of a probability.

  Args:
    block: `calibration` of the split in summary.json.
    split: name of the split.
  """
  rows = block["coverage"]
  nominal, measured, low, high = zip(*rows, strict=True)
  plot = new_figure(
    "probability of the interval",
    "galaxies within",
    title=f"Intervals: {split}, {block['n']:,} galaxies",
    tools="save",
  )
  plot.x_range = plot.y_range = Range1d(start=0, end=1)
  plot.varea(nominal, low, high, fill_color=figure_style.PALE_BLUE, alpha=0.5)
  plot.line((0, 1), (0, 1), color=figure_style.RED, line_dash="dashed")
  plot.scatter(nominal, measured, color=figure_style.BLUE, size=7)
  return plot


def training(
  records: Mapping[str, Sequence[Mapping[str, Any]]], unit: str
) -> figure:
  """Draws the validation RMSE of a training or several.

  Args:
    records: rows of metrics.jsonl by name of the network; the name of a single
      one is not shown.
    unit: of the targets; may be empty.
  """
  name = "validation/rmse"
  label = f"validation RMSE [{unit}]" if unit else "validation RMSE"
  plot = new_figure("step", label, title="Training", tools="save")
  for color, (network, rows) in zip(
    itertools.cycle(figure_style.COLORS), records.items(), strict=False
  ):
    known = [row for row in rows if row.get(name) is not None]
    steps, values = ([row[key] for row in known] for key in ("step", name))
    style: dict[str, Any] = {}
    if len(records) > 1:
      style["legend_label"] = network
    plot.line(steps, values, color=color, **style)
    plot.scatter(steps, values, color=color, size=5)
  return plot
