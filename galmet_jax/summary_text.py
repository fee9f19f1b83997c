"""The metrics of summary.json as text."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from galmet_jax import metrics
from galmet_jax import quantities
from galmet_jax.calibration import judgement

# Titles of the baselines in tables and figures, in the order of tables.
BASELINES = {
  "training_mean": "training mean",
  "random_forest": "random forest",
  "gradient_boosting": "gradient boosting",
  "gp_svr": "image features, GP and SVR",
  "feature_boosting": "image features, boosting",
  "mass_metallicity": "mass-metallicity relation",
}


def block_name(split: str, targets: Sequence[str], i: int) -> str:
  """Returns the key in summary.json for the metrics of target i."""
  return split if i == 0 else f"{split}/{targets[i]}"


def name_of_predictions(summary: Mapping[str, Any]) -> str:
  """Returns what predicts: a network, or its mean with image features."""
  weight = summary.get("eval", {}).get("gp_svr_weight", 0)
  return f"network, {100 * weight:.0f} % features" if weight else "network"


def format_metrics(
  summary: Mapping[str, Any],
  splits: Sequence[str],
  targets: Sequence[quantities.Quantity],
) -> str:
  """Formats the network's metrics and the RMSE of the baselines as text."""
  names = [target.name for target in targets]
  lines = []
  for split in splits:
    for i, target in enumerate(targets):
      block = summary[block_name(split, names, i)]
      spec = quantities.digits(block["rmse"])
      values = {
        name: metrics.show(block[name], spec)
        for name, spec in {
          "rmse": spec,
          "nmad": spec,
          "bias": f"+{spec}",
          "r2": ".3f",
          "slope": ".3f",
          "outlier_fraction": ".1%",
        }.items()
      }
      low, high = (metrics.show(x, spec) for x in block["rmse_ci68"])
      unit = f" [{target.unit}]" if target.unit else ""
      lines += [
        "",
        f"{target.name}, {split} split ({block['n']} galaxies)      RMSE{unit}",
      ]
      for baseline, title in BASELINES.items():
        if f"rmse_{baseline}" in block:
          rmse = metrics.show(block[f"rmse_{baseline}"], spec)
          lines.append(f"  {title:<29}{rmse}")
      lines += [
        f"  {name_of_predictions(summary):<29}{values['rmse']}  "
        f"(68 %: {low}-{high})",
        f"    NMAD {values['nmad']}, bias {values['bias']}, "
        f"R² {values['r2']}, slope {values['slope']}, "
        f"outliers {values['outlier_fraction'].replace('%', ' %')}",
        *judgement.describe(block.get("calibration", {})),
      ]
  return "\n".join([*lines, ""])
