"""Figures of galaxies in a reproduction of Wu & Boada (2019), one PNG each.

The figures of whole runs are in `run_figures.py`.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib
from typing import Any

from matplotlib import axes
from matplotlib import figure
from matplotlib import patheffects
from matplotlib import ticker
import numpy as np

from galmet_jax import figure_style
from galmet_jax.paper import relations

_MASS = r"log($M_{\ast}$ / $M_{\odot}$)"
# The paper counts the galaxies above this 12 + log(O/H).
_HIGH = 9.1
# Lines stay visible upon the cells.
_HALO = [patheffects.withStroke(linewidth=3, foreground="white")]


def figure1(
  path: pathlib.Path,
  panels: Sequence[tuple[str, np.ndarray, np.ndarray, Mapping]],
  label: str,
  *,
  title: str,
) -> None:
  """Draws predictions of several models against true values, side by side.

  Figure 1 of Wu & Boada (2019): the ResNet on r-band images, a random forest
  on gri photometry, the ResNet on gri images. Range, cells and shades are
  those of all panels together.

  Args:
    path: the PNG to write.
    panels: of each model its name, true `[N]`, predicted `[N]` (dex), and
      their figures of merit, as `metrics.with_intervals` returns them.
    label: of the quantity, such as '12 + log(O/H)'.
    title: of the figure: the sample, and whether it is synthetic.
  """
  drawn = [values for _, *both, _ in panels for values in both]
  most = max(len(values) for values in drawn)
  edges = figure_style.cell_edges(np.concatenate(drawn), most)
  limits = edges[[0, -1]]
  # With the bar of the counts, of which points have none.
  width = 2.9 * len(panels) + (1.2 if most >= figure_style.MANY else 0.5)
  fig = figure.Figure(figsize=(width, 3.75), layout="constrained")
  axs = fig.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
  meshes = []
  for panel, (name, true, predicted, values) in zip(axs, panels, strict=True):
    mesh = figure_style.draw_galaxies(panel, true, predicted, edges, edges)
    meshes += [mesh] if mesh is not None else []
    panel.plot(limits, limits, "--", color=figure_style.RED, lw=1.2)
    panel.set(aspect="equal", xlabel=f"True {label}")
    panel.set_title(name, fontsize=10)
    for axis in (panel.xaxis, panel.yaxis):
      axis.set_major_locator(ticker.MaxNLocator(7, steps=[1, 2, 5, 10]))
    # Where the true value is low and the predicted high there are fewest.
    panel.text(
      0.04,
      0.96,
      _merits(values),
      transform=panel.transAxes,
      va="top",
      fontsize=8.5,
      bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 2},
    )
  axs[0].set_ylabel(f"Predicted {label}")
  if meshes:
    arrays = [mesh.get_array() for mesh in meshes]
    densest = max(array.max() for array in arrays if array is not None)
    for mesh in meshes:
      mesh.set_clim(1, densest)
    bar = axs[-1].inset_axes((1.05, 0, 0.05, 1))
    figure_style.draw_counts(meshes[0], bar, label="Galaxies per cell")
  figure_style.save_for_print(fig, path, title)


def _merits(values: Mapping) -> str:
  low, high = values["rmse_ci68"]
  # The R² of a single galaxy is not defined.
  r2 = f"{values['r2']:.3f}" if np.isfinite(values["r2"]) else "–"
  return (
    f"RMSE {values['rmse']:.4f} ± {(high - low) / 2:.4f}\n"
    f"NMAD {values['nmad']:.4f}\nR² {r2}"
  )


def mass_metallicity(
  path: pathlib.Path,
  mass: np.ndarray,
  true: np.ndarray,
  predicted: np.ndarray,
  label: str,
  *,
  title: str,
) -> None:
  """Draws true and predicted metallicities against stellar mass.

  With the running median and the 16th to 84th percentile, and the relation of
  Tremonti et al. (2004) where they fitted it. Above each panel is the scatter
  about that relation, of the galaxies in its range.

  Args:
    path: the PNG to write.
    mass: `[N]`, log10 of solar masses; a galaxy without one (NaN) is left out.
    true: `[N]`, dex.
    predicted: `[N]`, dex.
    label: of the metallicity, such as '12 + log(O/H)'.
    title: of the figure: the sample, and whether it is synthetic.

  Raises:
    ValueError: no galaxy has a mass.
  """
  known = np.isfinite(mass)
  if not known.any():
    raise ValueError(
      f"Expected stellar masses, found none among {len(mass)} galaxies: leave "
      "this figure out, or give the catalogue's lgm_tot_p50."
    )
  mass, true, predicted = mass[known], true[known], predicted[known]
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
    scatter = f"RMSE {about['rmse']:.4f}, NMAD {about['nmad']:.4f} dex"
    panel.set_title(f"{name}, about the relation:\n{scatter}", fontsize=9)
  axs[0].set_ylabel(label)
  _legend(fig, axs[0])
  figure_style.save_for_print(fig, path, title)


def distributions(
  path: pathlib.Path,
  true: np.ndarray,
  predictions: Mapping[str, np.ndarray],
  label: str,
  *,
  title: str,
) -> None:
  """Draws the distributions of true and predicted metallicities.

  Predictions shrink to the mean: of the paper's galaxies 12.6 % have a true
  12 + log(O/H) above 9.1, and 5.7 % a predicted one. The legend has these
  fractions.

  Args:
    path: the PNG to write.
    true: `[N]`, 12 + log(O/H).
    predictions: model -> predicted `[N]`.
    label: of the quantity, such as '12 + log(O/H)'.
    title: of the figure: the sample, and whether it is synthetic.
  """
  both = np.concatenate([true, *predictions.values()])
  edges = figure_style.cell_edges(both, len(true))
  fig = figure.Figure(figsize=(4.8, 3.9), layout="constrained")
  panel = fig.subplots()
  # First in the legend, yet above the others.
  _draw_distribution(panel, "true", true, edges, color="black", zorder=3)
  for i, (name, values) in enumerate(predictions.items()):
    ink = figure_style.INKS[i % len(figure_style.INKS)]
    color = figure_style.PALE_BLUE if i == 0 else ink
    _draw_distribution(panel, name, values, edges, color=color, fill=i == 0)
  panel.axvline(_HIGH, color=figure_style.GREY, ls=":", lw=1.2)
  panel.set(xlabel=label, ylabel="Galaxies")
  panel.yaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
  panel.yaxis.set_major_formatter(figure_style.WHOLE)
  figure_style.open_sides(panel)
  _legend(fig, panel)
  figure_style.save_for_print(fig, path, title)


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
  path: pathlib.Path,
  true: np.ndarray,
  predicted: np.ndarray,
  mass: np.ndarray | None,
  label: str,
  *,
  title: str,
) -> None:
  """Draws predicted − true against the true metallicity and stellar mass.

  Args:
    path: the PNG to write.
    true: `[N]`, dex.
    predicted: `[N]`, dex.
    mass: `[N]`, log10 of solar masses, NaN where unknown; without any there
      is no panel for it.
    label: of the metallicity, such as '12 + log(O/H)'.
    title: of the figure: the sample, and whether it is synthetic.
  """
  delta = predicted - true
  y_edges = figure_style.cell_edges(delta, len(delta))
  against = [(f"True {label}", true, delta)]
  known = np.isfinite(mass) if mass is not None else np.zeros(0, bool)
  if mass is not None and known.any():
    against.append((_MASS, mass[known], delta[known]))
  size = (3.2 * len(against) + 0.8, 3.8)
  fig = figure.Figure(figsize=size, layout="constrained")
  axs = fig.subplots(1, len(against), sharey=True, squeeze=False)[0]
  for panel, (name, x, y) in zip(axs, against, strict=True):
    x_edges = figure_style.cell_edges(x, len(x))
    _draw_trend(panel, x, y, x_edges, y_edges)
    panel.axhline(0, color=figure_style.RED, ls="--", lw=1.2)
    panel.set_xlabel(name)
  axs[0].set_ylabel("Predicted − true (dex)")
  _legend(fig, axs[0])
  figure_style.save_for_print(fig, path, title)


def _draw_trend(
  panel: axes.Axes,
  x: np.ndarray,
  y: np.ndarray,
  x_edges: np.ndarray,
  y_edges: np.ndarray,
) -> None:
  figure_style.draw_galaxies(panel, x, y, x_edges, y_edges, grey=True)
  # As for the cells: the more galaxies, the narrower the bins.
  num_bins = int(np.clip(round(1.2 * np.cbrt(len(x))), 4, 24))
  min_count = max(5, len(x) // 1000)
  centres, quantiles = relations.running_quantiles(x, y, num_bins, min_count)
  low, median, high = quantiles
  if np.isnan(median).all():
    return
  blue = figure_style.BLUE
  panel.fill_between(
    centres, low, high, color=blue, alpha=0.3, lw=0, label="16–84 %"
  )
  panel.plot(centres, median, color=blue, path_effects=_HALO, label="median")
  # A bin between two gaps makes no line, but a point.
  panel.plot(centres, median, "o", ms=3, color=blue)


def _legend(fig: figure.Figure, panel: axes.Axes) -> None:
  # Below the panels: any place among the galaxies is covered in some sample.
  handles, labels = panel.get_legend_handles_labels()
  if not handles:
    return
  columns = 3 if fig.get_figwidth() > 6 else 2
  fig.legend(
    handles,
    labels,
    loc="outside lower center",
    ncols=columns,
    fontsize=8.5,
    frameon=False,
  )
