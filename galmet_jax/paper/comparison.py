"""What a reproduction leaves: the paper's table, remarks on it, figures."""

from collections.abc import Mapping
import json
import pathlib
from typing import Any

import ml_collections
import numpy as np
import pandas as pd

from galmet_jax import baselines
from galmet_jax import metrics
from galmet_jax import report
from galmet_jax.data import galaxies
from galmet_jax.paper import diagnostics
from galmet_jax.paper import galaxy_figures
from galmet_jax.paper import published
from galmet_jax.paper import relations
from galmet_jax.paper import sweeps

_MASS = "lgm_tot_p50"


def write(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  galaxies: Mapping[str, galaxies.Split],
  configs: Mapping[str, ml_collections.ConfigDict],
  predicted: Mapping[str, np.ndarray],
) -> pd.DataFrame:
  """Writes the table, what it shows, and the figures.

  Args:
    config: what the systems have in common.
    workdir: paper_table.md, paper_table.csv, diagnostics.json,
      predictions_test.csv and figures/ are written there.
    galaxies: the splits.
    configs: of each trained system.
    predicted: of the test split's first target, `[N]`, by system.

  Returns:
    The table, as `published.table` makes it.
  """
  test = galaxies["test"]
  true = test.targets[:, 0].astype(np.float64)
  draws, seed = config.eval.bootstrap_draws, config.seed
  references = {
    name: _reference(config, configs, name, test) for name in predicted
  }
  truth = test.columns.get("oh_true")
  rows = published.table(true, predicted, references, draws, seed, truth)
  ordering = published.order(true, predicted, draws, seed)
  found = _diagnose(true, predicted, draws, seed)
  title = _title(config)
  remarks = [
    *_noise(test),
    *_from_runs(workdir / "runs", configs),
    *_about_tremonti(test, predicted),
    *_information(found),
  ]
  page = published.markdown(title, rows, ordering, remarks)
  rows.to_csv(workdir / "paper_table.csv", index=False)
  (workdir / "paper_table.md").write_text(page)
  (workdir / "diagnostics.json").write_text(json.dumps(found, indent=2) + "\n")
  table = {"objid": test.objid, "true": true, **predicted}
  pd.DataFrame(table).to_csv(workdir / "predictions_test.csv", index=False)
  _draw(config, workdir / "figures", test, predicted)
  figures = workdir / "figures"
  sweeps.draw_resolution(figures, config, configs, rows, title)
  sweeps.draw_learning_curve(figures, config, configs, galaxies, rows, title)
  print(page)
  print(f"Written to {workdir}: paper_table.md, paper_table.csv, figures/")
  return rows


def _title(config: ml_collections.ConfigDict) -> str:
  name = config.data.name
  return f"{name}: synthetic galaxies" if name.endswith("/mock") else name


def _reference(
  config: ml_collections.ConfigDict,
  configs: Mapping[str, ml_collections.ConfigDict],
  name: str,
  test: galaxies.Split,
) -> published.Reference:
  """Returns the paper's entry, with what is special about ours."""
  side = sweeps.lone_change(config, configs, name).get("data.resolution")
  if side is not None:
    return published.Reference(
      f"CNN, gri, {side} px", published.RESOLUTIONS.get(side)
    )
  if name in configs and configs[name].data.num_train is not None:
    number = configs[name].data.num_train
    return published.Reference(f"CNN, gri, {number:,} training galaxies")
  entry = published.reference(name)
  if name in ("random_forest", "gradient_boosting"):
    photometry = baselines.has_photometry(test)
    features = "gri photometry" if photometry else "ring colours"
    return entry._replace(label=f"{entry.label}, {features}")
  return entry


def _diagnose(
  true: np.ndarray,
  predicted: Mapping[str, np.ndarray],
  num_draws: int,
  seed: int,
) -> dict[str, Any]:
  """Section 4.1: do colours and shapes know different things?"""
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


def _noise(test: galaxies.Split) -> list[str]:
  """The floor of every RMSE, where the truth is known."""
  if "oh_true" not in test.columns:
    return []
  noise = test.targets[:, 0] - test.columns["oh_true"]
  floor = np.sqrt(np.mean(noise.astype(np.float64) ** 2))
  return [
    f"Noise of these labels: {floor:.4f} dex. No RMSE above can lie below it "
    "but by chance; the last column is free of it."
  ]


