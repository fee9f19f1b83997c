from matplotlib import collections
from matplotlib import patches
import numpy as np
import pytest

from galmet_jax.paper import galaxy_figures
from galmet_jax.paper import published
from galmet_jax.paper import relations
from galmet_jax.paper import table
from tests.galmet_jax import drawing

LABEL = "12 + log(O/H)"
TITLE = "Synthetic galaxies, test split"
MODELS = ("ResNet-34, r", "random forest, gri", "ResNet-34, gri")
SIZES = [1, 80, 3000]


def check(path, watched, size):
  fig, texts = drawing.check(path, watched, size)
  assert TITLE in texts
  return fig, texts


def draw_sample(n):
  """Draws galaxies, and shrunk predictions of three models."""
  rng = np.random.default_rng(n)
  mass = rng.normal(10, 0.5, n)
  true = relations.tremonti(mass) + rng.normal(0, 0.1, n)
  predictions = {
    name: true.mean() + slope * (true - true.mean()) + rng.normal(0, 0.07, n)
    for name, slope in zip(MODELS, (0.4, 0.65, 0.85), strict=True)
  }
  return galaxy_figures.Sample(true, mass, LABEL, TITLE), predictions


def shown(panel):
  """Returns the points of a panel, `[N, 2]`, or the counts of its cells."""
  cells = panel.findobj(collections.QuadMesh)
  if cells:
    return cells[0].get_array()
  (points,) = panel.findobj(collections.PathCollection)
  return np.asarray(points.get_offsets())


def merits_of(true, predictions):
  references = {name: published.reference(name) for name in predictions}
  return table.compare_systems(true, predictions, references, 20, 0)


@pytest.mark.parametrize("n", SIZES)
def test_figure1(tmp_path, watched, n):
  sample, predictions = draw_sample(n)
  true = sample.true
  merits = merits_of(true, predictions)
  path = tmp_path / "figure.png"
  galaxy_figures.figure1(path, sample, predictions, merits)
  width = 9.9 if n == 3000 else 9.2
  fig, texts = check(path, watched, (width, 3.8))
  assert {*MODELS, f"Predicted {LABEL}"} < set(texts)
  assert texts.count(f"True {LABEL}") == 3
  axs = fig.axes[:3]
  limits = axs[0].get_xlim()
  assert limits[0] < min(true.min(), *map(np.min, predictions.values()))
  assert limits[1] > max(true.max(), *map(np.max, predictions.values()))
  for panel, (name, predicted), row in zip(
    axs, predictions.items(), merits.itertuples(), strict=True
  ):
    assert panel.get_title() == name
    assert panel.get_xlim() == panel.get_ylim() == limits
    box = panel.get_window_extent()
    assert box.width == pytest.approx(box.height, rel=0.005)
    (diagonal,) = panel.get_lines()
    np.testing.assert_array_equal(*diagonal.get_data())
    if n < 500:
      np.testing.assert_allclose(shown(panel), np.c_[true, predicted])
    else:
      counts = shown(panel)
      edges = np.linspace(*limits, len(counts) + 1)
      expected = np.histogram2d(predicted, true, bins=(edges, edges))[0]
      np.testing.assert_array_equal(counts.filled(0), expected)
    half = (row.rmse_high - row.rmse_low) / 2
    r2 = f"{row.r2:.3f}" if n > 1 else "-"
    nmad = f"{row.nmad:.4f}" if n > 1 else "-"
    assert (f"RMSE {row.rmse:.4f} ± {half:.4f}\nNMAD {nmad}\nR² {r2}") in texts
  assert ("Galaxies per cell" in texts) == (n == 3000)
  if n == 3000:
    densest = max(shown(panel).max() for panel in axs)
    for panel in axs:
      (mesh,) = panel.collections
      assert mesh.get_clim() == (1, densest)


@pytest.mark.parametrize("n", SIZES)
def test_mass_metallicity(tmp_path, watched, n):
  sample, predictions = draw_sample(n)
  true, mass, *_ = sample
  mass[1::4] = np.nan
  known = np.isfinite(mass)
  predicted = predictions[MODELS[2]]
  path = tmp_path / "figure.png"
  galaxy_figures.mass_metallicity(path, sample, predicted)
  fig, texts = check(path, watched, (7.3, 4.2))
  assert {LABEL, "Tremonti et al. (2004)"} < set(texts)
  assert ("median" in texts) == (n > 1)
  found = []
  for panel, values in zip(fig.axes, (true, predicted), strict=True):
    galaxies = shown(panel)
    if n < 500:
      np.testing.assert_allclose(galaxies, np.c_[mass, values][known])
    else:
      assert galaxies.sum() == known.sum()
      (mesh,) = panel.findobj(collections.QuadMesh)
      assert mesh.get_clim() == (1, galaxies.max())
    curve = drawing.lines(panel)["Tremonti et al. (2004)"].get_xydata()
    np.testing.assert_allclose(curve[[0, -1], 0], [8.5, 11.5])
    x = curve[:, 0]
    np.testing.assert_allclose(
      curve[:, 1], -1.492 + 1.847 * x - 0.08026 * x**2, rtol=1e-12
    )
    inside = (mass > 8.5) & (mass < 11.5)
    off = values[inside] - relations.tremonti(mass[inside])
    rmse = np.sqrt(np.mean(off**2))
    nmad = 1.4826 * np.median(np.abs(off - np.median(off)))
    nmad = f"{nmad:.4f}" if n > 1 else "-"
    found.append(f"about the relation:\nRMSE {rmse:.4f}, NMAD {nmad} dex")
  true_title, predicted_title = found
  assert f"True, {true_title}" in texts
  assert f"Predicted, {predicted_title}" in texts


