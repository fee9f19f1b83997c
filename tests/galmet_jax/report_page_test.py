"""Tests of report.html."""

import re

import numpy as np
import pandas as pd

from galmet_jax.calibration import calibration
from tests.galmet_jax.page import page_data


def test_report_has_the_galaxies_of_all_splits(trained_run):
  _, workdir, summary = trained_run
  shown = page_data.read(workdir / "report.html")
  tables = {
    name: pd.read_csv(workdir / f"predictions_{name}.csv")
    for name in ("validation", "test")
  }
  expected = pd.concat(tables.values(), ignore_index=True)
  assert shown["id"] == expected.objid.astype(str).tolist()
  assert shown["split"] == [
    name for name, table in tables.items() for _ in range(len(table))
  ]
  np.testing.assert_allclose(shown["true"], expected.oh_p50_true, rtol=1e-6)
  np.testing.assert_allclose(shown["pred"], expected.oh_p50_pred, rtol=1e-6)
  fitted = calibration.Calibration.load(workdir).targets[0]
  low, high = fitted.residuals.bounds(np.array(shown["pred"]), 0.95)
  np.testing.assert_array_equal(shown["pred_p2p5"], low)
  np.testing.assert_array_equal(shown["pred_p97p5"], high)
  text = (workdir / "report.html").read_text(encoding="utf-8")
  assert f"RMSE {summary['test']['rmse']:.4f} dex" in text


def test_gallery_shows_the_largest_errors(trained_run):
  _, workdir, _ = trained_run
  shown = page_data.read(workdir / "report.html")
  error = np.abs(np.array(shown["pred"]) - shown["true"])
  worst = [shown["id"][i] for i in np.argsort(-error)[:24]]
  text = (workdir / "report.html").read_text(encoding="utf-8")
  captions = re.findall(r"<figcaption>(\d+)<br>", text)
  assert captions == worst
  gallery = text.partition("largest errors</h2>")[2]
  assert gallery.count('alt="occlusion"') == len(worst)
  assert gallery.count('alt="gradients"') == len(worst)
