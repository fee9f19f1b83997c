"""Claims of the paper's draft, each a comparison of two systems.

Wu & Boada's draft makes them without showing the numbers. A pair is compared if
both of its systems have been trained; configs/claims.py trains all of them.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib
from typing import NamedTuple

import numpy as np
import pandas as pd

from galmet_jax import metrics
from galmet_jax.paper import diagnostics
from galmet_jax.paper import table
from tfds_sdss import files


class Claim(NamedTuple):
  """A claim and the pairs of systems that test it.

  Attributes:
    text: what the draft says, and its section.
    pairs: (first, second): names of two systems.
  """

  text: str
  pairs: tuple[tuple[str, str], ...]


CLAIMS = (
  Claim(
    "Augmentation improves predictions by up to 20 % (2.3.1)",
    (
      ("no_augmentation", "symmetries_only"),
      ("no_augmentation", "gri"),
      ("symmetries_only", "gri"),
      ("one_test_view", "random_test_views"),
      ("one_test_view", "gri"),
      ("gri", "five_views"),
    ),
  ),
  Claim(
    "Dropout and BatchNorm work in tandem (2.3.4)",
    (
      ("gri", "dropout"),
      ("frozen_norm", "frozen_norm_dropout"),
      ("frozen_norm", "gri"),
      ("frozen_norm_dropout", "dropout"),
    ),
  ),
  Claim(
    "Batches of 128 to 512 images are best, with larger rates (2.3.4)",
    (
      ("gri", "batch_16"),
      ("gri", "batch_128"),
      ("gri", "batch_256"),
      ("gri", "batch_512"),
      ("gri", "batch_16_scaled"),
      ("gri", "batch_128_scaled"),
      ("gri", "batch_256_scaled"),
      ("gri", "batch_512_scaled"),
    ),
  ),
  Claim(
    "Restarts of the learning rate help (2.3.2)",
    (
      ("constant_rate", "restarts"),
      ("one_cosine", "restarts"),
      ("fast_cycle", "restarts"),
    ),
  ),
  Claim(
    "Weights of another task are a better start than random ones (2.1)",
    (("gri", "pretrained"),),
  ),
  Claim(
    "Lower rates in early layers help (2.3.3)",
    (("gri", "rates_by_group"), ("pretrained", "pretrained_rates_by_group")),
  ),
  Claim(
    "Training the head first helps (2.3.3)",
    (("pretrained", "pretrained_head_first"),),
  ),
  Claim(
    "Deeper networks are no worse (2.1)",
    (
      ("resnet10", "resnet18"),
      ("resnet18", "resnet34"),
      ("resnet34", "resnet50"),
    ),
  ),
  Claim(
    "Training is near convergence after 10 epochs (2.3.5)",
    (
      ("half_epochs", "gri"),
      ("gri", "double_epochs"),
      ("double_epochs", "fourfold_epochs"),
    ),
  ),
  Claim(
    "The loss is the RMSE (2)", (("mse_loss", "gri"), ("huber_loss", "gri"))
  ),
)


def compare(
  true: np.ndarray,
  predicted: Mapping[str, np.ndarray],
  num_draws: int,
  seed: int,
) -> pd.DataFrame:
  """Compares the pairs of every claim.

  Args:
    true: `[N]`, dex.
    predicted: predictions `[S, N]` of S seeds, by system.
    num_draws: bootstrap draws over galaxies.
    seed: seed of the draws.

  Returns:
    One row per available pair: claim, first, second, their mean RMSEs, the
    difference second − first (dex) with its 95 % interval (`low`, `high`), the
    same in per cent of the first's RMSE, and `second_is`: better, worse or not
    told apart.
  """
  rows = []
  for claim in CLAIMS:
    for first, second in table.available(claim.pairs, true, predicted):
      both = [predicted[name] for name in (first, second)]
      known = table.known(true, *both)
      found = diagnostics.paired_rmse_difference(
        true, both[1], both[0], num_draws, seed
      )
      low, high = found["difference_ci95"]
      rmse = [
        float(metrics.compute(true[known], each[:, known])["rmse"].mean())
        for each in both
      ]
      verdict = "not told apart"
      if high < 0:
        verdict = "better"
      elif low > 0:
        verdict = "worse"
      rows.append(
        {
          "claim": claim.text,
          "first": first,
          "second": second,
          "rmse_first": rmse[0],
          "rmse_second": rmse[1],
          "difference": found["difference"],
          "low": low,
          "high": high,
          "per_cent": 100 * found["difference"] / rmse[0],
          "second_is": verdict,
        }
      )
  return pd.DataFrame(rows)


def write(
  workdir: pathlib.Path, title: str, rows: pd.DataFrame, remarks: Sequence[str]
) -> None:
  """Writes claims.csv and claims.md, and prints the latter.

  The arguments are those of `to_markdown`.
  """
  page = to_markdown(title, rows, remarks)
  for name, text in (
    ("claims.csv", rows.to_csv(index=False)),
    ("claims.md", page),
  ):
    files.write_atomically(workdir / name, text.encode())
  print(page, flush=True)


def to_markdown(title: str, rows: pd.DataFrame, remarks: Sequence[str]) -> str:
  """Formats the table of `compare` as Markdown.

  Args:
    title: the sample.
    rows: the table.
    remarks: further paragraphs.
  """
  header = ["claim of the draft (section)", "first", "second", "RMSE, dex"]
  header += ["second − first (95 %)", "%", "the second is"]
  body, last = [], None
  for row in rows.itertuples():
    body.append(
      [
        row.claim if row.claim != last else "",
        row.first.replace("_", " "),
        row.second.replace("_", " "),
        f"{row.rmse_first:.4f}, {row.rmse_second:.4f}",
        table.signed(row.difference, row.low, row.high),
        f"{row.per_cent:+.0f}",
        row.second_is,
      ]
    )
    last = row.claim
  lines = [f"# Claims of the draft: {title}", ""]
  lines += [*table.markdown_table(header, body), ""]
  lines += [
    "RMSEs are means over the seeds. The intervals are for other galaxies and "
    "other seeds: a bootstrap over galaxies, and Student's t for the scatter "
    "between seeds.",
    "",
  ]
  for remark in remarks:
    lines += [remark, ""]
  return "\n".join(lines)
