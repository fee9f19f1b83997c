"""Runs whose files were damaged, altered or taken by another process."""

import json
import pathlib
import shutil

import pytest

from galmet_jax import errors
from galmet_jax import metric_writer
from galmet_jax import report
from galmet_jax import results
from galmet_jax import train
from galmet_jax.export import export
from tests import shrunk
from tfds_sdss import files

# A thread of Orbax may end after a failed restore, and then warns about its
# coroutine.
pytestmark = [
  pytest.mark.faults("a run is damaged, read-only, or used twice at a time"),
  pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning"),
  pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def original(mock_data_dir, trained_run, tmp_path_factory):
  """A finished run with checkpoints of steps 9 and 12: (config, workdir)."""
  config = shrunk.config(mock_data_dir, eval__tta="none")
  workdir = tmp_path_factory.mktemp("original") / "run"
  shutil.copytree(trained_run[1], workdir)
  # It only evaluates, since the evaluation alone differs.
  with shrunk.without_figures():
    train.train_and_evaluate(config, workdir)
  return config, workdir


@pytest.fixture
def copied(original, tmp_path):
  """A copy of the finished run: (config, workdir)."""
  workdir = tmp_path / "run"
  shutil.copytree(original[1], workdir)
  return original[0], workdir


def damage(workdir, which, step):
  folder = workdir / "checkpoints" / which / str(step)
  for path in (folder / "state").rglob("d/*"):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def steps(workdir, which):
  folder = workdir / "checkpoints" / which
  return sorted(path.name for path in folder.iterdir())


def manifests(workdir, which):
  paths = (workdir / "checkpoints" / which).glob("[0-9]*/digests/metadata")
  return {
    path.parts[-3]: json.loads(path.read_text())
    for path in paths
    if "corrupt" not in path.parts[-3]
  }


def content(workdir):
  """Returns all files but the lock and TensorBoard's."""
  return {
    path.relative_to(workdir): path.read_bytes()
    for path in workdir.rglob("*")
    if path.is_file() and path.name != ".lock"
    if "tensorboard" not in path.parts
  }


def assert_same_run(workdir, expected):
  """Compares checkpoints, record and results of two runs."""
  for which in ("latest", "best"):
    assert manifests(workdir, which) == manifests(expected, which)
  for name in ("metrics.jsonl", "predictions_test.csv"):
    assert (workdir / name).read_bytes() == (expected / name).read_bytes()
  ours, theirs = results.read_summary(workdir), results.read_summary(expected)
  assert ours["test"] == theirs["test"]
  assert ours["checkpoint"] == theirs["checkpoint"]


@pytest.mark.usefixtures("without_figures")
def test_damaged_last_step_is_trained_and_saved_again(copied, original):
  config, workdir = copied
  damage(workdir, "latest", 12)
  train.train_and_evaluate(config, workdir)
  assert steps(workdir, "latest") == ["12", "12.corrupt", "9"]
  assert_same_run(workdir, original[1])


@pytest.mark.usefixtures("without_figures")
def test_run_without_an_undamaged_step_stops(copied):
  config, workdir = copied
  damage(workdir, "latest", 9)
  damage(workdir, "latest", 12)
  before = content(workdir)
  for _ in range(2):
    with pytest.raises(errors.CheckpointError, match="expected an undamaged"):
      train.train_and_evaluate(config, workdir)
  assert steps(workdir, "latest") == ["12.corrupt", "9.corrupt"]
  after = content(workdir)
  for name in ("metrics.jsonl", "summary.json", "predictions_test.csv"):
    assert after[pathlib.Path(name)] == before[pathlib.Path(name)]
  assert manifests(workdir, "best")


@pytest.mark.usefixtures("without_figures")
def test_damaged_best_step_is_replaced_by_a_later_epoch(copied, capsys):
  config, workdir = copied
  (best,) = steps(workdir, "best")
  damage(workdir, "best", best)
  damage(workdir, "latest", 12)
  train.train_and_evaluate(config, workdir)
  assert "The best of the remaining epochs" in capsys.readouterr().out
  assert steps(workdir, "best") == sorted(["12", f"{best}.corrupt"])


@pytest.mark.usefixtures("without_figures")
def test_evaluation_of_a_damaged_best_step_names_the_way_out(copied):
  config, workdir = copied
  damage(workdir, "best", steps(workdir, "best")[0])
  other = config.copy_and_resolve_references()
  other.eval.checkpoint = "best"
  with pytest.raises(errors.CheckpointError, match="checkpoint selects"):
    report.evaluate_only(other, workdir)


@pytest.mark.usefixtures("without_figures")
def test_evaluation_leaves_the_run_as_it_is(copied, original):
  config, workdir = copied
  damage(workdir, "latest", 12)
  before = content(workdir)
  other = config.copy_and_resolve_references()
  other.eval.bands = ("r", "r", "r")
  summary = report.evaluate_only(other, workdir)
  assert summary["checkpoint"]["step"] == 9
  after = content(workdir)
  assert after.keys() == before.keys()
  changed = {str(path) for path in before if before[path] != after[path]}
  assert {path for path in changed if not path.startswith("figures")} == {
    "summary.json",
    "predictions_validation.csv",
    "predictions_test.csv",
    "calibration.json",
    "calibration.npz",
  }
  # The other evaluation does not count as the run's own.
  assert not results.is_finished(config, workdir)
  # Nor does the run's own evaluation of an earlier step.
  report.evaluate_only(config, workdir)
  assert not results.is_finished(config, workdir)


def test_read_only_run_is_evaluated_and_exported(
  copied, monkeypatch, tmp_path, capsys
):
  config, workdir = copied
  before = content(workdir)
  monkeypatch.setattr("os.access", lambda path, mode: path != workdir)
  monkeypatch.chdir(tmp_path)
  report.evaluate_only(config, workdir)
  export.export(config, workdir)
  assert content(workdir) == before
  (folder,) = tmp_path.glob("run_results_*")
  names = {path.name for path in folder.iterdir()}
  assert {"summary.json", "figures", "weights.safetensors"} <= names
  assert {"predict.jaxexp", "README.md"} <= names
  assert "RMSE [dex]" in capsys.readouterr().out


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("mode", [report.evaluate_only, export.export])
def test_mistyped_workdir_is_not_created(original, tmp_path, mode):
  with pytest.raises(errors.NoCheckpointError, match="mistyped"):
    mode(original[0], tmp_path / "mistyped")
  assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("without_figures")
def test_second_process_is_refused_at_once(copied):
  config, workdir = copied
  before = content(workdir)
  with (
    files.lock(workdir),
    pytest.raises(files.FolderInUseError, match="in use by process"),
  ):
    train.train_and_evaluate(config, workdir)
  assert content(workdir) == before


@pytest.mark.usefixtures("without_figures")
def test_record_does_not_choose_the_best_epoch(copied, original):
  config, workdir = copied
  rows = metric_writer.read(workdir)
  for row in rows:
    if "validation/rmse" in row:
      row["validation/rmse"] = 1e-9
  text = "".join(json.dumps(row) + "\n" for row in rows)
  (workdir / "metrics.jsonl").write_text(text)
  damage(workdir, "latest", 12)
  train.train_and_evaluate(config, workdir)
  assert manifests(workdir, "best") == manifests(original[1], "best")


@pytest.mark.usefixtures("without_figures")
def test_lost_latest_steps_stop_the_run(copied):
  config, workdir = copied
  shutil.rmtree(workdir / "checkpoints" / "latest")
  # The first latest step is saved before the end of the first epoch.
  assert int(steps(workdir, "best")[0]) > config.train.checkpoint_every_steps
  before = content(workdir)
  with pytest.raises(errors.CheckpointError, match="expected the last steps"):
    train.train_and_evaluate(config, workdir)
  assert content(workdir).keys() == before.keys()


@pytest.mark.usefixtures("without_figures")
def test_checkpoint_knows_its_config(copied):
  config, workdir = copied
  (workdir / "config.json").unlink()
  other = config.copy_and_resolve_references()
  other.seed = 1
  with pytest.raises(errors.ConfigError, match="seed: expected 0, found 1"):
    train.train_and_evaluate(other, workdir)
