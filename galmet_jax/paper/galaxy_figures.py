"""Figures of galaxies: predictions, distributions, residuals.

Each function writes one PNG to `path`. Predictions are `[N]`, in dex.
"""

from collections.abc import Mapping
import pathlib
from typing import Any
from typing import NamedTuple

from matplotlib import axes
from matplotlib import figure
from matplotlib import patheffects
from matplotlib import ticker
import numpy as np
import pandas as pd

from galmet_jax import figure_style
from galmet_jax import metrics
from galmet_jax.paper import relations

_MASS = r"log($M_{\ast}$ / $M_{\odot}$)"
# The paper counts galaxies above this 12 + log(O/H).
_HIGH = 9.1
# A white outline keeps lines visible on top of the cells.
_HALO = [patheffects.withStroke(linewidth=3, foreground="white")]


class Sample(NamedTuple):
  """The galaxies of a figure.

  Attributes:
    true: true metallicities `[N]`, dex.
    mass: log10 of the stellar masses in solar masses, `[N]`; NaN if unknown.
    quantity: name of the metallicity, such as '12 + log(O/H)'.
    title: title of the figure.
  """

  true: np.ndarray
  mass: np.ndarray
  quantity: str
  title: str


def figure1(
  path: pathlib.Path,
  sample: Sample,
  predictions: Mapping[str, np.ndarray],
  merits: pd.DataFrame,
) -> None:
  """Draws predictions against true values, one panel per model.

  Figure 1 of Wu & Boada (2019): the ResNet on r-band images, a random forest
  on gri photometry, the ResNet on gri images. The panels share limits, cells
  and shades. `predictions` has the panels' titles as keys, and `merits` the
  rows of `table.compare_systems` for them.
  """
  true = sample.true
  both = np.concatenate([true, *predictions.values()])
  edges = figure_style.cell_edges(both, len(true))
  limits = edges[[0, -1]]
  # The colour bar needs room; points have none.
  bar_width = 1.2 if len(true) >= figure_style.MANY else 0.5
  fig = figure.Figure(
    figsize=(2.9 * len(predictions) + bar_width, 3.75), layout="constrained"
  )
  axs = fig.subplots(
    1, len(predictions), sharex=True, sharey=True, squeeze=False
  )[0]
  meshes = []
  for panel, (name, predicted), row in zip(
    axs, predictions.items(), merits.itertuples(), strict=True
  ):
    mesh = figure_style.draw_galaxies(panel, true, predicted, edges, edges)
    meshes += [mesh] if mesh is not None else []
    panel.plot(limits, limits, "--", color=figure_style.RED, lw=1.2)
    panel.set(aspect="equal", xlabel=f"True {sample.quantity}")
    panel.set_title(name, fontsize=10)
    for axis in (panel.xaxis, panel.yaxis):
      axis.set_major_locator(ticker.MaxNLocator(7, steps=[1, 2, 5, 10]))
    # R² is undefined for a single galaxy.
    nmad, r2 = metrics.show(row.nmad, ".4f"), metrics.show(row.r2, ".3f")
    # Galaxies are rarest in the upper left corner.
    panel.text(
      0.04,
      0.96,
      f"RMSE {row.rmse:.4f} ± {(row.rmse_high - row.rmse_low) / 2:.4f}\n"
      f"NMAD {nmad}\nR² {r2}",
      transform=panel.transAxes,
      va="top",
      fontsize=8.5,
      bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 2},
    )
  axs[0].set_ylabel(f"Predicted {sample.quantity}")
  if meshes:
    densest = max(mesh.get_clim()[1] for mesh in meshes)
    for mesh in meshes:
      mesh.set_clim(1, densest)
    bar = axs[-1].inset_axes((1.05, 0, 0.05, 1))
    figure_style.draw_counts(meshes[0], bar, label="Galaxies per cell")
  figure_style.save_for_print(fig, path, sample.title)


def mass_metallicity(
  path: pathlib.Path, sample: Sample, predicted: np.ndarray
) -> None:
  """Draws true and predicted metallicities against stellar mass.

  Shows the running median, the 16th to 84th percentile, and the relation of
  Tremonti et al. (2004) over the range of its fit. The panel titles give the
  scatter about that relation. At least one galaxy needs a mass.
  """
  known = np.isfinite(sample.mass)
  mass, true, predicted = (
    values[known] for values in (sample.mass, sample.true, predicted)
  )
  x_edges = figure_style.cell_edges(mass, len(mass))
  y_edges = figure_style.cell_edges(
    np.concatenate([true, predicted]), len(mass)
  )
  curve = np.linspace(*relations.FITTED, 100)
  fig = figure.Figure(figsize=(7.2, 4.1), layout="constrained")
  axs = fig.subplots(1, 2, sharex=True, sharey=True)
  names = ("True", "Predicted")
  for panel, name, values in zip(axs, names, (true, predicted), strict=True):
    _draw_trend(panel, mass, values, x_edges, y_edges)
    panel.plot(
      curve,
      relations.tremonti(curve),
      "--",
      color=figure_style.RED,
      path_effects=_HALO,
      label="Tremonti et al. (2004)",
    )
    panel.set_xlabel(_MASS)
    about = relations.scatter_about_tremonti(mass, values)
    rmse, nmad = (metrics.show(about[x], ".4f") for x in ("rmse", "nmad"))
    scatter = f"RMSE {rmse}, NMAD {nmad} dex"
    panel.set_title(f"{name}, about the relation:\n{scatter}", fontsize=9)
  axs[0].set_ylabel(sample.quantity)
  _draw_legend(fig, axs[0])
  figure_style.save_for_print(fig, path, sample.title)


