"""Metrics are recorded one interval behind the device."""

from galmet_jax import metric_writer
from galmet_jax import train
from tests import shrunk


def test_device_is_never_waited_for_within_an_epoch(
  mock_data_dir, tmp_path, monkeypatch
):
  dispatched, recorded = [], []
  compile_step, record = train.compile_step, train.record

  def compile_and_count(run, state, phase):
    step_fn = compile_step(run, state, phase)

    def step(state, batch):
      dispatched.append(len(dispatched) + 1)
      return step_fn(state, batch)

    return step

  def record_and_note(run, rows, *more):
    recorded.append((dispatched[-1], [step for step, _ in rows]))
    return record(run, rows, *more)

  monkeypatch.setattr(train, "compile_step", compile_and_count)
  monkeypatch.setattr(train, "record", record_and_note)
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
  for newest, recorded_steps in recorded:
    if newest % per_epoch == 0:
      assert recorded_steps[-1] == newest  # before the validation
    elif recorded_steps:
      assert recorded_steps[-1] <= newest - 2
