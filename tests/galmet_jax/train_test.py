"""Training runs of the quickstart config, shrunk."""

import json
import shutil

import jax
from matplotlib import figure
import numpy as np
import pandas as pd
import pytest

from galmet_jax import errors
from galmet_jax import lr_find
from galmet_jax import metric_writer
from galmet_jax import metrics
from galmet_jax import report
from galmet_jax import results
from galmet_jax import step_metrics
from galmet_jax import train
from galmet_jax.data import galaxies
from galmet_jax.export import export
from galmet_jax.run import Run
from tests import shrunk


@pytest.fixture(scope="module")
def finished(trained_run, tmp_path_factory):
  """A copy of a finished run: (config, workdir, summary)."""
  config, original, summary = trained_run
  workdir = tmp_path_factory.mktemp("finished") / "run"
  shutil.copytree(original, workdir)
  return config, workdir, summary


def latest_digests(workdir):
  folder = workdir / "checkpoints" / "latest"
  step = max(int(path.name) for path in folder.iterdir())
  return json.loads((folder / str(step) / "digests" / "metadata").read_text())


def test_run_writes_all_files(finished):
  _, workdir, summary = finished
  assert json.loads((workdir / "config.json").read_text())["seed"] == 0
  stored = results.read_summary(workdir)
  assert set(stored.pop("files")) == {
    "predictions_validation.csv",
    "predictions_test.csv",
  }
  assert stored == json.loads(results.to_json(summary))
  assert list((workdir / "tensorboard").glob("events*"))
  for split in ("validation", "test"):
    table = pd.read_csv(workdir / f"predictions_{split}.csv")
    assert list(table.columns) == [
      "objid",
      "oh_p50_true",
      "oh_p50_pred",
      "oh_p50_tta_std",
    ]
    assert len(table) == summary[split]["n"] > 10
    assert table.objid.is_unique
    assert (table.oh_p50_tta_std > 0).all()
  figures = {path.name for path in (workdir / "figures").iterdir()}
  assert figures == {
    "training_curves.png",
    "predicted_against_true_validation.png",
    "predicted_against_true_test.png",
    "calibration_test.png",
    "examples_validation.png",
    "examples_test.png",
    "worst_outliers_validation.png",
    "worst_outliers_test.png",
  }


def test_summary_agrees_with_the_predictions(finished):
  _, workdir, summary = finished
  table = pd.read_csv(workdir / "predictions_test.csv")
  expected = metrics.compute(table.oh_p50_true, table.oh_p50_pred)
  block = summary["test"]
  for name in metrics.NAMES:
    # The table holds float32 near 9, to 1e-6.
    np.testing.assert_allclose(
      block[name], expected[name], rtol=1e-4, atol=1e-5
    )
    low, high = block[f"{name}_ci68"]
    # With so few galaxies, possibly no draw has an outlier.
    assert low <= high if name == "outlier_fraction" else low < high
  assert summary["timing"]["train_images_per_s"] > 0
  assert summary["timing"]["compile_s"] > 0


def test_metrics_have_every_step_and_epoch(finished):
  config, workdir, _ = finished
  rows = metric_writer.read(workdir)
  run = Run.prepare(config, workdir)
  steps = [row for row in rows if "train/loss" in row]
  epochs = [row for row in rows if "validation/rmse" in row]
  assert [row["step"] for row in steps] == list(range(1, run.num_steps + 1))
  assert [row["epoch"] for row in epochs] == [1, 2, 3]
  assert epochs[-1]["step"] == run.num_steps
  phase = run.phases[0]
  for row in steps:
    expected = float(phase.rates["head"](row["step"] - 1))
    # The schedule is evaluated for all steps together.
    assert row["lr/head"] == pytest.approx(expected, rel=1e-5)


def test_loss_falls_from_that_of_the_mean(finished):
  _, workdir, _ = finished
  losses = [
    row["train/loss"] for row in metric_writer.read(workdir) if "lr/head" in row
  ]
  # At first the network predicts the mean for every galaxy.
  scatter = pd.read_csv(workdir / "predictions_test.csv").oh_p50_true.std()
  assert losses[0] == pytest.approx(scatter, rel=0.5)
  assert np.mean(losses[-5:]) < losses[0]


