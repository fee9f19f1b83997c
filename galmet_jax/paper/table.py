"""The table of systems, with the paper's numbers beside ours."""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import types
from typing import Any

import numpy as np
import pandas as pd

from galmet_jax import metrics
from galmet_jax.calibration import judgement
from galmet_jax.paper import diagnostics
from galmet_jax.paper import published


def compare_systems(
  true: np.ndarray,
  predicted: Mapping[str, np.ndarray],
  references: Mapping[str, published.Reference],
  num_draws: int,
  seed: int,
  noiseless: np.ndarray | None = None,
  coverage: Mapping[str, Mapping[float, float]] = types.MappingProxyType({}),
) -> pd.DataFrame:
  """Computes the metrics of all systems and their offsets from the paper.

  Args:
    true: `[N]`, dex.
    predicted: predictions `[N]`, or `[S, N]` of S seeds, by system, in the
      order of the rows; NaN for a galaxy that a system cannot predict.
    references: the paper's entry for each system.
    num_draws: bootstrap draws over galaxies.
    seed: seed of the draws.
    noiseless: true values `[N]` without label noise, if known.
    coverage: for systems with calibrated intervals, the share of galaxies
      inside by level.

  Returns:
    One row per system: system and label, number of galaxies n, metrics in dex,
    their means over the seeds, with 68 % intervals (`_low`, `_high`);
    rmse_seeds, the standard deviation of the RMSE of one seed, NaN for one;
    cover_68 and cover_95, the paper's RMSE and NMAD, and `difference`, our RMSE
    minus the paper's, with the interval of ours.
  """
  rows = []
  for name, values in predicted.items():
    values = np.atleast_2d(values)
    found = known(true, values)
    values = values[:, found]
    ours = metrics.with_intervals(true[found], values, num_draws, seed)
    (low, high), paper = ours["rmse_ci68"], references[name]
    row: dict[str, Any] = {
      "system": name,
      "label": paper.label,
      "n": ours["n"],
      "rmse": ours["rmse"],
      "rmse_low": low,
      "rmse_high": high,
      "rmse_seeds": _over_seeds(true[found], values),
      **{key: ours[key] for key in ("nmad", "bias", "r2", "slope")},
      **{
        f"cover_{100 * level:.0f}": coverage.get(name, {}).get(level, np.nan)
        for level in judgement.WRITTEN
      },
      "paper_rmse": paper.rmse,
      "paper_nmad": paper.nmad,
      "difference": ours["rmse"] - paper.rmse,
      "difference_low": low - paper.rmse,
      "difference_high": high - paper.rmse,
    }
    if noiseless is not None:
      rmse = metrics.compute(noiseless[found], values)["rmse"]
      row["rmse_noiseless"] = float(rmse.mean())
    rows.append(row)
  return pd.DataFrame(rows)


def _over_seeds(true: np.ndarray, predicted: np.ndarray) -> float:
  """Returns the standard deviation of the RMSEs of `[S, N]`; NaN if S is 1."""
  if len(predicted) == 1:
    return np.nan
  return float(metrics.compute(true, predicted)["rmse"].std(ddof=1))


def compare_pairs(
  true: np.ndarray,
  predicted: Mapping[str, np.ndarray],
  num_draws: int,
  seed: int,
) -> pd.DataFrame:
  """Tests whether pairs of systems are in the paper's order.

  Args:
    true: `[N]`, dex.
    predicted: predictions `[N]`, or `[S, N]` of S seeds, by system.
    num_draws: bootstrap draws over galaxies.
    seed: seed of the draws.

  Returns:
    One row per available pair of `published.ORDER`: worse, better, the
    difference of their RMSEs (dex) with its 68 % interval, and the verdict.
  """
  rows = []
  for worse, better in available(published.ORDER, true, predicted):
    found = diagnostics.paired_rmse_difference(
      true, predicted[worse], predicted[better], num_draws, seed
    )
    low, high = found["difference_ci68"]
    verdict = "undecided"
    if low > 0:
      verdict = "as in the paper"
    elif high < 0:
      verdict = "reversed"
    rows.append((worse, better, found["difference"], low, high, verdict))
  names = ["worse", "better", "difference", "low", "high", "verdict"]
  return pd.DataFrame(rows, columns=names)


