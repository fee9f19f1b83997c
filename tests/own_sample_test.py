"""A user's sample, from a table and PNG images to the results of a run."""

import json
import re

import pytest

from galmet_jax import report
from galmet_jax import results
from galmet_jax import train
from galmet_jax.run import Run
from tests import own_sample
from tests import shrunk


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
  with shrunk.without_figures():
    assert report.evaluate_only(own_sample.config(tmp_path), run)
  output = capsys.readouterr().out
  assert re.search(
    r"mass, test split \(\d+ galaxies\)      RMSE \[1e\+10 solMass\]", output
  )
  assert "dex" not in output

  again = own_sample.config(tmp_path, model__pretrained=f"run:{run}")
  Run.prepare(again, tmp_path / "again").initial_state()
  output = capsys.readouterr().out
  assert f"of {run}: all layers, since the targets are the same" in output