@pytest.mark.usefixtures("without_figures")
def test_finished_run_does_not_train_again(finished):
  config, workdir, summary = finished
  before = latest_digests(workdir)
  again = train.train_and_evaluate(config, workdir)
  assert latest_digests(workdir) == before
  np.testing.assert_equal(again["test"], summary["test"])
  assert again["timing"]["train_s"] == 0


def test_evaluate_only_reproduces_the_summary(finished, monkeypatch):
  config, workdir, summary = finished
  with monkeypatch.context() as patch:
    # Without any figure.
    patch.setattr(figure.Figure, "savefig", None)
    again = report.evaluate_only(config, workdir)
  np.testing.assert_equal(again["test"], summary["test"])
  # Neither field affects training.
  config = shrunk.config(
    config.data.data_dir, eval__checkpoint="best", train__log_every_steps=1
  )
  with shrunk.without_figures():
    best = report.evaluate_only(config, workdir)
  epochs = [
    row for row in metric_writer.read(workdir) if "validation/rmse" in row
  ]
  lowest = min(epochs, key=lambda row: row["validation/rmse"])
  assert best["checkpoint"] == {
    "which": "best",
    "step": lowest["step"],
    "trained_steps": epochs[-1]["step"],
    "of_steps": epochs[-1]["step"],
  }


def test_exported_weights_start_another_run(finished, tmp_path):
  config, workdir, _ = finished
  path = export.export(config, workdir) / "weights.safetensors"
  trained = Run.prepare(config, workdir).trained_state()
  other = shrunk.config(config.data.data_dir, model__pretrained=str(path))
  state = Run.prepare(other, tmp_path).initial_state()
  for module in ("stem", "stage1", "stage4"):
    jax.tree.map(
      np.testing.assert_array_equal,
      (state.params[module], state.batch_stats[module]),
      (trained.params[module], trained.batch_stats[module]),
    )
  # The head is fresh: it predicts the mean.
  assert not np.asarray(state.params["head"]["dense2"]["kernel"]).any()
  assert np.asarray(trained.params["head"]["dense2"]["kernel"]).any()
  wider = shrunk.config(
    config.data.data_dir, model__pretrained=str(path), model__width=12
  )
  with pytest.raises(errors.ConfigError, match="does not fit the network"):
    Run.prepare(wider, tmp_path / "wider").initial_state()


def test_evaluate_only_needs_a_checkpoint(mock_data_dir, tmp_path):
  config = shrunk.config(mock_data_dir)
  with pytest.raises(errors.NoCheckpointError, match="Train first"):
    report.evaluate_only(config, tmp_path)


def test_lr_find_without_a_finite_loss(mock_data_dir, tmp_path, monkeypatch):
  def compile_step(run, state, phase):
    return lambda state, batch: (state, {"loss": np.float32(np.nan)})

  monkeypatch.setattr(train, "compile_step", compile_step)
  with pytest.raises(errors.ConfigError, match="is not finite at the first"):
    lr_find.find(shrunk.config(mock_data_dir), tmp_path)
  assert not (tmp_path / "lr_find.csv").exists()


def test_lr_find_does_not_change_the_run(finished):
  config, workdir, _ = finished
  before = latest_digests(workdir)
  record = (workdir / metric_writer.FILE).read_bytes()
  suggested = lr_find.find(config, workdir)
  assert latest_digests(workdir) == before
  assert (workdir / metric_writer.FILE).read_bytes() == record
  table = pd.read_csv(workdir / "lr_find.csv")
  assert table.rate.min() == pytest.approx(1e-5)
  assert 1e-6 <= suggested < 1
  assert (workdir / "figures" / "lr_find.png").stat().st_size > 1000


def test_suggested_rate_has_the_steepest_slope():
  rates = np.array([1e-3, 1e-2, 1e-1, 1.0])
  assert lr_find.suggest(rates, [3.0, 2.0, 1.0, 4.0]) == pytest.approx(1e-2)


