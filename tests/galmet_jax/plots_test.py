"""The content of each figure: curves, counts, texts, scales."""

import os
import subprocess
import sys

from matplotlib import collections
from matplotlib import image
from matplotlib import patches
import numpy as np
import pandas as pd
import pytest

from galmet_jax import figure_style
from galmet_jax import metrics
from galmet_jax import plots
from galmet_jax import quantities
from tests.galmet_jax import drawing

GROUPS = ("early", "late", "head")
OBJID = 1237648720693755918
METALLICITY = quantities.Quantity("oh_p50", "12 + log(O/H)", "dex")


def check(path, watched, size):
  return drawing.check(path, watched, size, dpi=150)


def sample(n):
  rng = np.random.default_rng(n)
  true = 9.2 - rng.gamma(2.2, 0.135, n)
  predicted = true + rng.normal(0, 0.085, n)
  return true.astype(np.float32), predicted.astype(np.float32)


def training(steps_per_epoch, epochs):
  """Returns rows of metrics.jsonl: the head trains first, then all groups."""
  rows = []
  for step in range(1, epochs * steps_per_epoch + 1):
    rate = 0.1 * (1 + np.cos(np.pi * step / (epochs * steps_per_epoch + 1)))
    row = {"step": step, "train/loss": 0.1 + 1 / step, "train/grad_norm": 1.0}
    for i, group in enumerate(GROUPS):
      if group == "head" or step > steps_per_epoch:
        row[f"lr/{group}"] = rate / 10 ** (2 - i)
    rows.append(row)
    if step % steps_per_epoch == 0:
      epoch = step // steps_per_epoch
      rows.append({"step": step, "epoch": epoch, "validation/rmse": 0.12})
  return rows


@pytest.mark.parametrize("n", [3, 80, 3000])
def test_predicted_against_true(tmp_path, watched, n):
  true, predicted = sample(n)
  values = metrics.with_intervals(true, predicted, 50, 0)
  path = tmp_path / "figure.png"
  plots.predicted_against_true(
    path, true, predicted, values, "Test split", METALLICITY
  )
  fig, texts = check(path, watched, (6.3, 6.4))
  (summary,) = [line for line in texts if line.startswith("RMSE")]
  low, high = values["rmse_ci68"]
  for part in (
    f"RMSE {values['rmse']:.4f} dex",
    f"{low:.4f}–{high:.4f}",
    f"NMAD {values['nmad']:.4f} dex",
    f"R² {values['r2']:.3f}",
    f"n = {n:,}",
  ):
    assert part in summary
  assert {
    "Test split",
    "True 12 + log(O/H)",
    "Predicted 12 + log(O/H)",
  } < set(texts)

  main, _, top, right = fig.axes
  box = main.get_window_extent()
  assert box.width == pytest.approx(box.height, rel=0.005)
  assert main.get_xlim() == main.get_ylim() == top.get_xlim()
  assert right.get_ylim() == main.get_ylim()
  (diagonal,) = main.get_lines()
  np.testing.assert_array_equal(*diagonal.get_data())
  if n < 500:
    (points,) = main.collections
    np.testing.assert_allclose(points.get_offsets(), np.c_[true, predicted])
  else:
    (mesh,) = main.collections
    assert isinstance(mesh, collections.QuadMesh)
    assert mesh.get_array().sum() == n

  (above,) = top.findobj(patches.StepPatch)
  beside, again = right.findobj(patches.StepPatch)
  for steps, expected in ((above, true), (beside, predicted), (again, true)):
    counts, edges, _ = steps.get_data()
    np.testing.assert_array_equal(edges, above.get_data().edges)
    np.testing.assert_array_equal(counts, np.histogram(expected, edges)[0])
    assert counts.sum() == n


@pytest.mark.parametrize("unit", ["1e+10 solMass", "", "$x$"])
def test_figures_of_another_target_have_its_unit(tmp_path, watched, unit):
  true = np.linspace(1, 5, 9)
  predicted = true + 0.25
  values = metrics.with_intervals(true, predicted, 20, 0)
  label = f"mass [{unit}]" if unit else "mass"
  target = quantities.Quantity("mass", label, unit)
  path = tmp_path / "figure.png"
  plots.predicted_against_true(path, true, predicted, values, "T", target)
  _, texts = check(path, watched, (6.0, 6.5))
  assert f"True {target.axis}" in texts
  (summary,) = [text for text in texts if text.startswith("RMSE")]
  shown = unit.replace("$", r"\$")
  assert summary.startswith(f"RMSE 0.2500 {shown}".rstrip() + " (68")
  assert not any("dex" in text for text in texts)


@pytest.mark.parametrize(
  ("unit", "label"),
  [("km / s", "validation RMSE (km / s)"), ("", "validation RMSE")],
)
def test_training_curves_have_the_unit(tmp_path, watched, unit, label):
  path = tmp_path / "curves.png"
  plots.training_curves(path, training(50, 3), GROUPS, unit)
  _, texts = check(path, watched, (7.4, 5.8))
  assert label in texts


def test_cell_edges_enclose_equal_values():
  edges = figure_style.cell_edges(np.full(8, 8.9), 4)
  assert edges[0] < 8.9 < edges[-1]


