"""A user's sample, from a table and PNG images to the results of a run."""

import json
import re

import pytest

from galmet_jax import report
from galmet_jax import results
from galmet_jax import train
from tests import own_sample


@pytest.fixture(name="no_plot", autouse=True)
def _no_plot(monkeypatch):
  monkeypatch.setattr("tfds_sdss.quality.plot", lambda *_: None)


def test_sample_is_trained_on_and_evaluated(tmp_path, capsys):
  size = 37  # odd, and no multiple of the network's strides
  own_sample.build(tmp_path, size)
  config = own_sample.config(tmp_path)
  run = tmp_path / "run"

  summary = train.train_and_evaluate(config, run)

  assert summary["test"]["rmse"] > 0
  stored = json.loads((run / "config.json").read_text())
  assert stored["data"]["crop"] == size
  assert stored["data"]["targets"] == ["mass"]
  assert results.is_finished(own_sample.config(tmp_path), run)
  assert report.evaluate_only(own_sample.config(tmp_path), run)
  output = capsys.readouterr().out
  assert re.search(
    r"mass, test split \(\d+ galaxies\)      RMSE \[1e\+10 solMass\]", output
  )
  assert "dex" not in output

  again = own_sample.config(tmp_path, model__pretrained=f"run:{run}")
  train.train_and_evaluate(again, tmp_path / "again")
  output = capsys.readouterr().out
  assert f"of {run}: all layers, since the targets are the same" in output
