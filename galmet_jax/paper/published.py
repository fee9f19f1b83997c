"""The numbers of Wu & Boada (2019) that a reproduction compares with."""

import math
from typing import NamedTuple


class Reference(NamedTuple):
  """A system's label and the paper's result for it.

  Attributes:
    label: name in tables and figures.
    rmse: RMSE, dex; NaN if the paper has none.
    nmad: NMAD, dex; NaN if the paper has none.
  """

  label: str
  rmse: float = math.nan
  nmad: float = math.nan


# Results on 20,466 test galaxies, with TTA unless the label says otherwise.
# Sources: the published text, its draft, and the outputs printed in the
# authors' notebooks.
REFERENCES = {
  "training_mean": Reference("training mean", 0.200, 0.171),
  "random_forest": Reference("random forest", 0.1296, 0.1059),
  "gradient_boosting": Reference("gradient boosting"),
  "gp_svr": Reference("image features, GP and SVR"),
  "feature_boosting": Reference("image features, boosting"),
  "mass_metallicity": Reference("mass-metallicity relation, catalogue's mass"),
  "cnn_mass": Reference(
    "mass-metallicity relation, network's mass", 0.1208, 0.1008
  ),
  "r_band": Reference("CNN, r band, no TTA", 0.1586),
  "grayscale_test": Reference("CNN, gri, tested on r, no TTA", 0.220),
  "gri": Reference("CNN, gri", 0.0851, 0.0664),
  "as_intended": Reference("CNN, gri, rates by layer group"),
  "one_cycle": Reference("CNN, gri, one cycle", 0.0829),
  "five_views": Reference("CNN, gri, five views in a batch"),
  "multi_target": Reference("CNN, gri, O/H and mass", 0.084),
  "wu2020": Reference("xresnet34, Ranger (paper: validation)", 0.0857),
  "ensemble": Reference("CNN, gri, k folds", 0.0835),
  "shuffled_labels": Reference("control: labels shuffled in training"),
  "shuffled_pixels": Reference("control: pixels shuffled"),
  "blank_images": Reference("control: blank images"),
}
# RMSE (dex) by image side in pixels.
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
# RMSE (dex) of the stellar mass, for systems that predict it.
MASSES = {"multi_target": 0.218, "ensemble": 0.2158}
# Scatter (dex) of the predictions about the mass-metallicity relation of
# Tremonti et al. (2004).
TREMONTI = {"rmse": 0.0997, "nmad": 0.0802}
# Section 4.1: 1/MSE of gri, over the sum of those of random_forest and r_band.
INFORMATION_RATIO = 1.39
# Pairs of systems, the worse one first.
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
  """Returns the entry of a system; without numbers if the paper lacks it."""
  return REFERENCES.get(name, Reference(name.replace("_", " ")))
