import numpy as np
import pytest

from galmet_jax.paper import published
from galmet_jax.paper import table

TRUE = np.array([8.5, 8.7, 8.9, 9.1])
PREDICTED = {
  "training_mean": np.full(4, 8.8),
  "gri": TRUE + np.array([0.1, -0.1, 0.1, -0.1]),
  "r_band": TRUE + np.array([0.2, -0.2, 0.2, -0.2]),
  "mystery_box": np.array([8.6, np.nan, 9.0, 9.2]),
}
REFERENCES = {name: published.reference(name) for name in PREDICTED}


def compare_systems(**kwargs):
  return table.compare_systems(TRUE, PREDICTED, REFERENCES, 200, 0, **kwargs)


def test_rows_compare_with_the_paper():
  rows = compare_systems().set_index("system")
  assert list(rows.index) == list(PREDICTED)
  gri = rows.loc["gri"]
  assert gri.rmse == pytest.approx(0.1)
  assert gri.paper_rmse == 0.0851
  assert gri.difference == pytest.approx(0.1 - 0.0851)
  # All errors are 0.1, so the RMSE of every draw is 0.1.
  assert gri.difference_low == pytest.approx(gri.difference)
  assert gri.difference_high == pytest.approx(gri.difference)
  mean = rows.loc["training_mean"]
  assert mean.rmse == pytest.approx(np.sqrt(0.05))
  assert mean.rmse_low < mean.rmse < mean.rmse_high
  assert mean.difference_low == pytest.approx(mean.rmse_low - 0.2)
  assert mean.r2 == pytest.approx(0)


def test_missing_reference_and_predictions():
  row = compare_systems().set_index("system").loc["mystery_box"]
  assert row.label == "mystery box"
  assert row.n == 3
  assert row.rmse == pytest.approx(0.1)
  assert np.isnan([row.paper_rmse, row.paper_nmad, row.difference]).all()


def test_rmse_to_the_noiseless_truth():
  rows = compare_systems(noiseless=PREDICTED["gri"]).set_index("system")
  assert rows.loc["gri"].rmse_noiseless == pytest.approx(0)
  assert rows.loc["r_band"].rmse_noiseless == pytest.approx(0.1)
  assert "rmse_noiseless" not in compare_systems()


def test_several_seeds():
  """Every metric is the mean over the seeds, whose scatter has a column."""
  seeds = TRUE + np.array([[0.1], [-0.2], [0.3]])
  predicted = {"gri": seeds, "r_band": PREDICTED["r_band"]}
  rows = table.compare_systems(TRUE, predicted, REFERENCES, 50, 0, TRUE)
  gri, r_band = rows.itertuples()
  assert gri.rmse == pytest.approx(0.2)
  assert gri.bias == pytest.approx(0.2 / 3)
  assert gri.rmse_noiseless == pytest.approx(0.2)
  assert gri.rmse_seeds == pytest.approx(0.1)
  assert (gri.rmse_low, gri.rmse_high) == pytest.approx((0.2, 0.2))
  assert np.isnan(r_band.rmse_seeds)
  page = table.to_markdown(
    "mock", rows, table.compare_pairs(TRUE, {}, 9, 0), []
  )
  assert "| CNN, gri | 0.2000 (0.2000-0.2000) | 0.1000 |" in page
  assert "| CNN, r band, no TTA | 0.2000 (0.2000-0.2000) | - |" in page
  assert "Where seeds have a scatter" in page


def test_pairs_follow_the_order_of_the_paper():
  pairs = table.compare_pairs(TRUE, PREDICTED, 500, 0)
  pairs = pairs.set_index(["worse", "better"])
  assert set(pairs.index) == {("training_mean", "r_band"), ("r_band", "gri")}
  pair = pairs.loc[("r_band", "gri")]
  assert pair.difference == pytest.approx(0.1)
  assert pair.verdict == "as in the paper"


@pytest.mark.parametrize(
  ("r_band", "gri", "verdict"),
  [
    ([0.1, -0.1, 0.1, -0.1], [0.2, -0.2, 0.2, -0.2], "reversed"),
    ([0.1, 0, 0, 0], [0, 0, 0, 0.1], "undecided"),
  ],
)
def test_verdict_of_a_pair(r_band, gri, verdict):
  predicted = {"r_band": TRUE + r_band, "gri": TRUE + gri}
  (found,) = table.compare_pairs(TRUE, predicted, 500, 0).verdict
  assert found == verdict


def test_markdown_rows():
  pairs = table.compare_pairs(TRUE, PREDICTED, 100, 0)
  rows = compare_systems(coverage={"gri": {0.68: 0.667, 0.95: 0.954}})
  page = table.to_markdown("mock", rows, pairs, ["A remark."])
  lines = page.splitlines()
  assert lines[0] == "# mock"
  assert (
    "| CNN, gri | 0.1000 (0.1000-0.1000) | 0.1483 | 0.800 | 67 / 95 % | 0.0851 "
    "| +0.0149 (+0.0149 to +0.0149) |"
  ) in lines
  (row,) = [line for line in lines if line.startswith("| mystery box")]
  assert row.endswith("|  |  |  |")
  assert "| r band | gri | +0.1000" in page
  assert "A remark." in lines
  # Markdown needs the same number of cells in all rows of a table.
  first = lines[2 : lines.index("", 2)]
  assert len({line.count("|") for line in first}) == 1


def test_markdown_with_the_noiseless_truth():
  rows = compare_systems(noiseless=PREDICTED["gri"])
  page = table.to_markdown(
    "mock", rows, table.compare_pairs(TRUE, {}, 9, 0), []
  )
  header, _, *body = page.splitlines()[2:8]
  assert header.endswith("| RMSE to the noiseless truth |")
  assert body[2].startswith("| CNN, r band")
  assert body[2].endswith("| 0.1000 |")
  assert "order" not in page
