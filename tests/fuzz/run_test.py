"""Damaged files of a run or a prediction: only errors of this project."""

import dataclasses
import functools
import hashlib
import json
import pathlib
import types

import astropy.table
import numpy as np
import pytest
import safetensors.numpy

from galmet_jax import metric_writer
from galmet_jax import workdir
from galmet_jax.calibration import calibration
from galmet_jax.calibration import outliers
from galmet_jax.models import weight_files
from galmet_jax.predict import chunks
from galmet_jax.predict import inputs
from tests import mutations
from tests.tfds_sdss import fake_staging
from tfds_sdss import files
from tfds_sdss.errors import DataError

OBJID = fake_staging.OBJID


def test_weights(root):
  path = root / "weights.safetensors"
  weights = {
    "conv1.weight": np.ones((2, 3, 1, 1), np.float32),
    "bn1.num_batches_tracked": np.array(3),
  }
  mutations.fuzz(
    lambda data: weight_files.read(path),
    safetensors.numpy.save(weights),
    path=path,
  )


def test_json_of_a_run(root):
  path = root / "config.json"
  files.write_json(path, {"seed": 1, "data": {"targets": ["oh_p50"]}})
  mutations.fuzz(
    lambda data: workdir.read_config(root),
    path.read_bytes(),
    b'{"seed": 1, "data": {"targets": ["oh_p50"]}}',
    path=path,
  )


def test_record_of_metrics(root):
  path = root / metric_writer.FILE

  def parse(data):
    rows = metric_writer.read(root)
    assert all(isinstance(row["step"], int) for row in rows)
    # A damaged line is left out, without an error.
    if b'"loss": 0.5' not in data:
      raise DataError("a line was damaged")

  valid = b'{"step": 1, "loss": 0.5}\n{"step": 2, "loss": NaN}\n'
  mutations.fuzz(parse, valid, path=path)


def a_calibration():
  rng = np.random.default_rng(0)
  predicted = rng.normal(9, 0.2, 220)
  true = predicted + rng.normal(0, 0.1, 220)
  place = {"ra": np.array([10.0, 20.0]), "dec": np.array([1.0, -2.0])}
  return calibration.Calibration(
    {"checkpoint": "abc", "step": 3, "members": {"fold_0": 3}},
    (calibration.Target.fit("oh_p50", predicted, true, true),),
    outliers.ImageModel.fit(rng.normal(size=(20, 3))),
    calibration.Training.of(OBJID + np.arange(2), place),
  )


@pytest.mark.parametrize("name", ["calibration.json", "calibration.npz"])
def test_calibration(root, name):
  before = a_calibration()
  before.save(root)
  path = root / name

  def load(data):
    after = calibration.Calibration.load(root)
    np.testing.assert_equal(
      dataclasses.asdict(after), dataclasses.asdict(before)
    )

  mutations.fuzz(load, path.read_bytes(), path=path)


@pytest.mark.parametrize("name", ["calibration.json", "calibration.npz"])
def test_calibration_by_others(root, name):
  """The digests are right, as another version of the program writes them."""
  a_calibration().save(root)
  content = json.loads((root / "calibration.json").read_bytes())
  del content["sha256"]

  def load(data):
    changed = content
    if name.endswith("json"):
      changed = mutations.json_object(data)
    else:
      (root / name).write_bytes(data)
      changed["arrays"] = hashlib.sha256(data).hexdigest()
    files.write_json(root / "calibration.json", changed)
    calibration.Calibration.load(root)

  valid = json.dumps(content).encode()
  if name.endswith("npz"):
    valid = (root / name).read_bytes()
  mutations.fuzz(load, valid)


class Network:
  """Stands in for a predictor."""

  info = types.SimpleNamespace(image_size=8)

  def compute(self, pixels, ids, flags, positions, *, features):
    return {"flags": flags, "pred": np.arange(len(ids)) / 3}


@pytest.fixture
def predicted(root, monkeypatch):
  """A prediction of three galaxies whose only chunk is finished."""
  monkeypatch.setattr(chunks, "_load", functools.cache(lambda _: Network()))
  rows = inputs.Rows(
    table=astropy.table.Table(),
    ids=OBJID + np.arange(3),
    positions=np.full((3, 2), np.nan),
    radius=None,
    files=["", str(root / "absent.jpg"), ""],
    flags=np.zeros(3, np.int32),
  )
  (root / "absent.jpg").write_bytes(b"no image")
  folder = root / "out.chunks"
  folder.mkdir()
  job = chunks.Job("run", str(folder), 3, "", None)
  chunks.prepare(job, rows, {"checkpoint": "abc"})
  chunks.compute(chunks.Task(job, 0))
  return job, rows


def test_chunk(predicted):
  job, _ = predicted
  path = pathlib.Path(chunks.Task(job, 0).path)
  before = job.load(0)

  def load(data):
    if not job.is_done(0):
      raise DataError("it is computed again")
    np.testing.assert_equal(job.load(0), before)

  mutations.fuzz(load, path.read_bytes(), path=path)


def test_job(predicted):
  job, rows = predicted
  chunk = pathlib.Path(chunks.Task(job, 0).path)
  path = pathlib.Path(job.folder) / "job.json"
  before, finished = json.loads(path.read_bytes()), chunk.read_bytes()

  def prepare(data):
    chunk.write_bytes(finished)
    chunks.prepare(job, rows, {"checkpoint": "abc"})
    assert json.loads(path.read_bytes()) == before
    if not chunk.exists():
      raise DataError("all chunks are computed again")
    assert json.loads(data) == before

  mutations.fuzz(prepare, path.read_bytes(), path=path)


def test_rows_of_a_job(predicted):
  job, rows = predicted
  path = pathlib.Path(job.folder) / "rows.arrays"

  def load(data):
    chunks._rows.cache_clear()
    after = chunks._rows(job)
    for name in ("ids", "positions", "flags", "files"):
      np.testing.assert_equal(getattr(after, name), getattr(rows, name))

  mutations.fuzz(load, path.read_bytes(), path=path)
