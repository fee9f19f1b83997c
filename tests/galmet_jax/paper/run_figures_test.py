from matplotlib import collections
import numpy as np
import pytest

from galmet_jax.paper import published
from galmet_jax.paper import run_figures
from tests.galmet_jax import drawing

TITLE = "Synthetic galaxies, test split"
SIDES = np.array([1, 2, 4, 8, 16, 32, 64, 128])


def check(path, watched, size):
  fig, texts = drawing.check(path, watched, size)
  assert TITLE in texts
  return fig.axes[0], texts


def bars(panel):
  """Returns the error bars of each curve, `[K, 2 ends, x and y]`."""
  found = panel.findobj(collections.LineCollection)
  return [np.array(one.get_segments()) for one in found]


def test_resolution(tmp_path, watched):
  rmse = 0.17 - 0.01 * np.arange(8)
  curve = np.c_[rmse, rmse - 0.002, rmse + 0.003]
  path = tmp_path / "figure.png"
  baselines = {"training mean": 0.2, "random forest": 0.131}
  run_figures.resolution(path, SIDES, curve, baselines, title=TITLE)
  panel, texts = check(path, watched, (5.5, 4.0))
  assert {"training mean: 0.200", "random forest: 0.131"} < set(texts)
  assert {str(side) for side in SIDES} < set(texts)
  drawn = drawing.lines(panel)
  np.testing.assert_array_equal(
    drawn["this work"].get_xydata(), np.c_[SIDES, rmse]
  )
  np.testing.assert_array_equal(
    drawn["Wu & Boada (2019), SDSS"].get_xydata(),
    list(published.RESOLUTIONS.items()),
  )
  (found,) = bars(panel)
  np.testing.assert_allclose(found[:, :, 1], curve[:, 1:])
  np.testing.assert_allclose(found[:, 0, 0], SIDES)
  mean, forest = (
    drawn[name] for name in ("training mean: 0.200", "random forest: 0.131")
  )
  assert (mean.get_ydata()[0], forest.get_ydata()[0]) == (0.2, 0.131)
  assert mean.get_linestyle() != forest.get_linestyle()
  assert panel.get_xscale() == "log"
  np.testing.assert_allclose(panel.get_xlim(), [2**-0.5, 2**7.5])


def test_resolution_of_one_size(tmp_path, watched):
  # A bootstrap interval may exclude its value.
  path = tmp_path / "figure.png"
  curve = np.array([[0.085, 0.09, 0.1]])
  run_figures.resolution(path, SIDES[-1:], curve, {}, title=TITLE)
  panel, _ = check(path, watched, (5.5, 4.0))
  (found,) = bars(panel)
  np.testing.assert_allclose(found[:, :, 1], curve[:, 1:])


@pytest.mark.parametrize(
  "sizes",
  [
    [320],
    [40, 80, 160, 320],
    [1000, 5000, 20_000, 76_772],
    [10, 1000, 100_000],
    [1, 76_772],
  ],
)
def test_learning_curve(tmp_path, watched, sizes):
  sizes = np.array(sizes)
  rmse = 0.3 * sizes**-0.1
  curves = {
    "network": np.c_[rmse, rmse - 0.01, rmse + 0.02],
    "random forest": np.c_[rmse, rmse - 0.01, rmse + 0.01],
  }
  path = tmp_path / "figure.png"
  run_figures.learning_curve(path, sizes, curves, "12 + log(O/H)", title=TITLE)
  panel, texts = check(path, watched, (5.5, 3.8))
  assert {*curves, "RMSE of 12 + log(O/H) (dex)"} < set(texts)
  assert panel.get_xscale() == "log"
  width = np.log(panel.get_xlim()[1] / panel.get_xlim()[0])
  drawn = drawing.lines(panel)
  shifts = []
  for (name, curve), bar in zip(curves.items(), bars(panel), strict=True):
    np.testing.assert_allclose(drawn[name].get_ydata(), curve[:, 0])
    np.testing.assert_allclose(bar[:, :, 1], curve[:, 1:])
    shift = np.log(drawn[name].get_xdata() / sizes) / width
    assert np.ptp(shift) < 1e-9
    shifts.append(shift[0])
  # The shift separates the intervals but hardly moves the points.
  np.testing.assert_allclose(shifts, [-0.004, 0.004], rtol=1e-6)
  assert len({drawn[name].get_color() for name in curves}) == 2
