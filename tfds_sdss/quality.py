"""The data-quality report of a sample: what went in, what is lost, what is odd.

`quality.md` and `quality.png` lie beside the shards, so that whoever gets the
data set gets them too.
"""

from __future__ import annotations

from collections.abc import Mapping
import logging
import pathlib
from typing import Any

import numpy as np
import pandas as pd

from tfds_sdss import columns
from tfds_sdss import splits
from tfds_sdss.sample import CATALOG
from tfds_sdss.sample import Sample

REPORT = "quality.md"
FIGURE = "quality.png"

# A cutout with more exactly black pixels lies at the edge of the survey.
BLACK = 0.1
_QUANTILES = (0.5, 0.9, 0.99, 0.999, 1)
_NOT_MEASURED = ("objid", "specobjid", "ra", "dec", "bptclass")
_PANELS = (
  ("oh_p50", "12 + log(O/H) (dex)"),
  ("lgm_tot_p50", "log stellar mass (dex of solar masses)"),
  ("petroR90_r", "petroR90_r (arcsec)"),
  ("z", "redshift"),
  ("modelMag_r", "modelMag_r (mag)"),
  ("g - r", "modelMag_g - modelMag_r (mag)"),
  ("black_fraction", "exactly black pixels (fraction)"),
)

_log = logging.getLogger(__name__)


def write(folder: pathlib.Path, sample: Sample) -> None:
  """Writes the report and its figure, and logs a summary.

  Args:
    folder: where they go.
    sample: what is being built.
  """
  (folder / REPORT).write_text(report(sample), encoding="utf-8")
  plot(folder / FIGURE, sample)
  _log.info("%s", summary(sample))


def summary(sample: Sample) -> str:
  """Returns the report in two lines."""
  frame = sample.frame
  lost = sample.lost.total()
  black = int((frame["black_fraction"] > BLACK).sum())
  return (
    f"{sample.name}: {sample.num_asked} galaxies asked for, {lost} without an "
    f"image ({lost / sample.num_asked:.2%}), {len(frame)} in the set\n"
    f"oh_p50 {frame['oh_p50'].mean():.4f} ± {frame['oh_p50'].std():.4f} dex; "
    f"{black} images with more than {BLACK:.0%} black pixels; more in {REPORT}"
  )


def statistics(frame: pd.DataFrame) -> pd.DataFrame:
  """Returns count, missing, mean, sd, min, quartiles and max of each column.

  Args:
    frame: columns of the catalogue; ids, positions and classes are left out,
      and so is what is NaN.
  """
  names = [
    name
    for name in frame
    if name in columns.BY_NAME and name not in _NOT_MEASURED
  ]
  rows = {}
  for name in names:
    # In double precision, for a mean over 140,000 of them.
    values = frame[name].to_numpy(np.float64)
    values = values[~np.isnan(values)]
    row: dict[str, float] = {
      "count": len(values),
      "missing": len(frame) - len(values),
    }
    if len(values):
      cuts = np.quantile(values, (0, 0.25, 0.5, 0.75, 1)).tolist()
      row |= {"mean": float(values.mean()), "sd": float(values.std())}
      row |= dict(
        zip(("min", "25 %", "50 %", "75 %", "max"), cuts, strict=True)
      )
    rows[name] = row
  return pd.DataFrame.from_dict(rows, orient="index")