def test_mass_metallicity_draws_the_running_quantiles(tmp_path, watched):
  sample, predictions = draw_sample(3000)
  path = tmp_path / "figure.png"
  predicted = predictions[MODELS[2]]
  galaxy_figures.mass_metallicity(path, sample, predicted)
  ((fig,), _) = watched
  for panel, values in zip(fig.axes, (sample.true, predicted), strict=True):
    # 1.2 · 3000^(1/3) = 17.3 bins with at least five galaxies each.
    centres, (low, median, high) = relations.running_quantiles(
      sample.mass, values, 17, 5
    )
    line = drawing.lines(panel)["median"]
    np.testing.assert_array_equal(line.get_xdata(), centres)
    np.testing.assert_array_equal(line.get_ydata(), median)
    (band,) = panel.findobj(collections.FillBetweenPolyCollection)
    corners = np.concatenate([part.vertices for part in band.get_paths()])
    drawn = np.isfinite(median)
    for edge in (low, high):
      for corner in np.c_[centres, edge][drawn]:
        assert np.isclose(corners, corner).all(1).any()
    between = np.interp(corners[:, 0], centres[drawn], low[drawn])
    assert (corners[:, 1] >= between - 1e-9).all()


@pytest.mark.parametrize("n", SIZES)
def test_distributions(tmp_path, watched, n):
  sample, predictions = draw_sample(n)
  true = sample.true
  path = tmp_path / "figure.png"
  galaxy_figures.distributions(path, sample, predictions)
  fig, texts = check(path, watched, (4.9, 4.0))
  (panel,) = fig.axes
  drawn = {one.get_label(): one for one in panel.findobj(patches.StepPatch)}
  outline, *_ = drawn.values()
  assert outline.get_label().startswith("true: ")
  assert not outline.get_fill()
  edges = None
  for name, values in {"true": true, **predictions}.items():
    above = 100 * sum(values > 9.1) / n
    label = f"{name}: {above:.1f} % above 9.1"
    assert label in texts
    counts, found, _ = drawn[label].get_data()
    edges = found if edges is None else edges
    np.testing.assert_array_equal(found, edges)
    np.testing.assert_array_equal(counts, np.histogram(values, edges)[0])
    assert counts.sum() == n
  assert len(drawn) == 4
  (mark,) = panel.get_lines()
  np.testing.assert_array_equal(mark.get_xdata(), [9.1, 9.1])


@pytest.mark.parametrize("n", SIZES)
def test_residuals(tmp_path, watched, n):
  sample, predictions = draw_sample(n)
  true, mass, *_ = sample
  mass[1::4] = np.nan
  known = np.isfinite(mass)
  predicted = predictions[MODELS[2]]
  path = tmp_path / "figure.png"
  galaxy_figures.residuals(path, sample, predicted)
  fig, texts = check(path, watched, (7.3, 3.9))
  assert {f"True {LABEL}", "Predicted − true (dex)"} < set(texts)
  delta = predicted - true
  first, second = fig.axes
  for panel, x, y in (
    (first, true, delta),
    (second, mass[known], delta[known]),
  ):
    if n < 500:
      np.testing.assert_allclose(shown(panel), np.c_[x, y])
    else:
      assert shown(panel).sum() == len(x)
    (zero,) = [
      line for line in panel.get_lines() if line.get_linestyle() == "--"
    ]
    np.testing.assert_array_equal(zero.get_ydata(), [0, 0])
  assert first.get_ylim() == second.get_ylim()
  if n > 1:
    median = drawing.lines(first)["median"].get_ydata()
    median = median[np.isfinite(median)]
    # Shrunk predictions are too high for low true values.
    assert median[0] > 0 > median[-1]


def test_residuals_without_masses(tmp_path, watched):
  sample, predictions = draw_sample(80)
  sample = sample._replace(mass=np.full(80, np.nan))
  path = tmp_path / "figure.png"
  galaxy_figures.residuals(path, sample, predictions[MODELS[2]])
  fig, _ = check(path, watched, (4.1, 3.9))
  assert len(fig.axes) == 1


def test_equal_values_can_be_drawn(tmp_path, watched):
  same = np.full(600, 8.9, np.float32)
  mass = np.full(600, 10.0, np.float32)
  sample = galaxy_figures.Sample(same, mass, "x", "t")
  merits = merits_of(same, {"one": same})
  path = tmp_path / "figure.png"
  # Must not warn.
  galaxy_figures.figure1(path, sample, {"one": same}, merits)
  galaxy_figures.mass_metallicity(path, sample, same)
  galaxy_figures.distributions(path, sample, {"one": same})
  galaxy_figures.residuals(path, sample, same)
  figures, _ = watched
  assert len(figures) == 4
