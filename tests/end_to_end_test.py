"""End to end: fetch, build, verify and train."""

import json

import numpy as np
import pandas as pd
import pytest

from configs import resnet34
from configs import zenodo as zenodo_config
from galmet_jax import train
from galmet_jax.baselines import baselines
from galmet_jax.baselines import trees
from galmet_jax.data import galaxies
from tests import shrunk
from tests.tfds_sdss import fake_staging
from tests.tfds_sdss.fetch import stand_in
from tests.tfds_sdss.fetch import stand_in_faults as faults
from tests.tfds_sdss.fetch import zenodo_files
from tfds_sdss import __main__ as cli
from tfds_sdss import build
from tfds_sdss import columns
from tfds_sdss.fetch import zenodo
from tfds_sdss.mock import render

NUM_GALAXIES = 500


def mock_sky():
  """Returns a catalogue of mock galaxies, and their images by objid."""
  frame = stand_in.frame_of(NUM_GALAXIES)
  examples = list(render.generate(NUM_GALAXIES, seed=3, processes=1))
  for name in set(frame.columns) & set(examples[0]) - {"objid"}:
    values = [example[name] for example in examples]
    frame[name] = pd.Series(values).astype(frame[name].dtype)
  images = [example["image"] for example in examples]
  return frame, dict(zip(frame.objid, images, strict=True))


@pytest.mark.parametrize("names", [zenodo_files.FEW, columns.ZENODO])
def test_zenodo_sample_loads_with_its_config(tmp_path, names):
  frame = stand_in.frame_of(60)
  more = fake_staging.table(60, ("objid", "dr7objid", "reliable"))
  frame = frame.join(more[["dr7objid", "reliable"]])
  files = {
    zenodo.ARCHIVE: zenodo_files.archive(frame.objid),
    zenodo.CATALOG: zenodo_files.catalog(frame, names),
  }
  staging, data_dir = tmp_path / "staging", tmp_path / "data"
  with stand_in.StandIn(frame, stand_in.jpeg_of, zenodo_files=files) as server:
    fetch = ["fetch", "--source=zenodo", f"--out={staging}"]
    assert cli.main([*fetch, f"--base_url={server.base_url}"]) == 0
  sample = ["sdss_metallicity/zenodo", f"--data_dir={data_dir}"]
  assert cli.main(["build", *sample, f"--staging={staging}"]) == 0
  assert cli.main(["verify", *sample]) == 0
  config = zenodo_config.get_config()
  builder = build.load(config.data.name, str(data_dir))
  splits = galaxies.load(builder, config.data)
  assert sum(len(split) for split in splits.values()) == 60
  assert splits["train"].images.shape[1:] == (160, 160, 3)
  is_whole = names == columns.ZENODO
  assert trees.has_photometry(splits["train"]) == is_whole
  predicted = baselines.predict_all(
    splits["train"], {"test": splits["test"]}, config.data.targets, seed=0
  )["test"]
  assert len(predicted) == 5
  for values in predicted.values():
    assert np.isfinite(values).all()


@pytest.mark.usefixtures("without_figures")
def test_predictions_from_fetched_galaxies(tmp_path, capsys):
  frame, images = mock_sky()
  lost = frame.objid.tolist()[:5]
  staging, data_dir = tmp_path / "staging", tmp_path / "data"
  with stand_in.StandIn(frame, images.__getitem__) as server:
    for objid in lost:
      server.image_faults[objid] = [faults.outside_footprint]
    fetch = ["fetch", "--source=dr17", f"--out={staging}", "--rate=2000"]
    assert cli.main([*fetch, f"--base_url={server.base_url}"]) == 0
  sample = ["sdss_metallicity/dr17", f"--data_dir={data_dir}"]
  assert cli.main(["build", *sample, f"--staging={staging}"]) == 0
  assert cli.main(["verify", *sample]) == 0
  assert "No problems found" in capsys.readouterr().out

  config = resnet34.get_config("as_intended")
  config.update_from_flattened_dict(
    {name: x for name, x in shrunk.FIELDS.items() if "cycle" not in name}
  )
  config.data.data_dir = str(data_dir)
  config.data.crop = 32
  config.model.pretrained = ""
  config.optim.phases = ("all_sgdr",)
  config.optim.all_sgdr.cycles = 1
  config.eval.tta = "none"
  train.train_and_evaluate(config, tmp_path / "run")

  summary = json.loads((tmp_path / "run" / "summary.json").read_text())
  predicted = pd.read_csv(tmp_path / "run" / "predictions_test.csv")
  labels = frame.set_index("objid").oh_p50
  for objid, label in zip(predicted.objid, predicted.oh_p50_true, strict=True):
    assert abs(labels[objid] - label) < 1e-5
  assert not set(predicted.objid) & set(lost)
  # Each split has 20/130 of the galaxies, within four standard deviations.
  for number in (summary["validation"]["n"], len(predicted)):
    assert abs(number - 495 * 20 / 130) < 32
