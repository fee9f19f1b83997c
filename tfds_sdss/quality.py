"""Data-quality report of a sample, stored beside its shards.

The report gives the size of the sample, the lost galaxies and the distributions
of labels, photometry and black pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
import logging
import pathlib

import numpy as np
import pandas as pd

from tfds_sdss import columns
from tfds_sdss import files
from tfds_sdss import splits
from tfds_sdss.sample import CATALOG
from tfds_sdss.sample import Sample

REPORT = "quality.md"
FIGURE = "quality.png"

# A cutout with a larger fraction of exactly black pixels is at the edge of the
# survey.
BLACK = 0.1
_NOT_MEASURED = (
  *("objid", "specobjid", "dr7objid", "ra", "dec", "bptclass", "reliable"),
)
_PANELS = {
  "oh_p50": "12 + log(O/H) (dex)",
  "lgm_tot_p50": "log stellar mass (dex of solar masses)",
  "petroR90_r": "petroR90_r (arcsec)",
  "z": "redshift",
  "modelMag_r": "modelMag_r (mag)",
  "g - r": "modelMag_g - modelMag_r (mag)",
  "black_fraction": "exactly black pixels (fraction)",
}

_log = logging.getLogger(__name__)


def write(folder: pathlib.Path, sample: Sample) -> None:
  """Writes the report and its figure into a folder, and logs a summary."""
  files.write_atomically(folder / REPORT, report(sample).encode())
  # A slow import, which only builds need.
  import matplotlib

  try:
    # The user's matplotlibrc may need TeX or fonts that are absent here.
    with matplotlib.rc_context():
      matplotlib.rcdefaults()
      plot(folder / FIGURE, sample)
  except Exception as error:
    _log.warning("%s is not drawn: %s", FIGURE, error)
  _log.info(
    "%s: %d galaxies requested, %d without an image (%.2f %%); see %s",
    *(sample.name, sample.num_requested, sample.lost.total()),
    *(100 * sample.lost.total() / sample.num_requested, REPORT),
  )


def statistics(
  frame: pd.DataFrame,
  described: Mapping[str, columns.Column] = columns.BY_NAME,
) -> pd.DataFrame:
  """Returns `DataFrame.describe` of each measured column, one row per column.

  Args:
    frame: columns of the catalogue. NaN counts as missing; ids, positions and
      classes are skipped.
    described: its columns by name; the others are skipped.
  """
  names = [
    name for name in frame if name in described and name not in _NOT_MEASURED
  ]
  if not names:  # a sample of a class only
    return pd.DataFrame()
  # In double precision, for the mean of 140,000 values.
  table = frame[names].astype(np.float64).describe().T
  table.insert(1, "missing", frame[names].isna().sum())
  return table


def report(sample: Sample) -> str:
  """Returns the report as Markdown."""
  frame = sample.frame
  in_group = frame.groupby("sky_group").size()
  in_group = in_group[in_group > 1]
  black = frame["black_fraction"].dropna().astype(np.float64)
  quantiles = black.quantile([0.5, 0.9, 0.99, 0.999, 1]).to_frame(
    "black pixels"
  )
  quantiles.index = [f"{100 * quantile:g} %" for quantile in quantiles.index]
  divided = pd.crosstab(frame["split"], frame["fold"]).reindex(
    list(splits.SPLIT_PARTS), fill_value=0
  )
  divided.insert(0, "all", divided.sum(axis=1))
  lost = pd.Series(dict(sample.lost.most_common()), dtype=int)
  cleaning = pd.json_normalize(sample.cleaning, sep=": ").T
  cleaning.columns = ["number"] * cleaning.shape[1]
  outliers = ""
  if sample.out_of_range:
    counts = pd.Series(sample.out_of_range).to_frame("values")
    outliers = (
      "\n**Warning:** the catalogue has values outside the valid range of "
      "their\ncolumn, such as -99. They are missing in the set.\n\n"
      f"{_table(counts, 'column')}\n"
    )
  classes = ""
  if "bptclass" in frame:
    counts = frame["bptclass"].value_counts().sort_index()
    classes = (
      "\n## Classes in the BPT diagram\n\n"
      f"{_table(counts.to_frame('galaxies'), 'bptclass')}\n"
      f"\n{columns.BY_NAME['bptclass'].description}.\n"
    )
  return f"""\
