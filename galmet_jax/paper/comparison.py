"""Writes the results of a reproduction: table, remarks, figures."""

from collections.abc import Mapping
import functools
import pathlib
from typing import Any

import ml_collections
import numpy as np
import pandas as pd

from galmet_jax import figure_style
from galmet_jax import metrics
from galmet_jax import quantities
from galmet_jax import results
from galmet_jax.baselines import trees
from galmet_jax.calibration import judgement
from galmet_jax.data import dataset
from galmet_jax.data import galaxies
from galmet_jax.paper import claims
from galmet_jax.paper import diagnostics
from galmet_jax.paper import galaxy_figures
from galmet_jax.paper import published
from galmet_jax.paper import relations
from galmet_jax.paper import reproduction_page
from galmet_jax.paper import sweeps
from galmet_jax.paper import table
from tfds_sdss import files

_MASS = "lgm_tot_p50"


def write(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  splits: Mapping[str, galaxies.Split],
  configs: Mapping[str, ml_collections.ConfigDict],
  predicted: Mapping[str, np.ndarray],
) -> pd.DataFrame:
  """Writes the table, diagnostics, predictions and figures to the workdir.

  Args:
    config: the config that the systems have in common.
    workdir: directory of the reproduction, with the systems in `runs/NAME`.
    splits: galaxies by split.
    configs: config of each trained system.
    predicted: predictions `[S, N]` of the test split's first target by S
      seeds, by system. Figures and diagnostics are those of the first seed.

  Returns:
    The table from `table.compare_systems`.
  """
  test = splits["test"]
  true = test.targets[:, 0].astype(np.float64)
  draws, seed = config.eval.bootstrap_draws, config.seed
  references = {
    name: _reference(name, config, configs, test) for name in predicted
  }
  rows = table.compare_systems(
    true,
    predicted,
    references,
    draws,
    seed,
    test.columns.get("oh_true"),
    _coverage(workdir / "runs", configs),
  )
  pairs = table.compare_pairs(true, predicted, draws, seed)
  first = {name: values[0] for name, values in predicted.items()}
  information = _diagnose(true, first, draws, seed)
  remarks = [
    *_label_noise(test),
    *_members_and_masses(workdir / "runs", configs),
    *_scatter_about_tremonti(test, first),
    *_describe(information),
  ]
  title = config.data.name
  if title.endswith("/mock"):
    title += ": synthetic galaxies"
  page = table.to_markdown(title, rows, pairs, remarks)
  tested = claims.compare(true, predicted, draws, seed)
  by_seed = {
    f"{name}_seed_{i}" if i else name: each
    for name, values in predicted.items()
    for i, each in enumerate(values)
  }
  all_predictions = pd.DataFrame({"objid": test.objid, "true": true, **by_seed})
  for name, text in (
    ("paper_table.csv", rows.to_csv(index=False)),
    ("paper_table.md", page),
    ("diagnostics.json", results.to_json(information)),
    ("predictions_test.csv", all_predictions.to_csv(index=False)),
  ):
    files.write_atomically(workdir / name, text.encode())
  print(page, flush=True)
  if len(tested):
    claims.write(workdir, title, tested, _describe(information))
  figures = workdir / "figures"
  sample = galaxy_figures.Sample(
    true=test.targets[:, 0],
    mass=test.columns.get(_MASS, np.full(len(test), np.nan)),
    quantity=quantities.of(dataset.describe(config), config.data.targets)[
      0
    ].label,
    title=title,
  )
  merits = table.compare_systems(true, first, references, draws, seed)
  _draw_galaxies(figures, sample, first, merits)
  with figure_style.optional(figures / "resolution.png"):
    sweeps.draw_resolution(figures, config, configs, rows, title)
  with figure_style.optional(figures / "learning_curve.png"):
    sweeps.draw_learning_curve(figures, config, configs, splits, rows, title)
  with figure_style.optional(workdir / reproduction_page.FILE):
    parts = (config, configs, splits, first, rows)
    reproduction_page.write(workdir, title, *parts)
  print(f"Written to {workdir}: paper_table.md and .csv, report.html, figures/")
  return rows


def _reference(
  name: str,
  config: ml_collections.ConfigDict,
  configs: Mapping[str, ml_collections.ConfigDict],
  test: galaxies.Split,
) -> published.Reference:
  """Returns the paper's entry, with a label that describes our system."""
  entry = published.reference(name)
  if name in ("random_forest", "gradient_boosting"):
    photometry = trees.has_photometry(test)
    features = "gri photometry" if photometry else "ring colours"
    return entry._replace(label=f"{entry.label}, {features}")
  if name not in configs:
    return entry
  side = sweeps.swept_resolution(configs[name], config)
  if side is not None:
    entry = published.Reference(f"CNN, gri, {side} px")
    if side in published.RESOLUTIONS:
      entry = entry._replace(rmse=published.RESOLUTIONS[side])
  elif configs[name].data.num_train is not None:
    number = configs[name].data.num_train
    entry = published.Reference(f"CNN, gri, {number:,} training galaxies")
  return entry


def _coverage(
  runs: pathlib.Path, configs: Mapping[str, ml_collections.ConfigDict]
) -> dict[str, dict[float, float]]:
  """Returns the coverage of the systems with calibrated intervals."""
  blocks = {
    name: results.read_summary(runs / name)["test"].get("calibration", {})
    for name in configs
  }
  return {name: judgement.written_coverage(x) for name, x in blocks.items()}


