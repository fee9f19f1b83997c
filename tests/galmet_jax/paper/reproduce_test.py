import dataclasses
import html
import json
import pathlib
import shutil

import numpy as np
import pandas as pd
import pytest

from configs import reproduce as reproduce_config
from galmet_jax import ensemble
from galmet_jax import errors
from galmet_jax import results
from galmet_jax import train
from galmet_jax.data import dataset
from galmet_jax.paper import comparison
from galmet_jax.paper import reproduce
from galmet_jax.paper import systems
from galmet_jax.run import Run
from tests import shrunk
from tests.galmet_jax.page import page_data

RUNS = ("gri", "r_band", "grayscale_test", "resolution_8", "train_40")


def make_config(data_dir):
  config = shrunk.config(
    data_dir,
    data__crop=128,
    data__resolution=16,
    optim__all_sgdr__cycle_len=1,
    eval__tta="none",
    eval__splits=("test",),
  )
  config.reproduce = reproduce_config.select_systems(
    runs=RUNS, ensembles=(), train_40={"data.num_train": 40}
  )
  return config


def write_random_run(config, folder):
  """Writes the files of a finished run, with random predictions."""
  test = dataset.load(config)["test"]
  rng = np.random.default_rng(len(folder.name))
  true = test.targets[:, 0]
  columns = {
    "objid": test.objid,
    "oh_p50_true": true,
    "oh_p50_pred": true + rng.normal(0, 0.15, len(test)),
  }
  folder.mkdir(parents=True)
  results.write_predictions(folder, "test", pd.DataFrame(columns))
  (folder / "config.json").write_text(config.to_json())
  evaluated = json.loads(config.eval.to_json())
  steps = {"trained_steps": 1, "of_steps": 1}
  results.write_summary(
    folder, {"checkpoint": steps, "eval": evaluated, "test": {}}, ["test"]
  )


@pytest.fixture(scope="module")
def finished(mock_data_dir, tmp_path_factory):
  """A reproduction that trains two systems: (config, workdir, table)."""
  config = make_config(mock_data_dir)
  workdir = tmp_path_factory.mktemp("reproduction")
  original = train.train_and_evaluate

  def train_or_write(config, folder):
    trained = folder.name in ("gri", "grayscale_test")
    return (original if trained else write_random_run)(config, folder)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(train, "train_and_evaluate", train_or_write)
    return config, workdir, reproduce.reproduce(config, workdir)


def test_table_has_every_system(finished):
  _, workdir, rows = finished
  baselines = ["training_mean", "random_forest", "gradient_boosting", "gp_svr"]
  assert list(rows.system) == [*baselines, "mass_metallicity", *RUNS]
  assert (rows.n == rows.n[0]).all()
  assert (rows.rmse > 0).all()
  written = pd.read_csv(workdir / "paper_table.csv")
  pd.testing.assert_frame_equal(written, rows, check_dtype=False)
  page = (workdir / "paper_table.md").read_text()
  assert page.startswith("# sdss_metallicity/mock: synthetic galaxies")
  for label in (
    "random forest, gri photometry",
    "CNN, gri, 8 px",
    "CNN, gri, 40 training galaxies",
    "RMS noise of the labels: 0.0",
    "relation of Tremonti et al. (2004): predictions RMSE",
    "Correlation of the errors: random forest and r band",
  ):
    assert label in page
  found = json.loads((workdir / "diagnostics.json").read_text())
  assert found["information"]["n"] == rows.n[0]
  figures = {path.stem for path in (workdir / "figures").iterdir()}
  assert figures == {
    "figure1",
    "mass_metallicity",
    "distributions",
    "residuals",
    "resolution",
    "learning_curve",
  }


def test_page_has_the_table_and_every_system(finished):
  config, workdir, rows = finished
  text = (workdir / "report.html").read_text(encoding="utf-8")
  for name in RUNS:
    assert f'<a href="runs/{name}/">' in text
  for label in rows.label:
    assert html.escape(label) in text
  shown = page_data.read(workdir / "report.html")
  table = pd.read_csv(workdir / "predictions_test.csv")
  for name in rows.system:
    np.testing.assert_allclose(shown[name], table[name], rtol=1e-6)
  np.testing.assert_array_equal(shown["pred"], shown["gri"])
  test = dataset.load(config)["test"]
  np.testing.assert_allclose(shown["mass"], test.columns["lgm_tot_p50"])


def test_table_agrees_with_the_predictions(finished):
  _, workdir, rows = finished
  table = pd.read_csv(
    workdir / "predictions_test.csv", dtype={"objid": np.int64}
  )
  for row in rows.itertuples():
    error = table[row.system] - table.true
    assert row.rmse == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-5)
  for name in RUNS:
    own = pd.read_csv(workdir / "runs" / name / "predictions_test.csv")
    np.testing.assert_allclose(own.oh_p50_pred, table[name], rtol=1e-7)


def test_grayscale_test_reuses_the_network_of_gri(finished, tmp_path):
  config, workdir, rows = finished

  def losses(name):
    rows = (workdir / "runs" / name / "metrics.jsonl").read_text().splitlines()
    return [json.loads(row).get("train/loss") for row in rows]

  assert losses("grayscale_test") == losses("gri")
  by_name = rows.set_index("system").rmse
  assert by_name["grayscale_test"] != by_name["gri"]
  # With the bands of the training, the validation's step is reused.
  again = systems.configs_of(config, pathlib.Path("runs"))["grayscale_test"]
  again.eval.bands = ("i", "r", "g")
  run = Run.prepare(again, tmp_path)
  assert run.eval_step is run.validation_step


