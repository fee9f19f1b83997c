"""The numbers of Wu & Boada (2019), and a table with ours beside them."""

from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import numpy as np
import pandas as pd

from galmet_jax import metrics
from galmet_jax.paper import diagnostics


class Reference(NamedTuple):
  """What the paper calls a system, and found for it on its test galaxies.

  Attributes:
    label: of the system.
    rmse: dex; None where the paper has no such system.
    nmad: dex, or None.
  """

  label: str
  rmse: float | None = None
  nmad: float | None = None


# On 20,466 test galaxies, with TTA unless the label says otherwise: the
# published text, its draft, and the printed outputs of the authors' notebooks.
REFERENCES = {
  "training_mean": Reference("training mean", 0.200, 0.171),
  "random_forest": Reference("random forest", 0.1296, 0.1059),
  "gradient_boosting": Reference("gradient boosting"),
  "mass_metallicity": Reference("mass-metallicity relation, catalogue's mass"),
  "cnn_mass": Reference(
    "mass-metallicity relation, network's mass", 0.1208, 0.1008
  ),
  "r_band": Reference("CNN, r band, no TTA", 0.1586),
  "grayscale_test": Reference("CNN of gri tested on r, no TTA", 0.220),
  "gri": Reference("CNN, gri", 0.0851, 0.0664),
  "as_intended": Reference("CNN, gri, rates by layer group"),
  "one_cycle": Reference("CNN, gri, one cycle", 0.0829),
  "five_views": Reference("CNN, gri, five views in a batch"),
  "multi_target": Reference("CNN, gri, O/H and mass", 0.084),
  "wu2020": Reference("xresnet34, Ranger (its validation)", 0.0857),
  "ensemble": Reference("CNN, gri, k folds", 0.0835),
  "ensemble_64": Reference("CNN, gri, k folds, 64 px", 0.0845),
  "shuffled_labels": Reference("control: labels shuffled in training"),
  "shuffled_pixels": Reference("control: pixels shuffled"),
  "blank_images": Reference("control: blank images"),
}
# RMSE by the images' side in pixels.
RESOLUTIONS = {
  128: 0.0851,
  64: 0.0893,
  32: 0.0927,
  16: 0.1053,
  8: 0.1125,
  4: 0.1290,
  2: 0.1587,
  1: 0.1609,
}
# RMSE of the stellar mass, where the system predicts it.
MASSES = {"multi_target": 0.218, "ensemble": 0.2158}
# The second of each pair is better in the paper.
ORDER = (
  ("training_mean", "r_band"),
  ("training_mean", "random_forest"),
  ("r_band", "random_forest"),
  ("r_band", "gri"),
  ("random_forest", "gri"),
  ("grayscale_test", "r_band"),
  ("gri", "one_cycle"),
  ("gri", "ensemble"),
)


def reference(name: str) -> Reference:
  """Returns the paper's entry for a system, an empty one if it has none."""
  return REFERENCES.get(name, Reference(name.replace("_", " ")))


def table(
  true: np.ndarray,
  predicted: Mapping[str, np.ndarray],
  references: Mapping[str, Reference],
  num_draws: int,
  seed: int,
  noiseless: np.ndarray | None = None,
) -> pd.DataFrame:
  """Makes the table of all systems on the same galaxies.

  Args:
    true: `[N]`, dex.
    predicted: predictions `[N]` by system, in the order of the rows; NaN
      where a system has none.
    references: the paper's entry for each system.
    num_draws: bootstrap draws over galaxies.
    seed: of the draws.
    noiseless: `[N]`, the truth beneath the label's error, where it is known.

  Returns:
    A row for each system: its name and label, number of galaxies, figures with
    68 % intervals, the paper's RMSE and NMAD, and our RMSE less the paper's
    with the interval of ours.
  """
  rows = []
  for name, values in predicted.items():
    known = np.isfinite(true) & np.isfinite(values)
    ours = metrics.with_intervals(true[known], values[known], num_draws, seed)
    (low, high), paper = ours["rmse_ci68"], references[name]
    row: dict[str, Any] = {
      "system": name,
      "label": paper.label,
      "n": ours["n"],
      "rmse": ours["rmse"],
      "rmse_low": low,
      "rmse_high": high,
      **{key: ours[key] for key in ("nmad", "bias", "r2", "slope")},
      "paper_rmse": paper.rmse,
      "paper_nmad": paper.nmad,
    }
    for end, value in (("", ours["rmse"]), ("_low", low), ("_high", high)):
      row[f"difference{end}"] = (
        None if paper.rmse is None else value - paper.rmse
      )
    if noiseless is not None:
      error = values[known] - noiseless[known]
      row["rmse_noiseless"] = float(np.sqrt(np.mean(error**2)))
    rows.append(row)
  return pd.DataFrame(rows).astype({"paper_rmse": float, "paper_nmad": float})


