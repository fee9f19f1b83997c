"""Files of a finished run: predictions with digests and summary.json."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from configs import quickstart
from galmet_jax import results
from galmet_jax import workdir as workdir_lib
from tfds_sdss import files

OBJID = [1237648674532688079, 2**63 - 1]


@pytest.fixture
def run(tmp_path):
  """A finished run, without its checkpoints: (config, workdir)."""
  config = quickstart.get_config()
  workdir_lib.write_config(workdir_lib.describe(config, {}), tmp_path)
  table = pd.DataFrame({"objid": OBJID, "oh_p50_pred": [8.5, 9.0]})
  for split in config.eval.splits:
    results.write_predictions(tmp_path, split, table)
  results.write_summary(
    tmp_path,
    {
      "test": {"r2": -math.inf, "rmse": 0.1},
      "checkpoint": {"trained_steps": 9, "of_steps": 9},
      "eval": json.loads(config.eval.to_json()),
    },
    config.eval.splits,
  )
  return config, tmp_path


def test_predictions_are_read_as_written(run):
  table = results.read_predictions(run[1], "test")
  np.testing.assert_array_equal(table.objid, OBJID)
  assert table.objid.dtype == np.int64


def test_summary_is_valid_json(run):
  def fail(text):
    raise AssertionError(f"{text} is not JSON")

  text = (run[1] / "summary.json").read_text()
  summary = json.loads(text, parse_constant=fail)
  assert summary["test"] == {"r2": None, "rmse": 0.1}


def test_run_is_finished(run, tmp_path):
  assert results.is_finished(*run)
  assert not results.is_finished(run[0], tmp_path / "absent")
  other = run[0].copy_and_resolve_references()
  other.seed += 1
  assert not results.is_finished(other, run[1])


@pytest.mark.parametrize(
  ("name", "old", "new"),
  [
    ("summary.json", b'"trained_steps": 9', b'"trained_steps": 8'),
    ("summary.json", b'"rmse": 0.1', b'"rmse": 0.01'),
    ("predictions_test.csv", b"8.5", b"8.6"),
    ("config.json", b'"seed": 0', b'"seed": 1'),
  ],
)
def test_altered_file_is_never_used(run, name, old, new, caplog):
  config, workdir = run
  path = workdir / name
  assert old in path.read_bytes()
  path.write_bytes(path.read_bytes().replace(old, new))
  assert not results.is_finished(config, workdir)
  assert f"{name} is damaged" in caplog.text
  if name != "config.json":
    with pytest.raises(files.DamagedFileError, match="Repeat the command"):
      results.read_predictions(workdir, "test")


@pytest.mark.parametrize("name", ["summary.json", "config.json"])
@pytest.mark.parametrize("text", ["", "{", "null", "[]", "{}", "\0"])
def test_truncated_file_is_not_finished(run, name, text):
  config, workdir = run
  (workdir / name).write_text(text)
  assert not results.is_finished(config, workdir)


def test_run_with_other_jax_settings_is_not_finished(run):
  config, workdir = run
  content = workdir_lib.describe(config, {})
  content["jax"]["jax_default_matmul_precision"] = "bfloat16"
  workdir_lib.write_config(content, workdir)
  assert not results.is_finished(config, workdir)


def test_table_without_digest_is_not_finished(run):
  config, workdir = run
  summary = results.read_summary(workdir)
  del summary["files"]["predictions_test.csv"]
  files.write_json(workdir / "summary.json", summary)
  assert not results.is_finished(config, workdir)
