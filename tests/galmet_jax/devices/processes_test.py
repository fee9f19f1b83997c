"""Two processes train like one, resume after a kill, and exit together."""

import json
import signal
import time

import numpy as np
import pandas as pd
import pytest

from galmet_jax import metric_writer
from galmet_jax import train
from galmet_jax.devices import cluster
from galmet_jax.devices import processes
from tests import shrunk
from tests.galmet_jax.devices import two_processes

FIELDS = {
  # AdamW divides by the size of the gradient, which magnifies its rounding.
  "optim.optimizer": "sgd",
  "optim.all_sgdr.cycle_len": 2,
  "eval.splits": ("test",),
  "eval.tta": "none",
  "eval.figures": False,
  "data.crop": 32,
}
# Sums of float32 in another order, over 16 layers and 8 steps: the gradient
# norm differs by some 30 roundings. A lost or repeated part of a batch would
# change the loss by percents.
TOLERANCE = 200 * np.finfo(np.float32).eps


def test_one_process_waits_for_nobody():
  cluster.join(False, None, None, None)
  with processes.exit_together():
    assert processes.is_first()
    assert processes.broadcast_int(5) == 5
    assert processes.on_first(lambda: "done") == "done"
    assert processes.first_then_others(lambda: "done") == "done"
    with pytest.raises(ZeroDivisionError):
      processes.on_first(lambda: 1 // 0)


def test_two_processes_agree(tmp_path):
  results = two_processes.finish(
    two_processes.start(
      "tests/galmet_jax/devices/two_processes.py", str(tmp_path)
    )
  )
  assert [status for status, _, _ in results] == [0, 0], results
  assert ["checked" in output for _, output, _ in results] == [True, False]


def start(data_dir, workdir):
  return two_processes.start(
    "main.py",
    *shrunk.flags(data_dir, workdir),
    *(f"--config.{name}={value}" for name, value in FIELDS.items()),
    "--config.data.placement=host",
  )


def kill_at_step(children, workdir, step):
  """Kills both processes once metrics.jsonl contains the step."""
  try:
    deadline = time.monotonic() + two_processes.TIMEOUT
    while not any(row["step"] >= step for row in metric_writer.read(workdir)):
      for child in children:
        assert child.poll() is None, child.communicate()
      assert time.monotonic() < deadline
      time.sleep(0.005)
  finally:
    two_processes.kill(children)
  assert [child.returncode for child in children] == [-signal.SIGKILL] * 2


# Without optimizations, as in the two processes.
@pytest.mark.usefixtures("without_optimizations")
def test_killed_and_resumed_run_is_that_of_one_process(mock_data_dir, tmp_path):
  alone, together = tmp_path / "alone", tmp_path / "together"
  kill_at_step(start(mock_data_dir, together), together, step=4)
  results = two_processes.finish(start(mock_data_dir, together))
  assert [status for status, _, _ in results] == [0, 0], results
  # Process 1 prints nothing; Gloo's threads do, in the middle of lines.
  assert results[1][2] == ""
  for printed in ("Resuming at step", "Phase", "RMSE"):
    assert (printed in results[0][1], printed in results[1][1]) == (True, False)

  config = shrunk.config(mock_data_dir)
  config.update_from_flattened_dict(FIELDS)
  train.train_and_evaluate(config, alone)
  ours, theirs = (
    pd.read_csv(workdir / "predictions_test.csv")
    for workdir in (together, alone)
  )
  np.testing.assert_array_equal(ours.objid, theirs.objid)
  np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=0)
  ours, theirs = (metric_writer.read(workdir) for workdir in (together, alone))
  assert [list(row) for row in ours] == [list(row) for row in theirs]
  for row, expected in zip(ours, theirs, strict=True):
    for name in {"train/loss", "train/grad_norm"} & set(row):
      np.testing.assert_allclose(row[name], expected[name], rtol=TOLERANCE)
  ours, theirs = (
    json.loads((workdir / "summary.json").read_text())
    for workdir in (together, alone)
  )
  assert ours["checkpoint"] == theirs["checkpoint"]
