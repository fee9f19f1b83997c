"""Writes a page of galaxies and their predictions."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import html
import pathlib
import re

from bokeh import embed
from bokeh import resources
from bokeh.models import Model
import numpy as np
import pandas as pd

from galmet_jax import quantities
from galmet_jax.page import gallery as gallery_lib
from galmet_jax.page import panels
from galmet_jax.page import sprites
from galmet_jax.page import widgets
from tfds_sdss import files

# The id of one of Bokeh's models. In the text of a galaxy quotes are escaped.
_MODEL = r'(?<="id":")p\d+(?=")'
# A browser takes seconds for more.
MAX_GALAXIES = 50_000

# The file may neither load anything nor send anything.
_POLICY = (
  "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
  "style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)


@dataclasses.dataclass(frozen=True)
class Content:
  """What a page shows.

  Attributes:
    title: heading of the page.
    facts: a sentence or more about the run, plain text.
    target: the target that is predicted.
    galaxies: a row for each of N galaxies: `id` and `flags` (text) and `pred`;
      where they are known, `split` (text), `true`, `pred_p16`, `pred_p84`,
      `pred_p2p5`, `pred_p97p5`, `ood_p` and `mass` (log10, solar masses).
    images: returns the images, uint8 `[n, S, S, 3]`, of rows of `galaxies`,
      int `[n]`.
    figures: further figures.
    gallery: some galaxies with maps, or None.
    systems: label by name of a column of `galaxies` that may replace `pred`;
      that of the first is `pred`.
    table: HTML to show first.
    curve: masses and metallicities of a relation, `[2, n]`, or None. Galaxies
      with `mass` and `true` are drawn beside it.
  """

  title: str
  facts: str
  target: quantities.Quantity
  galaxies: pd.DataFrame
  images: Callable[[np.ndarray], np.ndarray]
  figures: Sequence[Model] = ()
  gallery: gallery_lib.Gallery | None = None
  systems: Mapping[str, str] = dataclasses.field(default_factory=dict)
  table: str = ""
  curve: np.ndarray | None = None


def write(path: pathlib.Path, content: Content, seed: int = 0) -> None:
  """Writes the page.

  Args:
    path: the HTML file.
    content: what to show.
    seed: chooses galaxies, if there are too many for a browser.
  """
  total = len(content.galaxies)
  facts = content.facts
  chosen = np.arange(total)
  if total > MAX_GALAXIES:
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(total, MAX_GALAXIES, replace=False))
    facts += (
      f" The page shows {MAX_GALAXIES:,} of {total:,} galaxies, chosen at "
      f"random with seed {seed}."
    )
  galaxies = content.galaxies.iloc[chosen]
  columns = {name: galaxies[name].to_numpy() for name in galaxies}
  columns |= sprites.place(len(galaxies))
  parts = widgets.explorer(
    columns, content.target, content.systems, content.curve
  )
  figures = {f"figure_{i}": x for i, x in enumerate(content.figures)}
  script, divs = _renumber(*embed.components(parts | figures))
  sheets = "".join(
    f"--s{i}:url({sheet});"
    for i, sheet in enumerate(sprites.sheets(content.images, chosen))
  )
  text = _PAGE.format(
    policy=_POLICY,
    title=html.escape(content.title),
    facts=html.escape(facts),
    style=panels.STYLE,
    sheets=sheets,
    library=_LIBRARY.render(),
    systems=content.table,
    count=divs["count"],
    controls=_join(divs, ("system", "search", "flags", "range", "split")),
    plots=_join(divs, (name for name in parts if name.startswith("plot_"))),
    selection=_join(divs, ("download", "table")),
    figures=f'<h2>Figures</h2><div class="plots">{_join(divs, figures)}</div>'
    if figures
    else "",
    gallery=gallery_lib.to_html(content.gallery) if content.gallery else "",
    script=script,
    dark=panels.DARK,
  )
  files.write_atomically(path, text.encode())


def _renumber(
  script: str, divs: Mapping[str, str]
) -> tuple[str, dict[str, str]]:
  """Replaces Bokeh's ids, which differ between processes: pages are equal."""
  ids = dict.fromkeys(re.findall(_MODEL, script))
  names = {each: f"m{i}" for i, each in enumerate(ids)}

  def rename(pattern: str, text: str) -> str:
    return re.sub(pattern, lambda found: names[found[0]], text)

  script = rename(_MODEL, script)
  start = script.index("const render_items")
  end = script.index("\n", start)
  roots = rename(r"\bp\d+\b", script[start:end])
  script = script[:start] + roots + script[end:]
  found = {
    name: rename(r'(?<=root-id=")p\d+', div) for name, div in divs.items()
  }
  random = re.findall('"docid":"([^"]+)"', roots)
  random += [re.findall(' id="([^"]+)"', div)[0] for div in divs.values()]
  for i, each in enumerate(random):
    script = script.replace(each, f"part{i}")
    found = {name: x.replace(each, f"part{i}") for name, x in found.items()}
  return script, found


def _join(divs: Mapping[str, str], names: Iterable[str]) -> str:
  """Returns those of the parts that exist, each in a cell."""
  return "".join(f"<div>{divs[name]}</div>" for name in names if name in divs)


_LIBRARY = resources.Resources(
  mode="inline",
  components=["bokeh", "bokeh-gl", "bokeh-widgets", "bokeh-tables"],
)

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style} :root{{{sheets}}}</style>
{library}
</head>
<body>
<h1>{title}</h1>
<p>{facts}</p>
{systems}
<div class="controls">{controls}</div>
{count}
<div class="plots">{plots}</div>
<h2>Selection</h2>
<p>Select galaxies with the lasso, a click or the search. The table shows the
first 1,000; the download has all.</p>
{selection}
{gallery}
{figures}
{script}
<script>{dark}</script>
</body>
</html>
"""
