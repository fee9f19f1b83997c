"""The table against numbers worked out by hand."""

import numpy as np
import pytest

from galmet_jax.paper import published

TRUE = np.array([8.5, 8.7, 8.9, 9.1])
PREDICTED = {
  "training_mean": np.full(4, 8.8),
  "gri": TRUE + np.array([0.1, -0.1, 0.1, -0.1]),
  "r_band": TRUE + np.array([0.2, -0.2, 0.2, -0.2]),
  "mystery_box": np.array([8.6, np.nan, 9.0, 9.2]),
}
REFERENCES = {name: published.reference(name) for name in PREDICTED}


def made(**changes):
  return published.table(TRUE, PREDICTED, REFERENCES, 200, 0, **changes)


def test_rows_of_the_table():
  rows = made().set_index("system")
  assert list(rows.index) == list(PREDICTED)
  gri = rows.loc["gri"]
  assert gri.rmse == pytest.approx(0.1)
  assert gri.paper_rmse == 0.0851
  assert gri.difference == pytest.approx(0.1 - 0.0851)
  # Each error is 0.1: so is the RMSE of every draw.
  assert gri.difference_low == pytest.approx(gri.difference)
  assert gri.difference_high == pytest.approx(gri.difference)
  mean = rows.loc["training_mean"]
  assert mean.rmse == pytest.approx(np.sqrt(0.05))
  assert mean.rmse_low < mean.rmse < mean.rmse_high
  assert mean.difference_low == pytest.approx(mean.rmse_low - 0.2)
  assert mean.r2 == pytest.approx(0)


def test_system_the_paper_lacks_and_missing_predictions():
  row = made().set_index("system").loc["mystery_box"]
  assert row.label == "mystery box"
  assert row.n == 3
  assert row.rmse == pytest.approx(0.1)
  assert np.isnan(row.paper_rmse)
  assert np.isnan(row.difference)


def test_error_against_the_noiseless_truth():
  rows = made(noiseless=PREDICTED["gri"]).set_index("system")
  assert rows.loc["gri"].rmse_noiseless == pytest.approx(0)
  assert rows.loc["r_band"].rmse_noiseless == pytest.approx(0.1)
  assert "rmse_noiseless" not in made()


def test_order_tells_what_is_known():
  found = published.order(TRUE, PREDICTED, 500, 0).set_index(
    ["worse", "better"]
  )
  assert set(found.index) == {("training_mean", "r_band"), ("r_band", "gri")}
  pair = found.loc[("r_band", "gri")]
  assert pair.difference == pytest.approx(0.1)
  assert pair.verdict == "as in the paper"
  backwards = {"r_band": PREDICTED["gri"], "gri": PREDICTED["r_band"]}
  (verdict,) = published.order(TRUE, backwards, 500, 0).verdict
  assert verdict == "the other way round"
  close = {
    "r_band": TRUE + np.array([0.1, 0, 0, 0]),
    "gri": TRUE + np.array([0, 0, 0, 0.1]),
  }
  (verdict,) = published.order(TRUE, close, 500, 0).verdict
  assert verdict == "not told apart"


def test_page():
  ordering = published.order(TRUE, PREDICTED, 100, 0)
  page = published.markdown("mock: synthetic", made(), ordering, ["A remark."])
  lines = page.splitlines()
  assert lines[0] == "# mock: synthetic"
  (row,) = [line for line in lines if line.startswith("| CNN, gri |")]
  assert row == (
    "| CNN, gri | 0.1000 (0.1000-0.1000) | 0.1483 | 0.800 | 0.0851 | "
    "+0.0149 (+0.0149 to +0.0149) |"
  )
  (row,) = [line for line in lines if line.startswith("| mystery box")]
  assert row.endswith("|  |  |")
  assert "| r band | gri | +0.1000" in page
  assert "A remark." in lines
  # Markdown asks for as many cells in each row of a table.
  first = lines[2 : lines.index("", 2)]
  assert len({line.count("|") for line in first}) == 1


def test_references_are_the_papers():
  found = published.REFERENCES
  # Table 1 and sections 2 to 4 of the paper's arithmetic: better is lower.
  for worse, better in published.ORDER:
    assert found[worse].rmse > found[better].rmse
  sides = list(published.RESOLUTIONS)
  assert sides == sorted(sides, reverse=True)
  values = list(published.RESOLUTIONS.values())
  assert values == sorted(values)
  assert published.RESOLUTIONS[128] == found["gri"].rmse
