"""Writes the results of a reproduction: table, remarks, figures."""

from collections.abc import Mapping
import json
import pathlib
from typing import Any

import ml_collections
import numpy as np
import pandas as pd

from galmet_jax import baselines
from galmet_jax import report
from galmet_jax import results
from galmet_jax.data import galaxies
from galmet_jax.paper import diagnostics
from galmet_jax.paper import galaxy_figures
from galmet_jax.paper import published
from galmet_jax.paper import relations
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
    predicted: predictions `[N]` of the test split's first target, by system.

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
    true, predicted, references, draws, seed, test.columns.get("oh_true")
  )
  pairs = table.compare_pairs(true, predicted, draws, seed)
  information = _diagnose(true, predicted, draws, seed)
  remarks = [
    *_label_noise(test),
    *_members_and_masses(workdir / "runs", configs),
    *_scatter_about_tremonti(test, predicted),
    *_describe(information),
  ]
  title = config.data.name
  if title.endswith("/mock"):
    title += ": synthetic galaxies"
  page = table.to_markdown(title, rows, pairs, remarks)
  all_predictions = pd.DataFrame(
    {"objid": test.objid, "true": true, **predicted}
  )
  for name, text in (
    ("paper_table.csv", rows.to_csv(index=False)),
    ("paper_table.md", page),
    ("diagnostics.json", json.dumps(information, indent=2) + "\n"),
    ("predictions_test.csv", all_predictions.to_csv(index=False)),
  ):
    files.write_atomically(workdir / name, text.encode())
  figures = workdir / "figures"
  figures.mkdir(exist_ok=True)
  sample = galaxy_figures.Sample(
    true=test.targets[:, 0],
    mass=test.columns.get(_MASS, np.full(len(test), np.nan)),
    quantity=report.label(config.data.targets[0]),
    title=title,
  )
  _draw_galaxies(figures, sample, predicted, rows)
  sweeps.draw_resolution(figures, config, configs, rows, title)
  sweeps.draw_learning_curve(figures, config, configs, splits, rows, title)
  print(page)
  print(f"Written to {workdir}: paper_table.md, paper_table.csv, figures/")
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
    photometry = baselines.has_photometry(test)
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
      low, high = mass["rmse_ci68"]
      paper = published.MASSES.get(name)
      remarks.append(
        f"{label}: RMSE of the stellar mass {mass['rmse']:.4f} "
        f"({low:.4f}-{high:.4f}) dex"
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
  paper = published.TREMONTI
  return [
    "Scatter about the mass-metallicity relation of Tremonti et al. (2004): "
    f"predictions RMSE {ours['rmse']:.4f}, NMAD {ours['nmad']:.4f} dex (in the "
    f"paper {paper['rmse']} and {paper['nmad']}), labels RMSE "
    f"{true['rmse']:.4f}, NMAD {true['nmad']:.4f} dex."
  ]


def _describe(information: Mapping[str, Any]) -> list[str]:
  """Describes the diagnostics of section 4.1."""
  if not information:
    return []
  values, pairs = information["information"], information["error_correlations"]

  def show(name: str) -> str:
    low, high = values[f"{name}_ci68"]
    return f"{values[name]:.4g} ({low:.4g} to {high:.4g})"

  correlations = []
  for name in pairs:
    if ":" in name and not name.endswith("_ci68"):
      low, high = pairs[f"{name}_ci68"]
      sources = name.replace(":", " and ").replace("_", " ")
      correlations.append(
        f"{sources} {pairs[name]:.2f} ({low:.2f} to {high:.2f})"
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
  galaxy_figures.figure1(
    figures / "figure1.png", sample, panels, rows.set_index("system").loc[names]
  )
  # The last panel shows the best system.
  label, best = list(panels.items())[-1]
  if np.isfinite(sample.mass).any():
    galaxy_figures.mass_metallicity(
      figures / "mass_metallicity.png", sample, best
    )
  galaxy_figures.distributions(
    figures / "distributions.png", sample, dict(reversed(panels.items()))
  )
  sample = sample._replace(title=f"{sample.title}, {label}")
  galaxy_figures.residuals(figures / "residuals.png", sample, best)
