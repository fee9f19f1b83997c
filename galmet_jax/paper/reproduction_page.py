"""report.html of a reproduction: the paper's table and all systems."""

from collections.abc import Mapping
import html
import pathlib

import ml_collections
import numpy as np
import pandas as pd

from galmet_jax import metrics
from galmet_jax import quantities
from galmet_jax.data import dataset
from galmet_jax.data import galaxies
from galmet_jax.page import page
from galmet_jax.paper import page_panels
from galmet_jax.paper import relations
from galmet_jax.paper import sweeps

FILE = "report.html"
_MASS = "lgm_tot_p50"
# Shown in the figure of distributions, as in the paper.
_FIRST = ("r_band", "random_forest", "gri")


def write(
  workdir: pathlib.Path,
  title: str,
  config: ml_collections.ConfigDict,
  configs: Mapping[str, ml_collections.ConfigDict],
  splits: Mapping[str, galaxies.Split],
  predicted: Mapping[str, np.ndarray],
  rows: pd.DataFrame,
) -> None:
  """Writes the page.

  Args:
    workdir: of the reproduction, with the systems' runs in `runs/NAME`.
    title: names the sample.
    config: the config that the systems have in common.
    configs: config of each trained system.
    splits: galaxies by split; the page shows the N of `test`.
    predicted: predictions of the first target `[N]` by system.
    rows: from `table.compare_systems`.
  """
  test = splits["test"]
  target = quantities.of(dataset.describe(config), config.data.targets)[0]
  systems = dict(zip(rows.system, rows.label, strict=True))
  true = test.targets[:, 0].astype(np.float64)
  shown = "gri" if "gri" in systems else next(iter(systems))
  figures = [
    page_panels.curve(rows, swept, label, target)
    for label, swept in (
      ("pixels on a side", sweeps.by_resolution(config, configs)),
      ("training galaxies", sweeps.by_size(configs, splits)),
    )
    if swept
  ]
  by_label = {
    systems[name]: predicted[name] for name in _FIRST if name in systems
  }
  figures.append(page_panels.distributions({"true": true, **by_label}, target))
  columns = {
    "id": test.objid.astype(str),
    "true": true,
    "pred": predicted[shown].astype(np.float64),
    "flags": np.full(len(test), "", object),
    **{name: predicted[name].astype(np.float64) for name in systems},
  }
  facts = (
    f"{len(test):,} test galaxies. The plots show the first seed of the chosen "
    "system."
  )
  curve = None
  if np.isfinite(test.columns.get(_MASS, np.nan)).any():
    columns["mass"] = test.columns[_MASS].astype(np.float64)
    masses = np.linspace(*relations.FITTED, 100)
    curve = np.stack([masses, relations.tremonti(masses)])
    facts += " The line is the relation of Tremonti et al. (2004)."
  page.write(
    workdir / FILE,
    page.Content(
      title=title,
      facts=facts,
      target=target,
      galaxies=pd.DataFrame(columns),
      images=lambda chosen: test.images[chosen],
      figures=figures,
      systems={shown: systems[shown], **systems},
      table=_table(workdir, rows),
      curve=curve,
    ),
  )


def _table(workdir: pathlib.Path, rows: pd.DataFrame) -> str:
  """Returns the table as HTML; a system's name opens the folder of its run."""
  header = ("system", "RMSE (68 %)", "± of seeds", "NMAD", "R²", "paper")
  body = []
  for row in rows.itertuples():
    name = html.escape(row.label)
    if (workdir / "runs" / row.system).is_dir():
      name = f'<a href="runs/{row.system}/">{name}</a>'
    show = metrics.show
    cells = (
      name,
      f"{show(row.rmse, '.4f')} ({show(row.rmse_low, '.4f')}-"
      f"{show(row.rmse_high, '.4f')})",
      *(
        "" if np.isnan(value) else show(value, spec)
        for value, spec in (
          (row.rmse_seeds, ".4f"),
          (row.nmad, ".4f"),
          (row.r2, ".3f"),
          (row.paper_rmse, ".4g"),
        )
      ),
    )
    body.append("".join(f"<td>{cell}</td>" for cell in cells))
  head = "".join(f"<th>{name}</th>" for name in header)
  lines = "".join(f"<tr>{cells}</tr>" for cells in body)
  return (
    '<div class="wide"><table><thead><tr>'
    f"{head}</tr></thead><tbody>{lines}</tbody></table></div>"
  )