def test_training_curves(tmp_path, watched):
  path = tmp_path / "curves.png"
  rows = training(steps_per_epoch=50, epochs=3)
  plots.training_curves(path, rows, GROUPS, "dex")
  fig, texts = check(path, watched, (7.4, 5.8))
  assert {*GROUPS, "Step", "Learning rate", "loss"} < set(texts)
  upper, lower = fig.axes
  assert upper.get_yscale() == lower.get_yscale() == "log"
  step = np.arange(1, 151)
  loss = 0.1 + 1 / step
  curves = drawing.lines(upper)
  np.testing.assert_array_equal(curves["loss"].get_xdata(), step)
  np.testing.assert_array_equal(curves["loss"].get_ydata(), loss)
  np.testing.assert_allclose(
    curves["mean over 3 steps"].get_ydata(),
    [loss[max(0, i - 1) : i + 2].mean() for i in range(150)],
  )
  points = curves["validation RMSE (dex)"]
  np.testing.assert_array_equal(points.get_xdata(), [50, 100, 150])
  np.testing.assert_array_equal(points.get_ydata(), [0.12] * 3)
  trained = [row for row in rows if "train/loss" in row]
  for group, rate in drawing.lines(lower).items():
    expected = [row.get(f"lr/{group}", np.nan) for row in trained]
    assert np.isnan(expected).sum() == (0 if group == "head" else 50)
    np.testing.assert_array_equal(rate.get_ydata(), expected)


def test_training_curves_of_two_steps(tmp_path, watched):
  path = tmp_path / "curves.png"
  plots.training_curves(path, training(10, 1)[:2], GROUPS, "dex")
  fig, _ = check(path, watched, (7.4, 5.8))
  upper, lower = fig.axes
  assert set(drawing.lines(upper)) == {"loss"}
  assert drawing.lines(lower)["head"].get_marker() == "."


def test_rate_of_zero_gets_a_linear_scale(tmp_path, watched):
  rows = [
    {"step": 1, "train/loss": 0.5, "lr/head": 0.1},
    {"step": 2, "train/loss": 0.4, "lr/head": 0.0},
  ]
  path = tmp_path / "curves.png"
  plots.training_curves(path, rows, ["head"], "dex")
  fig, _ = check(path, watched, (7.4, 5.8))
  lower = fig.axes[1]
  assert lower.get_yscale() == "linear"
  assert lower.get_ylim()[0] < 0 < 0.1 < lower.get_ylim()[1]


@pytest.mark.parametrize(
  ("n", "size"),
  [(1, (4.7, 2.5)), (8, (9.2, 4.5)), (24, (9.2, 8.5))],
)
def test_examples_show_each_image_and_its_labels(tmp_path, watched, n, size):
  rng = np.random.default_rng(n)
  images = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
  true, predicted = sample(n)
  table = pd.DataFrame(
    {"objid": OBJID + np.arange(n), "oh_true": true, "oh_pred": predicted}
  )
  path = tmp_path / "examples.png"
  plots.examples(path, images, table, "oh", "Galaxies")
  fig, texts = check(path, watched, size)
  found = fig.findobj(image.AxesImage)
  assert len(found) == n
  for i, one in enumerate(found):
    np.testing.assert_array_equal(one.get_array(), images[i])
    assert str(OBJID + i) in texts
    assert f"true {true[i]:.3f}\npredicted {predicted[i]:.3f}" in texts


def test_lr_find_with_a_diverged_loss(tmp_path, watched):
  rates = np.geomspace(1e-5, 1, 60)
  smoothed = 0.1 + 0.4 / (1 + rates / 1e-3) + rates**2
  losses = smoothed * np.random.default_rng(0).uniform(0.9, 1.1, 60)
  losses[-1] = np.nan
  path = tmp_path / "lr_find.png"
  table = pd.DataFrame({"rate": rates, "loss": losses, "smoothed": smoothed})
  plots.lr_find(path, table, 0.025)
  fig, texts = check(path, watched, (6.6, 4.2))
  assert {"suggested: 0.025", "Learning rate", "Loss"} < set(texts)
  (panel,) = fig.axes
  assert panel.get_xscale() == panel.get_yscale() == "log"
  curves = drawing.lines(panel)
  np.testing.assert_array_equal(curves["loss"].get_ydata(), losses)
  np.testing.assert_array_equal(curves["smoothed"].get_ydata(), smoothed)
  mark = curves["suggested: 0.025"]
  np.testing.assert_array_equal(mark.get_xdata(), [0.025, 0.025])


def test_figures_need_neither_pyplot_nor_a_display(tmp_path):
  program = (
    "import pathlib, sys\n"
    "from galmet_jax import plots\n"
    'rows = [{"step": i, "train/loss": 1 / i, "lr/a": i} for i in (1, 2)]\n'
    'plots.training_curves(pathlib.Path(sys.argv[1]), rows, ["a"], "")\n'
    'sys.exit("matplotlib.pyplot" in sys.modules)\n'
  )
  path = tmp_path / "figure.png"
  environment = {**os.environ, "MPLBACKEND": "TkAgg", "DISPLAY": ""}
  subprocess.run(
    [sys.executable, "-c", program, str(path)], check=True, env=environment
  )
  assert path.stat().st_size > 5000
