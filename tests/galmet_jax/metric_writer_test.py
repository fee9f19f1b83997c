"""metrics.jsonl: truncated on a restart, mirrored in TensorBoard."""

import json
import struct
import sys

import pytest
from tensorboardX.proto import event_pb2

from galmet_jax import metric_writer


def write(workdir, step, rows):
  writer = metric_writer.MetricWriter(workdir, step)
  for row_step, values in rows:
    writer.write(row_step, values)
  writer.close()


def events(workdir):
  """Parses the event files: records of a length, a CRC, data and a CRC."""
  found = []
  for path in sorted((workdir / "tensorboard").glob("events*")):
    data = path.read_bytes()
    while data:
      (length,) = struct.unpack("<Q", data[:8])
      found.append(event_pb2.Event.FromString(data[12 : 12 + length]))
      data = data[16 + length :]
  return found


def test_rows_are_read_as_written(tmp_path):
  rows = [(1, {"train/loss": 0.1}), (2, {"train/loss": 1 / 3, "epoch": 1})]
  write(tmp_path, 0, rows)
  assert metric_writer.read(tmp_path) == [
    {"step": step, **values} for step, values in rows
  ]
  lines = (tmp_path / metric_writer.FILE).read_text().splitlines()
  assert [json.loads(line)["step"] for line in lines] == [1, 2]


def test_number_that_json_lacks_is_null(tmp_path, caplog):
  write(tmp_path, 0, [(1, {"validation/rmse": float("nan")})])
  assert metric_writer.read(tmp_path) == [{"step": 1, "validation/rmse": None}]
  assert not any(event.summary.value for event in events(tmp_path))
  assert not caplog.records


def test_absent_file_is_empty(tmp_path):
  assert metric_writer.read(tmp_path) == []


def test_restart_drops_later_rows(tmp_path):
  write(tmp_path, 0, [(step, {"train/loss": 1.0}) for step in range(1, 8)])
  write(tmp_path, 4, [(5, {"train/loss": 2.0})])
  assert [
    (row["step"], row["train/loss"]) for row in metric_writer.read(tmp_path)
  ] == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0), (5, 2.0)]


@pytest.mark.parametrize("length", [1, 9, 20])
def test_truncated_line_is_dropped(tmp_path, length):
  write(tmp_path, 0, [(step, {"train/loss": 0.5}) for step in (1, 2, 3)])
  path = tmp_path / metric_writer.FILE
  line = len(path.read_text()) // 3
  path.write_text(path.read_text()[: 2 * line + length])
  assert [row["step"] for row in metric_writer.read(tmp_path)] == [1, 2]
  write(tmp_path, 3, [(4, {"train/loss": 0.25})])
  assert [row["step"] for row in metric_writer.read(tmp_path)] == [1, 2, 4]
  assert len(path.read_text().splitlines()) == 3


@pytest.mark.parametrize(
  "damaged",
  ["", "{", "[1]", "17", '{"step": 2, "x": "y"}', "\x00\xff", "[" * 9999],
)
def test_damaged_line_costs_only_itself(tmp_path, damaged, caplog):
  write(tmp_path, 0, [(step, {"train/loss": 0.5}) for step in (1, 2, 3)])
  path = tmp_path / metric_writer.FILE
  lines = path.read_text().splitlines()
  path.write_text("\n".join([lines[0], damaged, *lines[2:], ""]))
  assert [row["step"] for row in metric_writer.read(tmp_path)] == [1, 3]
  assert "lines [2] are damaged" in caplog.text
  write(tmp_path, 3, [(4, {"train/loss": 0.5})])
  assert [row["step"] for row in metric_writer.read(tmp_path)] == [1, 3, 4]
  assert path.read_text().splitlines()[1] == damaged


def test_flushed_rows_are_readable(tmp_path):
  writer = metric_writer.MetricWriter(tmp_path, 0)
  writer.write(1, {"train/loss": 0.5})
  writer.flush()
  assert metric_writer.read(tmp_path) == [{"step": 1, "train/loss": 0.5}]
  writer.close()


def test_tensorboard_has_the_same_numbers(tmp_path):
  write(tmp_path, 0, [(1, {"train/loss": 0.5}), (2, {"lr/head": 0.125})])
  scalars = [
    (event.step, value.tag, value.simple_value)
    for event in events(tmp_path)
    for value in event.summary.value
  ]
  assert scalars == [(1, "train/loss", 0.5), (2, "lr/head", 0.125)]


def test_tensorboard_purges_later_events(tmp_path):
  write(tmp_path, 4, [(5, {"train/loss": 0.5})])
  started = [
    event.step
    for event in events(tmp_path)
    if event.session_log.status == event_pb2.SessionLog.START
  ]
  assert started == [5]


def test_progress_bar_shows_the_step(capsys, monkeypatch):
  monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
  with metric_writer.ProgressBar(2, 10, images_per_step=16) as bar:
    bar.update(1, [1.0, 3.0])
    bar.print_line("epoch 1: validation RMSE 0.1000")
  shown = capsys.readouterr()
  last = shown.err.split("\r")[-1]
  assert "epoch 1" in last
  assert "4/10" in last
  assert "loss 2.0000" in last
  assert "images/s" in last
  assert "epoch 1: validation RMSE 0.1000" in shown.out + shown.err