def distributions(
  path: pathlib.Path, sample: Sample, predictions: Mapping[str, np.ndarray]
) -> None:
  """Draws the distributions of true and predicted metallicities, by model.

  The legend gives the fractions above 9.1, since predictions shrink to the
  mean: in the paper 12.6 % of the true values and 5.7 % of the predictions.
  """
  both = np.concatenate([sample.true, *predictions.values()])
  edges = figure_style.cell_edges(both, len(sample.true))
  fig = figure.Figure(figsize=(4.8, 3.9), layout="constrained")
  panel = fig.subplots()
  # First in the legend, but drawn on top.
  _draw_distribution(panel, "true", sample.true, edges, color="black", zorder=3)
  for i, (name, values) in enumerate(predictions.items()):
    ink = figure_style.INKS[i % len(figure_style.INKS)]
    color = figure_style.PALE_BLUE if i == 0 else ink
    _draw_distribution(panel, name, values, edges, color=color, fill=i == 0)
  panel.axvline(_HIGH, color=figure_style.GREY, ls=":", lw=1.2)
  panel.set(xlabel=sample.quantity, ylabel="Galaxies")
  panel.yaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
  panel.yaxis.set_major_formatter(figure_style.WHOLE)
  figure_style.open_sides(panel)
  _draw_legend(fig, panel)
  figure_style.save_for_print(fig, path, sample.title)


def _draw_distribution(
  panel: axes.Axes,
  name: str,
  values: np.ndarray,
  edges: np.ndarray,
  **kwargs: Any,
) -> None:
  counts = np.histogram(values, edges)[0]
  above = 100 * np.mean(values > _HIGH)
  label = f"{name}: {above:.1f} % above {_HIGH}"
  panel.stairs(counts, edges, lw=1.4, label=label, **kwargs)


def residuals(
  path: pathlib.Path, sample: Sample, predicted: np.ndarray
) -> None:
  """Draws predicted − true against true metallicity and stellar mass.

  Without any known mass, there is no panel for it.
  """
  delta = predicted - sample.true
  y_edges = figure_style.cell_edges(delta, len(delta))
  against = [(f"True {sample.quantity}", sample.true, delta)]
  known = np.isfinite(sample.mass)
  if known.any():
    against.append((_MASS, sample.mass[known], delta[known]))
  size = (3.2 * len(against) + 0.8, 3.8)
  fig = figure.Figure(figsize=size, layout="constrained")
  axs = fig.subplots(1, len(against), sharey=True, squeeze=False)[0]
  for panel, (name, x, y) in zip(axs, against, strict=True):
    x_edges = figure_style.cell_edges(x, len(x))
    _draw_trend(panel, x, y, x_edges, y_edges)
    panel.axhline(0, color=figure_style.RED, ls="--", lw=1.2)
    panel.set_xlabel(name)
  axs[0].set_ylabel("Predicted − true (dex)")
  _draw_legend(fig, axs[0])
  figure_style.save_for_print(fig, path, sample.title)


def _draw_trend(
  panel: axes.Axes,
  x: np.ndarray,
  y: np.ndarray,
  x_edges: np.ndarray,
  y_edges: np.ndarray,
) -> None:
  """Draws galaxies with the running median and percentiles."""
  figure_style.draw_galaxies(panel, x, y, x_edges, y_edges, grey=True)
  # More galaxies allow narrower bins.
  num_bins = int(np.clip(round(1.2 * np.cbrt(len(x))), 4, 24))
  min_count = max(5, len(x) // 1000)
  centres, (low, median, high) = relations.running_quantiles(
    x, y, num_bins, min_count
  )
  if np.isnan(median).all():
    return
  blue = figure_style.BLUE
  panel.fill_between(
    centres, low, high, color=blue, alpha=0.3, lw=0, label="16–84 %"
  )
  panel.plot(centres, median, color=blue, path_effects=_HALO, label="median")
  # A bin between two gaps has no line, only a point.
  panel.plot(centres, median, "o", ms=3, color=blue)


def _draw_legend(fig: figure.Figure, panel: axes.Axes) -> None:
  # Below the panels: inside, it would cover galaxies in some sample.
  handles, labels = panel.get_legend_handles_labels()
  if handles:
    fig.legend(
      handles,
      labels,
      loc="outside lower center",
      ncols=3 if fig.get_figwidth() > 6 else 2,
      fontsize=8.5,
      frameon=False,
    )