def _diagnose(
  true: np.ndarray,
  predicted: Mapping[str, np.ndarray],
  num_draws: int,
  seed: int,
) -> dict[str, Any]:
  """Computes the diagnostics of section 4.1 if the systems are available."""
  sources = ("random_forest", "r_band", "gri")
  if not set(sources) <= set(predicted):
    return {}
  forest, r_band, gri = (predicted[name] for name in sources)
  if np.isfinite(true + forest + r_band + gri).sum() < 2:
    return {}
  return {
    "information": diagnostics.information_sum(
      true, forest, r_band, gri, num_draws, seed
    ),
    "error_correlations": diagnostics.error_correlations(
      {name: predicted[name] - true for name in sources}, num_draws, seed
    ),
  }


def _label_noise(test: galaxies.Split) -> list[str]:
  if "oh_true" not in test.columns:
    return []
  noise = test.targets[:, 0] - test.columns["oh_true"]
  floor = np.sqrt(np.mean(noise.astype(np.float64) ** 2))
  return [
    f"RMS noise of the labels: {floor:.4f} dex. Only by chance can an RMSE be "
    "smaller; the last column of the table excludes this noise."
  ]


def _members_and_masses(
  runs: pathlib.Path, configs: Mapping[str, ml_collections.ConfigDict]
) -> list[str]:
  """Describes the members of ensembles, and predictions of stellar mass."""
  remarks = []
  for name in configs:
    summary = results.read_summary(runs / name)
    label = published.reference(name).label
    if "members" in summary:
      single = [member["rmse"] for member in summary["members"]]
      remarks.append(
        f"{label}: RMSE of a single member {np.mean(single):.4f} ± "
        f"{np.std(single, ddof=1):.4f}, of the members' mean "
        f"{summary['test']['rmse']:.4f}, out of fold "
        f"{summary['out_of_fold']['rmse']:.4f} dex."
      )
    mass = summary.get(f"test/{_MASS}")
    if mass is not None:
      rmse, low, high = (
        metrics.show(x, ".4f") for x in (mass["rmse"], *mass["rmse_ci68"])
      )
      paper = published.MASSES.get(name)
      remarks.append(
        f"{label}: RMSE of the stellar mass {rmse} ({low}-{high}) dex"
        + (f"; in the paper {paper}." if paper else ".")
      )
  return remarks


def _scatter_about_tremonti(
  test: galaxies.Split, predicted: Mapping[str, np.ndarray]
) -> list[str]:
  mass = test.columns.get(_MASS)
  if mass is None or "gri" not in predicted:
    return []
  ours, true = (
    relations.scatter_about_tremonti(mass, values)
    for values in (predicted["gri"], test.targets[:, 0])
  )
  show = functools.partial(metrics.show, spec=".4f")
  paper = published.TREMONTI
  return [
    "Scatter about the mass-metallicity relation of Tremonti et al. (2004): "
    f"predictions RMSE {show(ours['rmse'])}, NMAD {show(ours['nmad'])} dex (in "
    f"the paper {paper['rmse']} and {paper['nmad']}), labels RMSE "
    f"{show(true['rmse'])}, NMAD {show(true['nmad'])} dex."
  ]


def _describe(information: Mapping[str, Any]) -> list[str]:
  """Describes the diagnostics of section 4.1."""
  if not information:
    return []
  values, pairs = information["information"], information["error_correlations"]

  def show(name: str) -> str:
    low, high = values[f"{name}_ci68"]
    return (
      f"{metrics.show(values[name], '.4g')} ({metrics.show(low, '.4g')} to "
      f"{metrics.show(high, '.4g')})"
    )

  correlations = []
  for name in pairs:
    if ":" in name and not name.endswith("_ci68"):
      low, high = pairs[f"{name}_ci68"]
      sources = name.replace(":", " and ").replace("_", " ")
      correlations.append(
        f"{sources} {metrics.show(pairs[name], '.2f')} "
        f"({metrics.show(low, '.2f')} to {metrics.show(high, '.2f')})"
      )
  return [
    "## Do colours and shapes add up? (section 4.1)",
    f"1/MSE in dex⁻²: photometry {show('information_photometry')}, r-band "
    f"morphology {show('information_morphology')}, colour images "
    f"{show('information_image')}. Ratio of the images to the sum of the other "
    f"two: {show('ratio_to_sum')}; {published.INFORMATION_RATIO} from the "
    "paper's RMSEs. Ratio to the value for independent sources, which counts "
    f"the variance of the labels once: {show('ratio_to_independent')}.",
    f"Correlation of the errors: {'; '.join(correlations)}.",
  ]


def _draw_galaxies(
  figures: pathlib.Path,
  sample: galaxy_figures.Sample,
  predicted: Mapping[str, np.ndarray],
  rows: pd.DataFrame,
) -> None:
  # The network on gri images in the paper's figure 1 is that of one cycle.
  network = "one_cycle" if "one_cycle" in predicted else "gri"
  names = [
    name for name in ("r_band", "random_forest", network) if name in predicted
  ]
  panels = {published.reference(name).label: predicted[name] for name in names}
  merits = rows.set_index("system").loc[names]
  with figure_style.optional(figures / "figure1.png"):
    galaxy_figures.figure1(figures / "figure1.png", sample, panels, merits)
  # The last panel shows the best system.
  label, best = list(panels.items())[-1]
  if np.isfinite(sample.mass).any():
    path = figures / "mass_metallicity.png"
    with figure_style.optional(path):
      galaxy_figures.mass_metallicity(path, sample, best)
  path = figures / "distributions.png"
  with figure_style.optional(path):
    galaxy_figures.distributions(path, sample, dict(reversed(panels.items())))
  sample = sample._replace(title=f"{sample.title}, {label}")
  path = figures / "residuals.png"
  with figure_style.optional(path):
    galaxy_figures.residuals(path, sample, best)
