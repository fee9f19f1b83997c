from matplotlib import collections
import numpy as np
import pytest

from galmet_jax.paper import run_figures
from tests.galmet_jax import drawing

TITLE = "Synthetic galaxies, test split"


def check(path, watched, size):
  fig, texts = drawing.check(path, watched, size)
  texts.remove(TITLE)
  return fig, texts


PIXELS = np.array([128, 64, 32, 16, 8, 4, 2, 1])
PAPER = np.array([85, 89, 93, 105, 113, 129, 159, 161]) / 1000


@pytest.fixture
def watched(monkeypatch):
  return drawing.watch(monkeypatch)


def lines(panel):
  return {line.get_label(): line for line in panel.get_lines()}


def bars(panel):
  """The error bars: for each curve `[K, 2 ends, x and y]`."""
  found = panel.findobj(collections.LineCollection)
  return [np.array(one.get_segments()) for one in found]


def test_rmse_against_resolution(tmp_path, watched):
  rmse = PAPER + 0.004
  intervals = np.c_[rmse - 0.002, rmse + 0.003]
  baselines = {"mean": 0.2, "forest": 0.131, "paper's forest": 0.1296}
  path = tmp_path / "figure.png"
  run_figures.rmse_against_resolution(
    path,
    PIXELS,
    rmse,
    intervals,
    {"Wu & Boada (2019)": (PIXELS, PAPER)},
    baselines,
    title=TITLE,
  )
  fig, texts = check(path, watched, (5.5, 4.0))
  assert {"mean: 0.200", "forest: 0.131", "paper's forest: 0.130"} < set(texts)
  assert {str(size) for size in PIXELS} < set(texts)
  (panel,) = fig.axes
  drawn = lines(panel)
  ours = drawn["this work"]
  np.testing.assert_array_equal(ours.get_xdata(), PIXELS[::-1])
  np.testing.assert_array_equal(ours.get_ydata(), rmse[::-1])
  theirs = drawn["Wu & Boada (2019)"]
  np.testing.assert_array_equal(theirs.get_xydata(), np.c_[PIXELS, PAPER])
  assert theirs.get_markerfacecolor() == "none"
  (found,) = bars(panel)
  np.testing.assert_allclose(found[:, :, 1], intervals)
  np.testing.assert_allclose(found[:, 0, 0], PIXELS)
  flat = [line for line in panel.get_lines() if line.get_linestyle() == "--"]
  heights = [line.get_ydata()[0] for line in flat]
  assert heights == list(baselines.values())
  assert panel.get_xscale() == "log"
  np.testing.assert_allclose(panel.get_xlim(), [2**-0.5, 2**7.5])


def test_rmse_against_resolution_of_one_size(tmp_path, watched):
  # An interval that does not hold its value, as a bootstrap may give.
  path = tmp_path / "figure.png"
  run_figures.rmse_against_resolution(
    path, PIXELS[:1], PAPER[:1], np.array([[0.09, 0.1]]), {}, {}, title=TITLE
  )
  fig, _ = check(path, watched, (5.5, 4.0))
  (found,) = bars(fig.axes[0])
  np.testing.assert_allclose(found[:, :, 1], [[0.09, 0.1]])


@pytest.mark.parametrize(
  "sizes",
  [
    [320],
    [40, 80, 160, 320],
    [5000, 1000, 20_000, 76_772],
    [10, 1000, 100_000],
    [1, 76_772],
  ],
)
def test_learning_curve(tmp_path, watched, sizes):
  sizes = np.array(sizes)
  rmse = 0.3 * sizes**-0.1
  curves = {
    "ResNet-34": (rmse, rmse - 0.01, rmse + 0.02),
    "xResNet-34": (rmse - 0.0005, rmse - 0.01, rmse + 0.01),
    "random forest": (rmse + 0.03, rmse + 0.02, rmse + 0.04),
  }
  path = tmp_path / "figure.png"
  run_figures.learning_curve(path, sizes, curves, "12 + log(O/H)", title=TITLE)
  fig, texts = check(path, watched, (5.5, 3.8))
  assert {*curves, "RMSE of 12 + log(O/H) (dex)"} < set(texts)
  (panel,) = fig.axes
  assert panel.get_xscale() == "log"
  width = np.log(panel.get_xlim()[1] / panel.get_xlim()[0])
  drawn = lines(panel)
  order = np.argsort(sizes)
  for (name, (value, low, high)), bar in zip(
    curves.items(), bars(panel), strict=True
  ):
    np.testing.assert_allclose(drawn[name].get_ydata(), value[order])
    # As narrow a shift as keeps the intervals apart.
    shift = np.log(drawn[name].get_xdata() / sizes[order]) / width
    assert np.ptp(shift) < 1e-9
    assert abs(shift[0]) < 0.01
    np.testing.assert_allclose(bar[:, :, 1], np.c_[low, high])
  colors = {text.get_text(): text.get_color() for text in panel.texts}
  assert colors == {name: drawn[name].get_color() for name in curves}
  assert len(set(colors.values())) == 3


def test_learning_curve_with_sizes_left_out(tmp_path, watched):
  sizes = np.array([100, 1000, 10_000])
  rmse = np.array([0.2, np.nan, 0.1])
  path = tmp_path / "figure.png"
  run_figures.learning_curve(
    path,
    sizes,
    {"one": (rmse, rmse, rmse), "other": (rmse[::-1],) * 3},
    "x",
    title=TITLE,
  )
  fig, _ = check(path, watched, (5.5, 3.8))
  (panel,) = fig.axes
  drawn = lines(panel)
  np.testing.assert_array_equal(drawn["one"].get_ydata(), [0.2, 0.1])
  heights = {text.get_text(): text.get_position()[1] for text in panel.texts}
  assert heights == pytest.approx({"one": 0.1, "other": 0.2})


def test_spread():
  # Those apart stay; a pair and a trio go apart about their means.
  values = np.array([5.0, 1.0, 1.2, 9.0, 9.1, 8.9])
  np.testing.assert_allclose(
    run_figures.spread(values, 1.0), [5, 0.6, 1.6, 9, 10, 8]
  )
  np.testing.assert_allclose(
    run_figures.spread(np.array([2.0, 2.0]), 0.5), [1.75, 2.25]
  )
  np.testing.assert_array_equal(run_figures.spread(np.array([3.0]), 0.5), [3.0])
