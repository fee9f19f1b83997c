"""Checks on real galaxies; run by `make real-data-check REAL_DATA=FOLDER`.

They use only the images and the label statistics of the test split.
"""

import pathlib

import pytest

from galmet_jax import train
from tests import shrunk
from tests.tfds_sdss.fetch import fetching
from tests.tfds_sdss.fetch import stand_in
from tfds_sdss import build
from tfds_sdss import verify
from tfds_sdss.fetch import cutouts


@pytest.fixture(scope="module")
def real_dir(request):
  folder = request.config.getoption("--real-data")
  if folder is None:
    pytest.fail("give --real-data=FOLDER, the unpacked convnet-demo")
  return pathlib.Path(folder).resolve()


@pytest.fixture(scope="module")
def data_dir(real_dir, tmp_path_factory):
  data_dir = tmp_path_factory.mktemp("tfds")
  build.build("demo500", str(data_dir), str(real_dir))
  return data_dir


def test_real_sample_builds_and_verifies(real_dir, data_dir):
  report = verify.verify("demo500", str(data_dir))
  assert report.problems == []
  images = [*real_dir.glob("train/*.jpg"), *real_dir.glob("test/*.jpg")]
  assert report.table["read"].sum() == len(images)
  # The moments of the paper's sample, within the scatter of a few hundred
  # galaxies.
  assert report.table["mean"].between(8.85, 8.97).all()
  assert report.table["std"].between(0.15, 0.25).all()


def test_real_cutouts_pass_the_checks_of_the_fetch(real_dir, tmp_path):
  paths = sorted(real_dir.glob("t*/*.jpg"))
  files = {int(path.stem): path.read_bytes() for path in paths}
  frame = stand_in.frame_of(len(files)).assign(objid=list(files))
  with stand_in.StandIn(frame, files.__getitem__) as server:
    assert fetching.run(tmp_path, server).lost == {}
  entries = fetching.check(tmp_path, files.__getitem__).read_manifest()
  black = [entry.zeros for entry in entries.values()]
  # Far below the limit of an image outside the survey.
  assert max(black) < cutouts.MAX_BLACK / 3


@pytest.mark.usefixtures("without_figures")
def test_small_network_learns_from_real_galaxies(real_dir, data_dir, tmp_path):
  config = shrunk.config(
    data_dir,
    data__name="sdss_metallicity/demo500",
    data__manual_dir=str(real_dir),
    model__width=16,
    optim__all_sgdr__cycle_len=12,
    train__checkpoint_every_steps=1000,
    eval__splits=("validation",),
    eval__baselines=True,
  )
  block = train.train_and_evaluate(config, tmp_path)["validation"]
  assert block["rmse_random_forest"] < 0.75 * block["rmse_training_mean"]
  assert block["rmse"] < 0.85 * block["rmse_training_mean"]
