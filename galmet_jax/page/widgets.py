"""The linked plots, search, filters and table of a page."""

from collections.abc import Iterable
from collections.abc import Mapping

from bokeh import models
from bokeh.models import widgets
import numpy as np

from galmet_jax import quantities
from galmet_jax.page import linked_plots
from galmet_jax.page import scripts
from galmet_jax.page import sprites

# Columns of the table.
_COLUMNS = {
  "id": "id",
  "split": "split",
  "true": "true",
  "pred": "predicted",
  "residual": "residual",
  "pred_p16": "p16",
  "pred_p84": "p84",
  "pred_p2p5": "p2.5",
  "pred_p97p5": "p97.5",
  "ood_p": "p of the image",
  "mass": "log mass",
  "flags": "flags",
}
_TEXTS = ("id", "split", "flags")
# Bokeh's widgets do not see the page's style sheet.
_STYLE = """
@media (prefers-color-scheme: dark) {
  .bk-input, .bk-btn, .slick-header-column, .slick-cell, .slick-row,
  .slick-viewport, .slick-header { background: #16191d !important;
    color: #e4e7eb !important; border-color: #4a5058 !important; }
}
"""

# Rows of the table.
_LIMIT = 1_000


def explorer(
  columns: Mapping[str, np.ndarray],
  target: quantities.Quantity,
  systems: Mapping[str, str],
  curve: np.ndarray | None = None,
) -> dict[str, models.ui.UIElement]:
  """Returns linked plots with search, filters and a table.

  Args:
    columns: by name, `[N]` each: those of `page.Content.galaxies` and of
      `sprites.place`.
    target: the predicted target.
    systems: see `page.Content`.
    curve: see `page.Content`.

  Returns:
    `search`, `flags`, `range`, `count`, `plot_0`, `plot_1` etc., `download` and
    `table`; `system` and `split` if there are several.
  """
  data = dict(columns)
  if "true" in data:
    data["residual"] = data["pred"] - data["true"]
  if "pred_p84" in data:
    data["width"] = data["pred_p84"] - data["pred_p16"]
  source = models.ColumnDataSource(data)
  shown = models.BooleanFilter(booleans=[True] * len(data["id"]))
  view = models.CDSView(filter=shown)
  plots = {
    f"plot_{i}": plot
    for i, plot in enumerate(linked_plots.draw(source, view, target, curve))
  }
  system = _systems(source, systems)
  controls = _controls(source, shown, system, ["pred", *systems])
  return system | controls | plots | _table(source)


def _systems(
  source: models.ColumnDataSource, systems: Mapping[str, str]
) -> dict[str, models.ui.UIElement]:
  if not systems:
    return {}
  options: list = list(systems.items())
  select = widgets.Select(
    title="System",
    value=next(iter(systems)),
    options=options,
    stylesheets=[_STYLE],
    sizing_mode="stretch_width",
  )
  select.js_on_change(
    "value",
    models.CustomJS(
      args={"source": source, "select": select}, code=scripts.SYSTEM
    ),
  )
  return {"system": select}


def _controls(
  source: models.ColumnDataSource,
  shown: models.BooleanFilter,
  system: Mapping[str, models.ui.UIElement],
  predictions: Iterable[str],
) -> dict[str, models.ui.UIElement]:
  data = source.data
  search = widgets.TextInput(title="Search an id", placeholder="part of an id")
  search.js_on_change(
    "value_input",
    models.CustomJS(
      args={"source": source, "search": search}, code=scripts.SEARCH
    ),
  )
  # Without what was found instead of an image, in brackets.
  texts = {
    part.partition(" (")[0]
    for text in set(data["flags"])
    for part in text.split("; ")
  }
  options = ["all", "none", *sorted(texts - {""})]
  found: dict[str, widgets.Widget] = {
    "search": search,
    "flags": widgets.Select(title="Flags", value="all", options=options),
    "range": _range(np.concatenate([data[name] for name in predictions])),
  }
  splits = sorted(set(data.get("split", ())))
  if len(splits) > 1:
    found["split"] = widgets.Select(
      title="Split", value="all", options=["all", *splits]
    )
  count = widgets.Div(text=f"{len(data['id']):,} galaxies.")
  args = {"source": source, "shown": shown, "count": count, "split": None}
  names = [name for name in found if name != "search"]
  apply = models.CustomJS(
    args=args | {name: found[name] for name in names}, code=scripts.FILTER
  )
  for name in names:
    event = "value_throttled" if name == "range" else "value"
    found[name].js_on_change(event, apply)
  for widget in system.values():
    # Called after the script that replaces the predictions.
    widget.js_on_change("value", apply)
  for widget in found.values():
    widget.update(stylesheets=[_STYLE], sizing_mode="stretch_width")
  return {**found, "count": count}


def _range(values: np.ndarray) -> widgets.RangeSlider:
  known = values[np.isfinite(values)]
  low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
  step = 10.0 ** np.floor(np.log10(max(high - low, 1e-6) / 20))
  low, high = step * np.floor(low / step), step * (np.floor(high / step) + 1)
  return widgets.RangeSlider(
    title="Predicted",
    start=low,
    end=high,
    value=(low, high),
    step=step,
    format="0[.]000",
  )


def _table(source: models.ColumnDataSource) -> dict[str, models.ui.UIElement]:
  names = [name for name in _COLUMNS if name in source.column_names]
  chosen = models.IndexFilter(indices=[])
  source.selected.js_on_change(
    "indices",
    models.CustomJS(
      args={"source": source, "chosen": chosen, "limit": _LIMIT},
      code=scripts.SELECT,
    ),
  )
  number = widgets.NumberFormatter(format="0.000", nan_format="-")
  html = linked_plots.thumbnail("<%- sheet %>", "<%- left %>", "<%- top %>")
  image = widgets.TableColumn(
    field="sheet",
    title="image",
    formatter=widgets.HTMLTemplateFormatter(template=html),
    sortable=False,
    width=sprites.SIDE + 10,
  )
  columns = [
    widgets.TableColumn(
      field=name,
      title=_COLUMNS[name],
      formatter=widgets.StringFormatter() if name in _TEXTS else number,
      width={"id": 170, "flags": 170, "ood_p": 110}.get(name, 80),
    )
    for name in names
  ]
  table = widgets.DataTable(
    source=source,
    view=models.CDSView(filter=chosen),
    columns=[image, *columns],
    row_height=sprites.SIDE + 6,
    index_position=None,
    autosize_mode="none",
    # Otherwise the browser's console has a warning.
    reorderable=False,
    height=320,
    sizing_mode="stretch_width",
    stylesheets=[_STYLE],
  )
  button = widgets.Button(
    label="Download the selection (CSV)", stylesheets=[_STYLE]
  )
  button.js_on_click(
    models.CustomJS(
      args={"source": source, "names": names}, code=scripts.DOWNLOAD
    )
  )
  return {"download": button, "table": table}