def order(
  true: np.ndarray,
  predicted: Mapping[str, np.ndarray],
  num_draws: int,
  seed: int,
) -> pd.DataFrame:
  """Compares pairs of systems, galaxy by galaxy, as the paper orders them.

  Args:
    true: `[N]`, dex.
    predicted: predictions `[N]` by system.
    num_draws: bootstrap draws over galaxies.
    seed: of the draws.

  Returns:
    A row for each pair of ORDER that is there: worse, better, the difference
    of their RMSEs with its 68 % interval, dex, and the verdict.
  """
  rows = []
  for worse, better in ORDER:
    if worse not in predicted or better not in predicted:
      continue
    found = diagnostics.paired_rmse_difference(
      true, predicted[worse], predicted[better], num_draws, seed
    )
    low, high = found["difference_ci68"]
    verdict = "not told apart"
    if low > 0:
      verdict = "as in the paper"
    elif high < 0:
      verdict = "the other way round"
    rows.append((worse, better, found["difference"], low, high, verdict))
  names = ["worse", "better", "difference", "low", "high", "verdict"]
  return pd.DataFrame(rows, columns=names)


def markdown(
  title: str,
  rows: pd.DataFrame,
  ordering: pd.DataFrame,
  remarks: list[str],
) -> str:
  """Formats the table, the order and remarks as Markdown.

  Args:
    title: the sample, and whether it is synthetic.
    rows: of `table`.
    ordering: of `order`.
    remarks: further lines, one paragraph each.

  Returns:
    The page.
  """
  noiseless = "rmse_noiseless" in rows
  head = ["system", "RMSE (68 %)", "NMAD", "R²", "paper", "ours − paper (68 %)"]
  head += ["RMSE to the noiseless truth"] if noiseless else []
  lines = [f"# {title}", "", _row(head), _row(["---"] * len(head))]
  for row in rows.itertuples():
    cells = [
      str(row.label),
      f"{row.rmse:.4f} ({row.rmse_low:.4f}-{row.rmse_high:.4f})",
      f"{row.nmad:.4f}",
      f"{row.r2:.3f}",
      _number(row.paper_rmse),
      ""
      if pd.isna(row.paper_rmse)
      else f"{row.difference:+.4f} ({row.difference_low:+.4f} to "
      f"{row.difference_high:+.4f})",
    ]
    cells += [f"{row.rmse_noiseless:.4f}"] if noiseless else []
    lines.append(_row(cells))
  number = rows.n.max() if len(rows) else 0
  lines += ["", f"RMSE and NMAD in dex, of {number:,} test galaxies.", ""]
  if len(ordering):
    lines += ["## Is the order the paper's?", ""]
    lines += [_row(["worse", "better", "difference of RMSE (68 %)", ""])]
    lines += [_row(["---"] * 4)]
    for pair in ordering.itertuples():
      lines.append(
        _row(
          [
            pair.worse.replace("_", " "),
            pair.better.replace("_", " "),
            f"{pair.difference:+.4f} ({pair.low:+.4f} to {pair.high:+.4f})",
            pair.verdict,
          ]
        )
      )
    lines += ["", "Of the same galaxies: bootstrap over pairs.", ""]
  for remark in remarks:
    lines += [remark, ""]
  return "\n".join(lines)


def _row(cells: list[str]) -> str:
  return "| " + " | ".join(cells) + " |"


def _number(value: float | None) -> str:
  return "" if pd.isna(value) else f"{value:.4g}"
