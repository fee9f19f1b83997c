"""Metrics as text."""

import numpy as np

from galmet_jax import metrics
from galmet_jax import quantities
from galmet_jax import summary_text

OH = quantities.Quantity("oh_p50", "12 + log(O/H)", "dex")
REDSHIFT = quantities.Quantity("z", "z", "")
MASS = quantities.Quantity("mass", "mass [solMass]", "solMass")


def block(scale: float) -> dict:
  true = scale * np.arange(4.0)
  predicted = true + scale * np.array([0.1, -0.1, 0.1, 0.1])
  return {
    **metrics.with_intervals(true, predicted, 20, 0),
    "rmse_training_mean": 1.118 * scale,
  }


def test_text_of_a_metallicity():
  text = summary_text.format_metrics({"test": block(1)}, ("test",), (OH,))
  assert text == (
    "\n"
    "oh_p50, test split (4 galaxies)      RMSE [dex]\n"
    "  training mean                1.1180\n"
    "  network                      0.1000  (68 %: 0.1000-0.1000)\n"
    "    NMAD 0.0000, bias +0.0500, R² 0.992, slope 1.020, outliers 100.0 %\n"
  )


def test_units_and_digits_of_other_targets():
  summary = {"test": block(0.01), "test/mass": block(1e10)}
  text = summary_text.format_metrics(summary, ("test",), (REDSHIFT, MASS))
  assert "z, test split (4 galaxies)      RMSE\n" in text
  assert "mass, test split (4 galaxies)      RMSE [solMass]\n" in text
  assert "  training mean                1.118e+10\n" in text
  assert "bias +5.000e+08" in text
  assert "dex" not in text
