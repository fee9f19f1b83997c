"""The page of a prediction (`--mode=predict --page=FILE`)."""

from collections.abc import Mapping
import pathlib

import jax
import numpy as np
import pandas as pd

from galmet_jax import quantities
from galmet_jax.page import gallery
from galmet_jax.page import page
from galmet_jax.page import saliency
from galmet_jax.predict import inputs
from galmet_jax.predict.predictor import Predictor
from tfds_sdss.own import user_tables


def write(
  path: pathlib.Path,
  model: Predictor,
  rows: inputs.Rows,
  new: Mapping[str, np.ndarray],
  facts: str,
) -> None:
  """Writes the page of the first target.

  If the input has a column with the target's name, it is shown as the true
  value.

  Args:
    path: the HTML file.
    model: what predicted.
    rows: the galaxies, N.
    new: the values of `Predictor.columns` by name, `[N]` each.
    facts: see `page.Content`.
  """
  name = model.calibration.targets[0].name
  columns: dict[str, np.ndarray] = {"id": _names(rows)}
  if name in rows.table.colnames:
    columns["true"] = user_tables.numbers(rows.table, name)
  for column in ("pred", "pred_p16", "pred_p84", "pred_p2p5", "pred_p97p5"):
    columns[column] = np.asarray(new[f"{name}_{column}"], np.float64)
  columns["ood_p"] = np.asarray(new["ood_p"], np.float64)
  columns["flags"] = np.asarray(new["flag_text"], str)
  galaxies = pd.DataFrame(columns)
  target = quantities.of(model.info, (name,))[0]
  page.write(
    path,
    page.Content(
      title=f"{target.label} predicted",
      facts=facts,
      target=target,
      galaxies=galaxies,
      images=lambda chosen: rows.read(chosen, model.info.image_size)[0],
      gallery=_unusual(model, rows, galaxies, target),
    ),
  )


def _unusual(
  model: Predictor,
  rows: inputs.Rows,
  galaxies: pd.DataFrame,
  target: quantities.Quantity,
) -> gallery.Gallery | None:
  """Returns the galaxies with the lowest p-values; None if there are none."""
  p = galaxies["ood_p"].to_numpy()
  index = np.argsort(p, kind="stable")[: gallery.NUMBER]  # NaN is last
  index = index[np.isfinite(p[index])]
  if not len(index):
    return None
  images = rows.read(index, model.info.image_size)[0]
  networks = model.networks
  variables = jax.device_get(networks.variables[0])
  return gallery.Gallery(
    title=f"The {len(index)} most unusual images",
    images=gallery.crop(images, networks.frame.crop),
    captions=[
      (row.id, f"predicted {row.pred:.3f}, p of the image {row.ood_p:.2g}")
      for row in galaxies.iloc[index].itertuples()
    ],
    maps=saliency.compute(networks.model, variables, networks.frame, images),
    unit=target.unit,
    member=" of the first fold" if len(networks.variables) > 1 else "",
  )


def _names(rows: inputs.Rows) -> np.ndarray:
  return np.array(
    [name or f"row {i + 1}" for i, name in enumerate(rows.names)], object
  )
