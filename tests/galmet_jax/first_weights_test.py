"""Runs that start from the weights of another run."""

import dataclasses
import json
import os
import pathlib
import shutil

import jax
import numpy as np
import pytest

from galmet_jax import checkpoints
from galmet_jax import errors
from galmet_jax import first_weights
from galmet_jax import report
from galmet_jax import results
from galmet_jax import train
from galmet_jax.calibration import calibration
from galmet_jax.data import dataset
from galmet_jax.data import galaxies
from galmet_jax.run import Run
from tests import shrunk
from tests.galmet_jax import saved


def config_of(data_dir, source, **changes):
  return shrunk.config(
    data_dir,
    **{
      "optim__all_sgdr__cycle_len": 1,
      "eval__splits": ("test",),
      "eval__tta": "none",
      "model__pretrained": f"run:{source}" if source else "",
    }
    | changes,
  )


@pytest.fixture(name="first", scope="module")
def _first(mock_data_dir, tmp_path_factory):
  """A trained run."""
  folder = tmp_path_factory.mktemp("first") / "run"
  with shrunk.without_figures():
    train.train_and_evaluate(config_of(mock_data_dir, ""), folder)
  return folder


@pytest.fixture(name="copy")
def _copy(first, tmp_path):
  """A copy that may be changed."""
  return pathlib.Path(shutil.copytree(first, tmp_path / "copy"))


def latest(folder):
  return checkpoints.Checkpoints(
    folder / "checkpoints" / "latest", keep=2, read_only=True
  )


def weights_of(folder):
  store = latest(folder)
  return store.read_variables(store.steps()[-1])


def start(config, workdir):
  return jax.device_get(Run.prepare(config, workdir).initial_state().variables)


def test_same_targets_take_all_layers(mock_data_dir, first, tmp_path, capsys):
  found = start(config_of(mock_data_dir, first), tmp_path / "run")

  jax.tree.map(np.testing.assert_array_equal, found, weights_of(first))
  output = capsys.readouterr().out
  step = latest(first).steps()[-1]
  assert (
    f"Starts from step {step} of {first}: all layers, since the targets are "
    "the same (oh_p50)."
  ) in output
  # The same split of the same sample.
  assert "galaxies are among those" not in output


@pytest.mark.parametrize(
  ("targets", "message"),
  [
    (("lgm_tot_p50", "z"), "all layers but the last: the targets are lgm_tot"),
    (("lgm_tot_p50", "oh_p50"), "all layers, of the last the part of oh_p50."),
  ],
)
def test_last_layer_of_other_targets(
  mock_data_dir, first, tmp_path, capsys, targets, message
):
  config = config_of(mock_data_dir, first, data__targets=targets)
  found = start(config, tmp_path / "run")

  expected = weights_of(first)
  theirs = expected["params"]["head"].pop("dense2")
  last = found["params"]["head"].pop("dense2")
  jax.tree.map(np.testing.assert_array_equal, found, expected)
  assert last["kernel"].shape[-1] == 2
  # As at the start of any run: the mean of the labels.
  np.testing.assert_array_equal(last["kernel"][:, 0], 0)
  np.testing.assert_allclose(last["bias"][0], 10, atol=0.5)
  if "oh_p50" in targets:
    np.testing.assert_array_equal(last["kernel"][:, 1:], theirs["kernel"])
    np.testing.assert_array_equal(last["bias"][1:], theirs["bias"])
  assert message in capsys.readouterr().out


def test_digest_is_that_of_the_calibration(mock_data_dir, first, tmp_path):
  found = first_weights.digest(config_of(mock_data_dir, first), tmp_path)
  assert found == calibration.Calibration.load(first).facts["checkpoint"]
  assert first_weights.digest(config_of(mock_data_dir, ""), tmp_path) is None


def test_trained_galaxies_are_counted(mock_data_dir, first, tmp_path, capsys):
  config = config_of(mock_data_dir, first, data__fold=0)
  start(config, tmp_path / "run")
  assert "validation galaxies are among those that" in capsys.readouterr().out