def available(
  pairs: Sequence[tuple[str, str]],
  true: np.ndarray,
  predicted: Mapping[str, np.ndarray],
) -> list[tuple[str, str]]:
  """Returns the pairs of systems that can be compared.

  Fewer than two galaxies with both predictions have no interval.
  """
  return [
    (a, b)
    for a, b in pairs
    if a in predicted
    and b in predicted
    and known(true, predicted[a], predicted[b]).sum() > 1
  ]


def known(*values: np.ndarray) -> np.ndarray:
  """Returns which galaxies have all values, of `[N]` and `[S, N]`."""
  return np.isfinite(np.concatenate([np.atleast_2d(x) for x in values])).all(0)


def to_markdown(
  title: str,
  systems: pd.DataFrame,
  pairs: pd.DataFrame,
  remarks: Sequence[str],
) -> str:
  """Formats the tables of systems and pairs, and remarks, as Markdown.

  Args:
    title: heading of the page.
    systems: table from `compare_systems`.
    pairs: table from `compare_pairs`.
    remarks: further paragraphs.
  """
  has_seeds = bool(systems.rmse_seeds.notna().any())
  header = ["system", "RMSE (68 %)"] + ["± of seeds"] * has_seeds
  header += ["NMAD", "R²", "68 / 95 % cover", "paper", "ours − paper (68 %)"]
  has_noiseless = "rmse_noiseless" in systems
  if has_noiseless:
    header += ["RMSE to the noiseless truth"]
  body = []
  for row in systems.itertuples():
    in_paper = np.isfinite(row.paper_rmse)
    cells = [
      row.label,
      f"{metrics.show(row.rmse, '.4f')} "
      f"({metrics.show(row.rmse_low, '.4f')}-"
      f"{metrics.show(row.rmse_high, '.4f')})",
      *[metrics.show(row.rmse_seeds, ".4f")] * has_seeds,
      metrics.show(row.nmad, ".4f"),
      metrics.show(row.r2, ".3f"),
      f"{100 * row.cover_68:.0f} / {100 * row.cover_95:.0f} %"
      if np.isfinite(row.cover_68 + row.cover_95)
      else "",
      f"{row.paper_rmse:.4g}" if in_paper else "",
      signed(row.difference, row.difference_low, row.difference_high)
      if in_paper
      else "",
    ]
    if has_noiseless:
      cells.append(metrics.show(row.rmse_noiseless, ".4f"))
    body.append(cells)
  lines = [f"# {title}", "", *markdown_table(header, body), ""]
  lines += [
    f"RMSE and NMAD in dex, for {systems.n.max():,} test galaxies; cover: "
    "galaxies inside their calibrated 68 and 95 % intervals.",
    "",
  ]
  if has_seeds:
    lines[-1:] = [
      "Where seeds have a scatter, several networks were trained: RMSE, NMAD "
      "and R² are means over them, and the scatter is the standard deviation "
      "of the RMSE of one.",
      "",
    ]
  if len(pairs):
    header = ["worse", "better", "difference of RMSE (68 %)", "verdict"]
    body = [
      [
        pair.worse.replace("_", " "),
        pair.better.replace("_", " "),
        signed(pair.difference, pair.low, pair.high),
        pair.verdict,
      ]
      for pair in pairs.itertuples()
    ]
    lines += ["## Are the systems in the paper's order?", ""]
    lines += [*markdown_table(header, body), ""]
    lines += ["Both systems of a pair are resampled with the same draws.", ""]
  for remark in remarks:
    lines += [remark, ""]
  return "\n".join(lines)


def signed(value: float, low: float, high: float) -> str:
  """Formats a difference and its interval, in dex."""
  shown = [metrics.show(x, "+.4f") for x in (value, low, high)]
  return f"{shown[0]} ({shown[1]} to {shown[2]})"


def markdown_table(header: list[str], body: list[list[str]]) -> Iterator[str]:
  """Returns the lines of a Markdown table."""
  for cells in (header, ["---"] * len(header), *body):
    yield f"| {' | '.join(cells)} |"
