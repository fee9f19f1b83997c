"""Can a forest tell mock galaxies from real ones by their image features?

  python -m benchmarks.realism --manual_dir=demo400 \
      --demo_data_dir=demo400/built

Prints the area under the ROC curve (AUC) for all features and for each group:
0.5 if mock and real galaxies cannot be told apart, 1 if always.
"""

import argparse

import ml_collections
import numpy as np
from sklearn import ensemble
from sklearn import metrics
from sklearn import model_selection

from galmet_jax.baselines import image_features
from galmet_jax.data import galaxies
from tfds_sdss import build

_GROUPS = ("light", "colour", "shape", "noise")


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--manual_dir", help="folder of the files of demo500")
  parser.add_argument("--demo_data_dir", help="where demo500 is built")
  parser.add_argument("--data_dir", help="where the mock is built")
  args = parser.parse_args()
  real = _features("demo500", args.demo_data_dir, args.manual_dir)
  mock = _features("mock", args.data_dir, None)
  features = np.concatenate([real, mock])
  is_real = np.arange(len(features)) < len(real)
  group = np.array(image_features.GROUPS)
  print(f"{len(real)} real and {len(mock)} mock galaxies\n")
  print("| features | AUC |\n|---|---|")
  print(f"| all | {_auc(features, is_real):.3f} |")
  for i, name in enumerate(_GROUPS):
    print(f"| {name} | {_auc(features[:, group == i], is_real):.3f} |")


def _features(
  sample: str, data_dir: str | None, manual_dir: str | None
) -> np.ndarray:
  builder = build.build(sample, data_dir, manual_dir)
  config = ml_collections.ConfigDict({"crop": 96, "targets": ("oh_p50",)})
  splits = galaxies.load(builder, config).values()
  return np.concatenate(
    [image_features.compute(split.images) for split in splits]
  )


def _auc(features: np.ndarray, is_real: np.ndarray) -> float:
  """Returns the AUC of out-of-fold predictions."""
  forest = ensemble.RandomForestClassifier(
    300, class_weight="balanced", random_state=0
  )
  folds = model_selection.StratifiedKFold(5, shuffle=True, random_state=0)
  probability = model_selection.cross_val_predict(
    forest, features, is_real, cv=folds, method="predict_proba"
  )
  return float(metrics.roc_auc_score(is_real, probability[:, 1]))


if __name__ == "__main__":
  main()