def report(sample: Sample) -> str:
  """Returns the whole report as Markdown."""
  frame = sample.frame
  in_group = frame.groupby("sky_group").size()
  black = frame["black_fraction"].dropna()
  divided = pd.crosstab(frame["split"], frame["fold"]).reindex(
    list(splits.SPLIT_PARTS), fill_value=0
  )
  divided.insert(0, "all", divided.sum(axis=1))
  classes = ""
  if "bptclass" in frame:
    counts = frame["bptclass"].value_counts().sort_index().to_frame("galaxies")
    classes = (
      "\n## Classes in the BPT diagram\n\n"
      f"{_table(counts, 'bptclass')}\n"
      f"\n{columns.BY_NAME['bptclass'].description}.\n"
    )
  lost = pd.DataFrame(
    sample.lost.most_common(), columns=["reason", "galaxies"]
  ).set_index("reason")
  cleaning = pd.DataFrame(
    _flat(sample.cleaning), columns=["what", "number"]
  ).set_index("what")
  quantiles = pd.DataFrame(
    {"black pixels": black.quantile(list(_QUANTILES)).to_numpy()}
    if len(black)
    else {"black pixels": [np.nan] * len(_QUANTILES)},
    index=[f"{100 * quantile:g} %" for quantile in _QUANTILES],
  )
  return f"""\
# Data quality of sdss_metallicity/{sample.name}

| galaxies | number |
|---|---:|
| asked for | {sample.num_asked} |
| without an image | {sample.lost.total()} |
| in the set | {len(frame)} |

## Without an image

{_table(lost, "reason") if len(lost) else "None."}

## Cleaning of the catalogue

{_table(cleaning, "what") if len(cleaning) else "Nothing is recorded."}

{int((in_group > 1).sum())} positions hold more than one galaxy within 2 arcsec,
{int(in_group[in_group > 1].sum())} galaxies in all: mostly one galaxy observed
twice. Each such group is within one split and one fold.

## Splits and folds

{_table(divided, "split")}

## Labels and photometry

Units are in the metadata of {CATALOG}.

{_table(statistics(frame), "column")}
{classes}
## Black pixels

{int((black > BLACK).sum())} images have more than {BLACK:.0%} of exactly black
pixels: they lie at the edge of the survey or on a gap in it. They are in the
set; `black_fraction` in {CATALOG} tells which. By quantile:

{_table(quantiles, "quantile")}

![Distributions]({FIGURE})
"""


def plot(path: pathlib.Path, sample: Sample) -> None:
  """Draws histograms of the columns that the sample has.

  Args:
    path: the PNG file.
    sample: what is being built.
  """
  # Here, since the workers of a build need no figures.
  from matplotlib import figure

  frame = sample.frame
  if {"modelMag_g", "modelMag_r"} <= set(frame):
    frame = frame.assign(**{"g - r": frame["modelMag_g"] - frame["modelMag_r"]})
  panels = [
    (name, label)
    for name, label in _PANELS
    if name in frame and frame[name].notna().any()
  ]
  rows = -(-len(panels) // 3)
  # Not pyplot, which would keep the figure and ask for a display.
  drawing = figure.Figure(figsize=(12, 3.2 * rows))
  for number, (name, label) in enumerate(panels, start=1):
    axis = drawing.add_subplot(rows, 3, number)
    values = frame[name].dropna().to_numpy(np.float64)
    # A handful of wild values shall not squeeze the rest into one bin.
    low, high = np.quantile(values, (0.001, 0.999))
    if name == "black_fraction":
      low, high = 0, max(high, BLACK)
      axis.set_yscale("log")
      axis.axvline(BLACK, color="0.5", linestyle=":")
    if low == high:
      low, high = low - 0.5, high + 0.5
    counts, edges = np.histogram(values, bins=60, range=(low, high))
    # One patch instead of sixty bars, each of which would be laid out.
    axis.stairs(counts, edges, fill=True, color="#3b6ea5")
    outside = np.count_nonzero((values < low) | (values > high))
    axis.set_xlabel(f"{label}; {outside} beyond" if outside else label)
    axis.set_ylabel("galaxies")
  # Measuring each text, as the automatic layouts do, takes a second.
  drawing.subplots_adjust(
    left=0.07, right=0.98, bottom=0.16 / rows, top=1 - 0.2 / rows
  )
  drawing.subplots_adjust(wspace=0.3, hspace=0.3)
  drawing.suptitle(f"sdss_metallicity/{sample.name}: {len(frame)} galaxies")
  drawing.savefig(path, dpi=120)


def _flat(counts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
  """Returns (name, count) of counts within counts."""
  rows = []
  for name, value in counts.items():
    if isinstance(value, Mapping):
      rows += _flat(value, f"{prefix}{name}: ")
    else:
      rows.append((f"{prefix}{name}", value))
  return rows


def _table(frame: pd.DataFrame, corner: str) -> str:
  """Returns a table in Markdown; pandas' own needs another package."""
  lines = [[corner, *map(str, frame.columns)]]
  for name, *cells in frame.itertuples():
    lines.append([str(name), *map(_number, cells)])
  lines.insert(1, ["---", *["---:"] * len(frame.columns)])
  return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: object) -> str:
  if isinstance(value, float):
    if np.isnan(value):
      return ""
    return f"{value:.0f}" if value == round(value) else f"{value:.5g}"
  return str(value)
