"""What a reproduction leaves: the paper's table, remarks on it, figures."""

from collections.abc import Mapping
import json
import pathlib
from typing import Any

import ml_collections
import numpy as np
import pandas as pd

from galmet_jax import baselines
from galmet_jax import diagnostics
from galmet_jax import input_pipeline
from galmet_jax import metrics
from galmet_jax import paper
from galmet_jax import paper_curves
from galmet_jax import paper_figures
from galmet_jax import report
from galmet_jax import run
from galmet_jax import splits

_MASS = "lgm_tot_p50"


def write(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  galaxies: Mapping[str, input_pipeline.Split],
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
    The table, as `paper.table` makes it.
  """
  test = galaxies["test"]
  true = test.targets[:, 0].astype(np.float64)
  draws, seed = config.eval.bootstrap_draws, config.seed
  references = {
    name: paper.reference(
      name, _lone_change(config, configs, name).get("data.resolution")
    )
    for name in predicted
  }
  truth = test.columns.get("oh_true")
  rows = paper.table(true, predicted, references, draws, seed, truth)
  ordering = paper.order(true, predicted, draws, seed)
  found = _diagnose(true, predicted, draws, seed)
  curves = _learning_curve(config, configs, galaxies, rows)
  page = paper.markdown(
    _title(config), rows, ordering, _remarks(test, predicted, found)
  )
  rows.to_csv(workdir / "paper_table.csv", index=False)
  (workdir / "paper_table.md").write_text(page)
  (workdir / "diagnostics.json").write_text(json.dumps(found, indent=2) + "\n")
  table = {"objid": test.objid, "true": true, **predicted}
  pd.DataFrame(table).to_csv(workdir / "predictions_test.csv", index=False)
  _draw(config, workdir / "figures", test, predicted, rows)
  _draw_resolution(config, configs, workdir / "figures", rows)
  if curves:
    paper_curves.learning_curve(
      workdir / "figures" / "learning_curve.png",
      *curves,
      report.label(config.data.targets[0]),
      title=_title(config),
    )
  print(page)
  print(f"Written to {workdir}: paper_table.md, paper_table.csv, figures/")
  return rows


def _title(config: ml_collections.ConfigDict) -> str:
  name = config.data.name
  return f"{name}: synthetic galaxies" if name.endswith("/mock") else name


def _lone_change(
  config: ml_collections.ConfigDict,
  configs: Mapping[str, ml_collections.ConfigDict],
  name: str,
) -> dict[str, Any]:
  """Returns what a system changes of the training, if it is one field."""
  if name not in configs:
    return {}
  ours, common = (
    run.flat(json.loads(fields.to_json())) for fields in (configs[name], config)
  )
  changed = {
    field: value
    for field, value in ours.items()
    if value != common.get(field) and not field.startswith("eval.")
  }
  return changed if len(changed) == 1 else {}


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


def _remarks(
  test: input_pipeline.Split,
  predicted: Mapping[str, np.ndarray],
  found: Mapping[str, Any],
) -> list[str]:
  remarks = []
  if "oh_true" in test.columns:
    noise = test.targets[:, 0] - test.columns["oh_true"]
    floor = np.sqrt(np.mean(noise.astype(np.float64) ** 2))
    remarks.append(
      f"Noise of these labels: {floor:.4f} dex. No RMSE above can lie below it "
      "but by chance; the last column is free of it."
    )
  if found:
    remarks += ["## Do colours and shapes add up? (section 4.1)"]
    values = found["information"]

    def shown(name):
      low, high = values[f"{name}_ci68"]
      return f"{values[name]:.4g} ({low:.4g} to {high:.4g})"

    remarks.append(
      f"1/MSE in dex⁻²: photometry {shown('information_photometry')}, r-band "
      f"morphology {shown('information_morphology')}, colour images "
      f"{shown('information_image')}. The images' over the sum of the two: "
      f"{shown('ratio_to_sum')}; the paper's RMSEs make it 1.39. Over what "
      "independence would give, with the labels' own variance counted once: "
      f"{shown('ratio_to_independent')}."
    )
    pairs = found["error_correlations"]
    lines = [
      f"{name.replace(':', ' and ').replace('_', ' ')} {value:.2f} "
      f"({pairs[f'{name}_ci68'][0]:.2f} to {pairs[f'{name}_ci68'][1]:.2f})"
      for name, value in pairs.items()
      if ":" in name and not name.endswith("_ci68")
    ]
    remarks.append(f"Correlation of the errors: {'; '.join(lines)}.")
  return remarks


def _draw(
  config: ml_collections.ConfigDict,
  figures: pathlib.Path,
  test: input_pipeline.Split,
  predicted: Mapping[str, np.ndarray],
  rows: pd.DataFrame,
) -> None:
  """Draws what shows single galaxies."""
  figures.mkdir(exist_ok=True)
  title, label = _title(config), report.label(config.data.targets[0])
  true = test.targets[:, 0]
  panels = [
    (
      paper.reference(name).label,
      true,
      predicted[name],
      metrics.with_intervals(
        true, predicted[name], config.eval.bootstrap_draws, config.seed
      ),
    )
    for name in _names_of_figure1(predicted)
  ]
  path = figures / "figure1.png"
  paper_figures.figure1(path, panels, label, title=title)
  # The best of the networks, if any was trained.
  name, best = panels[-1][0], panels[-1][2]
  mass = test.columns.get(_MASS)
  if mass is not None and np.isfinite(mass).any():
    paper_figures.mass_metallicity(
      figures / "mass_metallicity.png", mass, true, best, label, title=title
    )
  paper_figures.distributions(
    figures / "distributions.png",
    true,
    {panel[0]: panel[2] for panel in panels},
    label,
    title=title,
  )
  paper_figures.residuals(
    figures / "residuals.png",
    true,
    best,
    mass,
    label,
    title=f"{title}: {name}",
  )


def _names_of_figure1(predicted: Mapping[str, np.ndarray]) -> list[str]:
  """The paper's three panels; its network on gri is that of one cycle."""
  network = "one_cycle" if "one_cycle" in predicted else "gri"
  names = ("r_band", "random_forest", network)
  return [name for name in names if name in predicted]


def _draw_resolution(
  config: ml_collections.ConfigDict,
  configs: Mapping[str, ml_collections.ConfigDict],
  figures: pathlib.Path,
  rows: pd.DataFrame,
) -> None:
  """Draws the RMSE of the systems that differ in their resolution alone."""
  rows = rows.set_index("system")
  points = {}
  for name in configs:
    side = _lone_change(config, configs, name).get("data.resolution")
    if side is not None:
      points[side] = rows.loc[name]
  if not points:
    return
  if "gri" in rows.index:
    points[config.data.resolution or config.data.crop] = rows.loc["gri"]
  sides = sorted(points)
  paper_curves.rmse_against_resolution(
    figures / "resolution.png",
    np.array(sides),
    np.array([points[side].rmse for side in sides]),
    np.array([[points[s].rmse_low, points[s].rmse_high] for s in sides]),
    {
      "Wu & Boada (2019)": (
        np.array(list(paper.RESOLUTIONS)),
        np.array(list(paper.RESOLUTIONS.values())),
      )
    },
    {
      report.BASELINES[name]: rows.loc[name].rmse
      for name in ("training_mean", "random_forest")
    },
    title=_title(config),
  )


def _learning_curve(
  config: ml_collections.ConfigDict,
  configs: Mapping[str, ml_collections.ConfigDict],
  galaxies: Mapping[str, input_pipeline.Split],
  rows: pd.DataFrame,
) -> tuple[np.ndarray, dict[str, tuple]] | None:
  """Returns sizes and curves of the network and of trees on the same galaxies.

  Of the systems that train on fewer galaxies than there are; None without any.
  """
  by_size = {
    configs[name].data.num_train: name
    for name in configs
    if configs[name].data.num_train is not None
  }
  if not by_size:
    return None
  if "gri" in configs:
    by_size[len(galaxies["train"])] = "gri"
  sizes = sorted(by_size)
  rows = rows.set_index("system")
  network = np.array(
    [
      rows.loc[by_size[size], ["rmse", "rmse_low", "rmse_high"]]
      for size in sizes
    ],
    np.float64,
  ).T
  test = galaxies["test"]
  true = test.targets[:, 0]
  trees = []
  for size in sizes:
    data = config.data.copy_and_resolve_references()
    data.num_train = size
    train = splits.arrange(dict(galaxies), data, config.seed)["train"]
    values = baselines.predict_random_forest(train, test, config.seed)[:, 0]
    block = metrics.with_intervals(
      true, values, config.eval.bootstrap_draws, config.seed
    )
    trees.append([block["rmse"], *block["rmse_ci68"]])
  forest = np.array(trees).T
  return np.array(sizes), {
    "network": (network[0], network[1], network[2]),
    "random forest": (forest[0], forest[1], forest[2]),
  }