def _from_runs(
  runs: pathlib.Path, configs: Mapping[str, ml_collections.ConfigDict]
) -> list[str]:
  """What single runs say beside their predictions of the first target."""
  remarks = []
  for name in configs:
    summary = json.loads((runs / name / "summary.json").read_text())
    label = published.reference(name).label
    if "members" in summary:
      single = [member["rmse"] for member in summary["members"]]
      remarks.append(
        f"{label}: a member alone {np.mean(single):.4f} ± "
        f"{np.std(single, ddof=1):.4f}, their mean "
        f"{summary['test']['rmse']:.4f}, out of fold "
        f"{summary['out_of_fold']['rmse']:.4f} dex."
      )
    mass = summary.get(f"test/{_MASS}")
    if mass is not None:
      low, high = mass["rmse_ci68"]
      theirs = published.MASSES.get(name)
      remarks.append(
        f"{label}: stellar mass {mass['rmse']:.4f} ({low:.4f}-{high:.4f}) dex"
        + (f"; the paper's {theirs}." if theirs else ".")
      )
  return remarks


def _about_tremonti(
  test: galaxies.Split, predicted: Mapping[str, np.ndarray]
) -> list[str]:
  """How closely abundances follow the mass-metallicity relation."""
  mass = test.columns.get(_MASS)
  if mass is None or "gri" not in predicted:
    return []
  ours, true = (
    relations.scatter_about_tremonti(mass, values)
    for values in (predicted["gri"], test.targets[:, 0])
  )
  return [
    "About the relation of Tremonti et al. (2004): predictions RMSE "
    f"{ours['rmse']:.4f}, NMAD {ours['nmad']:.4f} dex (the paper's 0.0997 and "
    f"0.0802), labels RMSE {true['rmse']:.4f}, NMAD {true['nmad']:.4f}."
  ]


def _information(found: Mapping[str, Any]) -> list[str]:
  """Section 4.1 in words."""
  if not found:
    return []
  values = found["information"]

  def shown(name):
    low, high = values[f"{name}_ci68"]
    return f"{values[name]:.4g} ({low:.4g} to {high:.4g})"

  pairs = found["error_correlations"]
  correlations = [
    f"{name.replace(':', ' and ').replace('_', ' ')} {value:.2f} "
    f"({pairs[f'{name}_ci68'][0]:.2f} to {pairs[f'{name}_ci68'][1]:.2f})"
    for name, value in pairs.items()
    if ":" in name and not name.endswith("_ci68")
  ]
  return [
    "## Do colours and shapes add up? (section 4.1)",
    f"1/MSE in dex⁻²: photometry {shown('information_photometry')}, r-band "
    f"morphology {shown('information_morphology')}, colour images "
    f"{shown('information_image')}. The images' over the sum of the two: "
    f"{shown('ratio_to_sum')}; the paper's RMSEs make it 1.39. Over what "
    "independence would give, with the labels' own variance counted once: "
    f"{shown('ratio_to_independent')}.",
    f"Correlation of the errors: {'; '.join(correlations)}.",
  ]


def _draw(
  config: ml_collections.ConfigDict,
  figures: pathlib.Path,
  test: galaxies.Split,
  predicted: Mapping[str, np.ndarray],
) -> None:
  """Draws what shows single galaxies."""
  figures.mkdir(exist_ok=True)
  title, label = _title(config), report.label(config.data.targets[0])
  true = test.targets[:, 0]
  panels = [
    (
      published.reference(name).label,
      true,
      predicted[name],
      metrics.with_intervals(
        true, predicted[name], config.eval.bootstrap_draws, config.seed
      ),
    )
    for name in _names_of_figure1(predicted)
  ]
  path = figures / "figure1.png"
  galaxy_figures.figure1(path, panels, label, title=title)
  # The best of the networks, if any was trained.
  name, best = panels[-1][0], panels[-1][2]
  mass = test.columns.get(_MASS)
  if mass is not None and np.isfinite(mass).any():
    galaxy_figures.mass_metallicity(
      figures / "mass_metallicity.png", mass, true, best, label, title=title
    )
  galaxy_figures.distributions(
    figures / "distributions.png",
    true,
    {panel[0]: panel[2] for panel in reversed(panels)},
    label,
    title=title,
  )
  galaxy_figures.residuals(
    figures / "residuals.png",
    true,
    best,
    mass,
    label,
    title=f"{title}, {name}",
  )


def _names_of_figure1(predicted: Mapping[str, np.ndarray]) -> list[str]:
  """The paper's three panels; its network on gri is that of one cycle."""
  network = "one_cycle" if "one_cycle" in predicted else "gri"
  names = ("r_band", "random_forest", network)
  return [name for name in names if name in predicted]