def test_finished_systems_are_skipped(finished, tmp_path, monkeypatch):
  config, workdir, rows = finished
  again = tmp_path / "again"
  shutil.copytree(workdir, again)
  called = []

  def record(config, folder):
    called.append(folder)
    shutil.copy(workdir / "runs" / folder.name / "summary.json", folder)

  monkeypatch.setattr(train, "train_and_evaluate", record)
  pd.testing.assert_frame_equal(reproduce.reproduce(config, again), rows)
  assert called == []
  (again / "runs" / "r_band" / "summary.json").unlink()
  reproduce.reproduce(config, again)
  assert called == [again / "runs" / "r_band"]


def test_finished_systems_are_refused_for_other_galaxies(
  finished, tmp_path, monkeypatch
):
  config, workdir, _ = finished
  again = tmp_path / "again"
  shutil.copytree(workdir, again)
  # Random runs have no digests of their galaxies, as in version 0.1.
  data = dataset.read(config)
  images = data["test"].images.copy()
  images[0, 0, 0, 0] ^= 1
  changed = {
    **data,
    "test": dataclasses.replace(data["test"], images=images),
  }
  monkeypatch.setattr(dataset, "read", lambda _: changed)
  monkeypatch.setattr(train, "train_and_evaluate", None)
  with pytest.raises(
    errors.ConfigError, match=r"gri holds .*\n.*galaxies.test"
  ):
    reproduce.reproduce(config, again)


def test_ensemble_systems_train_ensembles(mock_data_dir, tmp_path, monkeypatch):
  config = make_config(mock_data_dir)
  config.reproduce = reproduce_config.select_systems((), ("ensemble",))
  seen = []
  monkeypatch.setattr(
    ensemble, "train_and_evaluate", lambda *args: seen.append(args)
  )
  monkeypatch.setattr(comparison, "write", lambda *args: None)
  monkeypatch.setattr(reproduce, "_predictions", lambda *args: {})
  reproduce.reproduce(config, tmp_path)
  ((member, folder),) = seen
  assert folder == tmp_path / "runs" / "ensemble"
  assert member.eval.splits == ("validation", "test")
  assert "reproduce" not in member


def test_sources_and_runs_are_trained_with_every_seed(
  mock_data_dir, tmp_path, monkeypatch
):
  config = make_config(mock_data_dir)
  config.reproduce = reproduce_config.select_systems(
    ("gri", "late"),
    (),
    sources=("first",),
    seeds=2,
    first={"data.targets": ("lgm_tot_p50",)},
    late={"model.pretrained": "system:first"},
  )
  trained = {}

  def write(config, folder):
    trained[folder.name] = config
    if folder.name.startswith("first"):
      folder.mkdir(parents=True)
    else:
      write_random_run(config, folder)

  monkeypatch.setattr(train, "train_and_evaluate", write)
  rows = reproduce.reproduce(config, tmp_path)
  assert list(trained) == [
    *("first", "gri", "late"),
    *("first_seed_1", "gri_seed_1", "late_seed_1"),
  ]
  assert trained["late_seed_1"].seed == config.seed + 1
  assert trained["late_seed_1"].model.pretrained == (
    f"run:{tmp_path / 'runs' / 'first_seed_1'}"
  )
  # A source is not compared; the others have the mean over their seeds.
  assert list(rows.system[-2:]) == ["gri", "late"]
  table = pd.read_csv(tmp_path / "predictions_test.csv")
  rmse = [
    np.sqrt(np.mean((table[name] - table.true) ** 2))
    for name in ("gri", "gri_seed_1")
  ]
  assert rows.rmse.iloc[-2] == pytest.approx(np.mean(rmse), rel=1e-5)
  assert rows.rmse_seeds.iloc[-2] == pytest.approx(np.std(rmse, ddof=1))


def test_config_without_reproduce_block_is_refused(mock_data_dir, tmp_path):
  with pytest.raises(ValueError, match="block `reproduce`, which names"):
    reproduce.reproduce(shrunk.config(mock_data_dir), tmp_path)


def test_unknown_system_is_refused(mock_data_dir, tmp_path):
  config = make_config(mock_data_dir)
  config.reproduce.runs = ("gri", "rband")
  with pytest.raises(ValueError, match="has no 'rband'; expected one of "):
    reproduce.reproduce(config, tmp_path)
  assert not list(tmp_path.iterdir())


def test_unknown_system_cannot_be_selected():
  with pytest.raises(KeyError, match="rband"):
    reproduce_config.select_systems(("gri", "rband"), ())


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"data.num_train": 4000}, r"System odd: data\.num_train is 4000"),
    ({"train.batch_size": 4000}, r"System odd: train\.batch_size is 4000"),
    ({"eval.tta": "all"}, r"System odd: eval\.tta is 'all'"),
    ({"optim.all_sgdr.cycles": 0}, r"System odd: optim\.all_sgdr\.cycles is 0"),
    (
      {"model.pretrained": "absent.safetensors"},
      r"System odd: .*absent\.safetensors",
    ),
  ],
)
def test_all_systems_are_checked_before_the_first(
  mock_data_dir, tmp_path, monkeypatch, changes, message
):
  config = make_config(mock_data_dir)
  config.reproduce = reproduce_config.select_systems(
    runs=("gri", "odd"), ensembles=(), odd=changes
  )
  monkeypatch.setattr(train, "train_and_evaluate", None)
  with pytest.raises(errors.ConfigError, match=message):
    reproduce.reproduce(config, tmp_path / "w")
  assert not (tmp_path / "w").exists()