# Data quality of sdss_metallicity/{sample.name}

| galaxies | number |
|---|---:|
| requested | {sample.num_requested} |
| without an image | {sample.lost.total()} |
| in the set | {len(frame)} |

## Without an image

{_table(lost.to_frame("galaxies"), "reason") if len(lost) else "None."}

## Cleaning of the catalogue

{_table(cleaning, "rows") if len(cleaning) else "Nothing is recorded."}

{len(in_group)} positions hold more than one galaxy within 2 arcsec,
{in_group.sum()} galaxies in all: mostly one galaxy observed twice. Each such
group is in one split and one fold.

## Splits and folds

{_table(divided, "split")}

## Labels and photometry

Units are in the metadata of {CATALOG}.

{_table(statistics(frame, sample.described), "column")}
{outliers}{classes}
## Black pixels

{(black > BLACK).sum()} images have more than {BLACK:.0%} of exactly black
pixels: they are at the edge of the survey or in a gap. They are in the set; the
column `black_fraction` of {CATALOG} identifies them. Quantiles:

{_table(quantiles, "quantile")}

![Distributions]({FIGURE})
"""


def plot(path: pathlib.Path, sample: Sample) -> None:
  """Draws histograms of the sample's columns to a PNG file."""
  # A slow import, which only builds need.
  from matplotlib import figure

  frame = sample.frame
  if {"modelMag_g", "modelMag_r"} <= set(frame):
    frame = frame.assign(**{"g - r": frame["modelMag_g"] - frame["modelMag_r"]})
  panels = _PANELS | {
    name: f"{name} ({column.unit})" if column.unit else name
    for name, column in sample.described.items()
    if name not in columns.BY_NAME
  }
  names = [n for n in panels if n in frame and frame[n].notna().any()]
  rows = -(-len(names) // 3)
  # pyplot would keep the figure in memory and need a display.
  drawing = figure.Figure(figsize=(12, 3.2 * rows))
  for number, name in enumerate(names, start=1):
    axis = drawing.add_subplot(rows, 3, number)
    values = frame[name].dropna().to_numpy(np.float64)
    # Outliers would squeeze all other values into one bin.
    low, high = np.quantile(values, (0.001, 0.999))
    if name == "black_fraction":
      low, high = 0, max(high, BLACK)
      axis.set_yscale("log")
      axis.axvline(BLACK, color="0.5", linestyle=":")
    if low == high:
      low, high = low - 0.5, high + 0.5
    axis.stairs(*np.histogram(values, bins=60, range=(low, high)), fill=True)
    outside = np.count_nonzero((values < low) | (values > high))
    label = panels[name]
    axis.set_xlabel(f"{label}; {outside} beyond" if outside else label)
    axis.set_ylabel("galaxies")
  # The automatic layouts take a second.
  drawing.subplots_adjust(
    left=0.07,
    right=0.98,
    bottom=0.16 / rows,
    top=1 - 0.2 / rows,
    wspace=0.3,
    hspace=0.3,
  )
  drawing.suptitle(f"sdss_metallicity/{sample.name}: {len(frame)} galaxies")
  drawing.savefig(path, dpi=120)


def _table(frame: pd.DataFrame, corner: str) -> str:
  """Returns a table in Markdown; pandas' own needs another package."""
  lines = [[corner, *map(str, frame.columns)]]
  lines.append(["---", *["---:"] * len(frame.columns)])
  for name, *cells in frame.itertuples():
    lines.append([str(name), *map(_number, cells)])
  return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: object) -> str:
  if isinstance(value, list):
    return ", ".join(value)
  if not isinstance(value, float):
    return str(value)
  if np.isnan(value):
    return ""
  return f"{value:.0f}" if value.is_integer() else f"{value:.5g}"