def test_galaxies_are_recognised_by_id_or_position():
  training = calibration.Training.of(
    np.array([1, 2, 3]),
    {"ra": np.array([10.0, 20, np.nan]), "dec": np.array([0.0, 60, 0])},
  )
  second = 1 / 3600
  split = galaxies.Split(
    objid=np.array([3, 11, 12, 13, 14]),
    images=np.zeros(5),
    targets=np.zeros((5, 1)),
    columns={
      "ra": np.array([50, 10 + second, 20 + 3 * second, 20, np.nan]),
      "dec": np.array([0.0, 0, 60, 60 + 3 * second, 0]),
    },
  )
  # By id; 1 arcsec away; 1.5 arcsec, since it is far north; 3 arcsec.
  assert first_weights.count_seen(split, training) == 3
  assert (
    first_weights.count_seen(dataclasses.replace(split, columns={}), training)
    == 1
  )


@pytest.mark.usefixtures("without_figures")
def test_a_changed_run_is_noticed(mock_data_dir, copy, tmp_path):
  """It matters until training is done, and never to an evaluation."""
  config, workdir = config_of(mock_data_dir, copy), tmp_path / "run"
  train.train_and_evaluate(config, workdir)
  assert json.loads((workdir / "config.json").read_text())["first_weights"]
  results.check_galaxies(config, workdir, dataset.read(config))

  shutil.rmtree(copy)
  # Without it, too; then it resumes, and only evaluates.
  results.check_galaxies(config, workdir, dataset.read(config))
  train.train_and_evaluate(config, workdir)
  other = Run.prepare(config_of(mock_data_dir, "", seed=1), copy)
  other.latest.save(other.initial_state())
  for action in (
    lambda: train.train_and_evaluate(config, workdir),
    lambda: results.check_galaxies(config, workdir, dataset.read(config)),
  ):
    with pytest.raises(errors.ConfigError, match="started from has changed"):
      action()
  assert report.evaluate_only(config, workdir)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"model__width": 16}, r"model\.width 8 \(here 16\)"),
    ({"model__head_width": 8}, r"Add --config\.model\.head_width=16"),
    (
      {"model__stage_sizes": (2, 1, 1, 1)},
      r'--config\.model\.stage_sizes="\(1,1,1,1\)"',
    ),
    ({"model__block": "bottleneck"}, r"model\.block basic \(here bottleneck\)"),
    ({"model__network": "xresnet"}, r"model\.network resnet \(here xresnet\)"),
  ],
)
def test_another_network_is_refused(
  mock_data_dir, first, tmp_path, changes, message
):
  config = config_of(mock_data_dir, first, **changes)
  with pytest.raises(errors.ConfigError, match=message) as error:
    first_weights.digest(config, tmp_path)
  assert "\n" not in str(error.value)


def remove_config(folder):
  (folder / "config.json").unlink()


def make_ensemble(folder):
  shutil.move(folder, folder.with_name("fold_0"))
  folder.mkdir()
  shutil.move(folder.with_name("fold_0"), folder)


def remove_checkpoints(folder):
  shutil.rmtree(folder / "checkpoints")


def damage_weights(folder):
  step = latest(folder).steps()[-1]
  saved.damage_data(folder / "checkpoints" / "latest", step)


def damage_manifest(folder):
  step = latest(folder).steps()[-1]
  path = folder / "checkpoints" / "latest" / str(step) / "digests" / "metadata"
  saved.flip_a_bit(path)


def damage_config(folder):
  saved.flip_a_bit(folder / "config.json")


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (shutil.rmtree, "found no such folder. Train it first"),
    (remove_checkpoints, "found no checkpoint in"),
    (remove_config, "expected config.json beside the checkpoints"),
    (make_ensemble, "found an ensemble. Name one of its members"),
    (damage_weights, "is damaged"),
    (damage_manifest, "is damaged"),
    (damage_config, "is damaged"),
  ],
)
def test_run_that_cannot_be_used(
  mock_data_dir, copy, tmp_path, change, message
):
  change(copy)
  with pytest.raises(Exception, match=message) as error:
    start(config_of(mock_data_dir, copy), tmp_path / "run")
  described = errors.describe(error.value)
  assert described
  assert "\n" not in described
  assert not (tmp_path / "run" / "checkpoints").exists()


def test_source_is_only_read(mock_data_dir, copy, tmp_path):
  for path in [*copy.rglob("*"), copy]:
    path.chmod(0o555 if path.is_dir() else 0o444)
  before = saved.listing(copy)
  start(config_of(mock_data_dir, copy), tmp_path / "run")
  assert saved.listing(copy) == before
  for path in [copy, *copy.rglob("*")]:
    os.chmod(path, 0o755)