def test_other_config_in_the_same_workdir_is_refused(finished):
  config, workdir, _ = finished
  other = shrunk.config(config.data.data_dir, optim__weight_decay=0.5)
  with pytest.raises(
    errors.ConfigError, match=r"optim\.weight_decay: expected 0\.01, found 0\.5"
  ):
    train.train_and_evaluate(other, workdir)


def test_non_finite_loss_keeps_the_last_good_state(mock_data_dir, tmp_path):
  # The loss overflows float32 a few steps after the first checkpoint.
  rates = {"early": 1e36, "late": 1e36, "head": 1e36}
  config = shrunk.config(
    mock_data_dir, train__checkpoint_every_steps=1, optim__optimizer="sgd"
  )
  config.optim.phases = ("gentle", "all_sgdr")
  config.optim.gentle = config.optim.head_only.copy_and_resolve_references()
  config.optim.gentle.epochs = 1
  config.optim.gentle.rates = dict.fromkeys(rates, 1e-3)
  config.optim.gentle.frozen = ()
  config.optim.all_sgdr.rates = rates
  config.optim.all_sgdr.slow_start = 0.0
  with pytest.raises(
    step_metrics.NonFiniteLossError, match=r"at step (\d+) "
  ) as error:
    train.train_and_evaluate(config, tmp_path)
  named = int(str(error.value).split("at step ")[1].split()[0])
  run = Run.prepare(config, tmp_path)
  state = run.latest.restore(run.abstract_state).state
  assert run.phases[0].end <= int(state.step) == named - 1
  for leaf in jax.tree.leaves(state.params):
    assert np.isfinite(leaf).all()


@pytest.mark.usefixtures("without_figures")
def test_two_targets_with_missing_labels(mock_data_dir, tmp_path, monkeypatch):
  whole = galaxies.load
  monkeypatch.setattr(
    galaxies, "load", lambda *given: with_missing_labels(whole(*given))
  )
  config = shrunk.config(
    mock_data_dir,
    data__targets=("oh_p50", "lgm_tot_p50"),
    optim__all_sgdr__cycle_len=1,
    eval__splits=("validation",),
    eval__baselines=True,
  )
  summary = train.train_and_evaluate(config, tmp_path)
  assert {"validation", "validation/lgm_tot_p50"} <= set(summary)
  table = pd.read_csv(tmp_path / "predictions_validation.csv")
  assert table.shape[1] == 1 + 2 * 3
  assert table.lgm_tot_p50_pred.between(7, 13).all()
  missing = table.lgm_tot_p50_true.isna()
  assert 0 < missing.sum() < len(table)
  block = summary["validation/lgm_tot_p50"]
  assert block["n"] == len(table) - missing.sum()
  error = (table.lgm_tot_p50_pred - table.lgm_tot_p50_true)[~missing]
  expected = np.sqrt(np.mean(error**2))
  assert block["rmse"] == pytest.approx(expected, rel=1e-4)
  floor = block["rmse_training_mean"]
  scatter = table.lgm_tot_p50_true.std(ddof=0)
  assert scatter <= floor < 2 * scatter
  assert 0 < block["rmse_random_forest"] < floor


def with_missing_labels(splits):
  for split in splits.values():
    split.targets[::4, 1] = np.nan
  return splits


@pytest.mark.usefixtures("without_figures")
def test_rates_are_recorded_for_trained_groups_only(mock_data_dir, tmp_path):
  config = shrunk.config(
    mock_data_dir,
    optim__phases=("head_only", "all_constant"),
    optim__optimizer="sgd",
    train__views_per_image=5,
  )
  config.optim.head_only.epochs = 1
  small = {"early": 1e-3, "late": 1e-3, "head": 1e-2}
  config.optim.head_only.rates = small
  config.optim.all_constant.rates = small
  train.train_and_evaluate(config, tmp_path)
  rows = [row for row in metric_writer.read(tmp_path) if "lr/head" in row]
  border = len(rows) // 2
  assert all("lr/early" not in row for row in rows[:border])
  assert all(row["lr/early"] == pytest.approx(1e-3) for row in rows[border:])
