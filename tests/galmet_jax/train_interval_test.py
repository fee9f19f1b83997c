"""Metrics are recorded one interval behind the device."""

import pytest

from galmet_jax import metric_writer
from galmet_jax import train
from tests import shrunk


@pytest.mark.usefixtures("without_figures")
def test_device_is_never_waited_for_within_an_epoch(
  mock_data_dir, tmp_path, monkeypatch
):
  dispatched, recorded = [], []
  compile_step, write = train.compile_step, metric_writer.MetricWriter.write

  def compile_and_count(run, state, phase):
    step_fn = compile_step(run, state, phase)

    def step(state, batch):
      dispatched.append(len(dispatched) + 1)
      return step_fn(state, batch)

    return step

  def write_and_note(writer, step, values, **more):
    if "train/loss" in values:
      recorded.append((dispatched[-1], step))
    write(writer, step, values, **more)

  monkeypatch.setattr(train, "compile_step", compile_and_count)
  monkeypatch.setattr(metric_writer.MetricWriter, "write", write_and_note)
  config = shrunk.config(
    mock_data_dir,
    train__log_every_steps=2,
    train__checkpoint_every_steps=1000,
    train__batch_size=8,
    optim__all_sgdr__cycle_len=2,
    eval__tta="none",
  )
  train.train_and_evaluate(config, tmp_path)
  rows = metric_writer.read(tmp_path)
  steps = [row["step"] for row in rows if "train/loss" in row]
  assert steps == dispatched
  epochs = [row["step"] for row in rows if "validation/rmse" in row]
  per_epoch = epochs[1] - epochs[0]
  assert per_epoch > 4
  for newest, step in recorded:
    assert step <= newest - 2 or newest % per_epoch == 0
  at_ends = dict(recorded)
  assert all(at_ends[step] == step for step in epochs)  # before the validation
