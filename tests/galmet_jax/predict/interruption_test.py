"""Predictions in chunks: resumed, and by other processes."""

import os
import pathlib
import pickle

import numpy as np
import pytest

from galmet_jax.predict import chunks
from tests.galmet_jax.predict import predicted_tables as tables
from tfds_sdss import beam_shards


def test_interrupted_prediction_continues(run, mine, monkeypatch, capsys):
  tables.predict(run, mine, output="whole.csv")
  compute, done = chunks.compute, []

  def stop_at_the_second(task):
    if len(done) == 1:
      raise KeyboardInterrupt
    done.append(task.start)
    return compute(task)

  monkeypatch.setattr(chunks, "compute", stop_at_the_second)
  with pytest.raises(KeyboardInterrupt):
    tables.predict(run, mine, output="out.csv")
  assert not (mine / "out.csv").exists()
  left = []
  monkeypatch.setattr(
    chunks, "compute", lambda task: left.append(task.start) or compute(task)
  )
  tables.predict(run, mine, output="out.csv")
  assert left == [16]
  assert "Continuing: 16 of 22 rows" in capsys.readouterr().out
  assert (mine / "out.csv").read_bytes() == (mine / "whole.csv").read_bytes()


def test_chunks_of_other_images_are_computed_again(run, mine, monkeypatch):
  compute, count = chunks.compute, []

  def fail_at_the_end(task):
    count.append(task.start)
    if task.start:
      raise KeyboardInterrupt
    return compute(task)

  monkeypatch.setattr(chunks, "compute", fail_at_the_end)
  for _ in range(2):
    with pytest.raises(KeyboardInterrupt):
      tables.predict(run, mine)
  assert count == [0, 16, 16]
  folder = mine / "out.ecsv.chunks"
  (chunk,) = folder.glob("*.chunk")
  data = bytearray(chunk.read_bytes())
  data[-5] ^= 1
  chunk.write_bytes(data)
  with pytest.raises(KeyboardInterrupt):
    tables.predict(run, mine)
  assert count[3:] == [0, 16]
  first = min((mine / "images").iterdir())
  os.utime(first, ns=(1, 1))
  with pytest.raises(KeyboardInterrupt):
    tables.predict(run, mine)
  assert count[5:] == [0, 16]


def test_other_processes_predict_the_same(run, mine, monkeypatch, tmp_path):
  expected = tables.values(tables.predict(run, mine))
  seen = []

  def run_tasks(write, tasks, runner, options):
    chunks._load.cache_clear()
    chunks._rows.cache_clear()
    # As Beam's workers do, in another working directory.
    monkeypatch.chdir(tmp_path)
    for task in pickle.loads(pickle.dumps(tasks)):
      write(task)
      seen.append((runner, task.start))

  monkeypatch.setattr(beam_shards, "run", run_tasks)
  monkeypatch.chdir(mine)
  table = tables.predict(
    pathlib.Path(os.path.relpath(run)),
    mine,
    input="mine.csv",
    images="images",
    output="beam.ecsv",
    beam_runner="DirectRunner",
  )
  np.testing.assert_array_equal(tables.values(table), expected)
  assert seen == [("DirectRunner", 0), ("DirectRunner", 16)]
