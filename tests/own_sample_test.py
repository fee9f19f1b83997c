"""A user's sample, from a table and PNG images to the results of a run."""

import json

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
  assert "mass, test split" in output
