"""report.html: the page of an evaluated run or ensemble."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import pathlib
from typing import Any

import ml_collections
import numpy as np
import pandas as pd

from galmet_jax import metric_writer
from galmet_jax import quantities
from galmet_jax.calibration import calibration as calibration_lib
from galmet_jax.calibration import image_statistics
from galmet_jax.data import augment
from galmet_jax.data import dataset
from galmet_jax.data import galaxies as galaxies_lib
from galmet_jax.models import network
from galmet_jax.page import gallery
from galmet_jax.page import page
from galmet_jax.page import panels
from galmet_jax.page import saliency
from galmet_jax.predict import flags

FILE = "report.html"
# Galaxies whose images are copied at a time.
_CHUNK = 1024


def write(
  folder: pathlib.Path,
  workdir: pathlib.Path,
  config: ml_collections.ConfigDict,
  variables: Mapping[str, Any],
  splits: Iterable[galaxies_lib.Split],
  tables: Mapping[str, pd.DataFrame],
  calibration: calibration_lib.Calibration,
  summary: Mapping[str, Any],
) -> None:
  """Writes report.html of the first target.

  Args:
    folder: receives the page.
    workdir: of the run or the ensemble.
    config: the whole config.
    variables: of the network; of the first member of an ensemble.
    splits: have the images of all galaxies.
    tables: predictions by split, as in predictions_SPLIT.csv.
    calibration: of the predictions.
    summary: content of summary.json.
  """
  target = quantities.of(dataset.describe(config), config.data.targets)[0]
  # By name; that of a single network is empty.
  steps = calibration.facts.get("members", {"": calibration.facts["step"]})
  records = {name: metric_writer.read(workdir / name) for name in steps}
  objid = np.concatenate([table.objid for table in tables.values()])
  images = _images_of(list(splits), objid)
  statistics = np.concatenate(
    [
      image_statistics.compute(images(rows))
      for rows in np.split(
        np.arange(len(objid)), np.arange(_CHUNK, len(objid), _CHUNK)
      )
    ]
  )
  p = calibration.images.p_values(statistics)
  galaxies = pd.concat(
    [_galaxies(name, table, target.name) for name, table in tables.items()],
    ignore_index=True,
  )
  predicted = galaxies["pred"].to_numpy()
  for level, (low, high) in calibration_lib.INTERVALS.items():
    bounds = calibration.targets[0].residuals.bounds(predicted, level)
    galaxies[f"pred_{low}"], galaxies[f"pred_{high}"] = bounds
  galaxies["ood_p"] = p
  doubts = flags.of_predictions(calibration, p, predicted[:, None])
  galaxies["flags"] = flags.describe(doubts, {})
  figures = [
    panels.coverage(summary[name]["calibration"], name)
    for name in tables
    if "coverage" in summary[name].get("calibration", {})
  ]
  if any(records.values()):
    figures.append(panels.training(records, target.unit))
  page.write(
    folder / FILE,
    page.Content(
      title=f"{config.data.name}: {target.label}",
      facts=_facts(tables, summary, target, steps),
      target=target,
      galaxies=galaxies,
      images=images,
      figures=figures,
      gallery=_worst(
        config, variables, next(iter(steps)), galaxies, images, target
      ),
    ),
    config.seed,
  )


def _images_of(
  splits: list[galaxies_lib.Split], objid: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
  """Returns `page.Content.images` of the galaxies `objid`, `[N]`.

  The images of the splits are not joined: they may be most of the memory.
  """
  known = np.concatenate([split.objid for split in splits])
  order = np.argsort(known)
  places = order[np.searchsorted(known, objid, sorter=order)]
  ends = np.cumsum([len(split) for split in splits])

  def images(rows: np.ndarray) -> np.ndarray:
    found = places[rows]
    parts = np.searchsorted(ends, found, side="right")
    return np.stack(
      [
        splits[part].images[i - ends[part]]
        for part, i in zip(parts, found, strict=True)
      ]
    )

  return images


def _worst(
  config: ml_collections.ConfigDict,
  variables: Mapping[str, Any],
  member: str,
  galaxies: pd.DataFrame,
  images: Callable[[np.ndarray], np.ndarray],
  target: quantities.Quantity,
) -> gallery.Gallery | None:
  """Returns the galaxies with the largest errors; None if no label is known."""
  error = (galaxies["pred"] - galaxies["true"]).to_numpy()
  order = np.argsort(-np.nan_to_num(np.abs(error), nan=-1.0), kind="stable")
  index = order[: min(gallery.NUMBER, np.isfinite(error).sum())]
  if not len(index):
    return None
  worst = images(index)
  model = network.from_config(config.model, len(config.data.targets))
  frame = augment.make_frame(config.data, config.eval.bands)
  return gallery.Gallery(
    title=f"The {len(index)} largest errors",
    images=gallery.crop(worst, frame.crop),
    captions=[
      (row.id, row.split, f"true {row.true:.3f}, predicted {row.pred:.3f}")
      for row in galaxies.iloc[index].itertuples()
    ],
    maps=saliency.compute(model, variables, frame, worst),
    unit=target.unit,
    member=f" {member}" if member else "",
  )


def _galaxies(split: str, table: pd.DataFrame, target: str) -> pd.DataFrame:
  return pd.DataFrame(
    {
      # JavaScript has no integers of 64 bits.
      "id": table["objid"].astype(str),
      "split": split,
      "true": table[f"{target}_true"].astype(np.float64),
      "pred": table[f"{target}_pred"].astype(np.float64),
    }
  )


def _facts(
  tables: Mapping[str, pd.DataFrame],
  summary: Mapping[str, Any],
  target: quantities.Quantity,
  steps: Mapping[str, int],
) -> str:
  """Returns a sentence for each split, and one for the networks."""
  unit = f" {target.unit}" if target.unit else ""
  found = []
  for name, table in tables.items():
    block = summary[name]
    found.append(
      f"{name}: {len(table):,} galaxies, RMSE {block['rmse']:.4f}{unit}, NMAD "
      f"{block['nmad']:.4f}{unit}, bias {block['bias']:+.4f}{unit}."
    )
  which = ", ".join(f"{step:,}" for step in steps.values())
  if len(steps) == 1:
    found.append(f"The network is that of step {which}.")
  else:
    found.append(f"The networks are those of steps {which}.")
  return " ".join(found)
