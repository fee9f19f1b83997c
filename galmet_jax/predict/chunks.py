"""Predictions of a large input in chunks, which survive an interruption."""

import functools
import hashlib
import io
import json
import pathlib
import shutil
from typing import NamedTuple
import zipfile

import astropy.table
import numpy as np

from galmet_jax.predict import inputs
from galmet_jax.predict.predictor import Predictor
from tfds_sdss import files

SIZE = inputs.CHUNK
_JOB = "job.json"


class Job(NamedTuple):
  """A prediction that any process can work on.

  Attributes:
    run: folder of the run or the ensemble.
    folder: folder of the finished chunks.
    total: number of rows.
    source: the input, if it is a TFDS split.
    data_dir: data directory of TFDS.
  """

  run: str
  folder: str
  total: int
  source: str
  data_dir: str | None

  def starts(self) -> range:
    """Returns the first row of each chunk."""
    return range(0, self.total, SIZE)

  def is_done(self, start: int) -> bool:
    """Whether a chunk is finished."""
    try:
      self.load(start)
    # Whatever a damaged file may hold.
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
      return False
    return True

  def load(self, start: int) -> dict[str, np.ndarray]:
    """Returns the values of a finished chunk."""
    path = pathlib.Path(Task(self, start).path)
    data = path.read_bytes()
    digest, content = data[:32], data[32:]
    if hashlib.sha256(content).digest() != digest:
      raise ValueError(f"{path} is damaged")
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
      return dict(archive)

  def join(self) -> tuple[dict[str, np.ndarray], dict[int, str]]:
    """Returns the values of all chunks, and the details by row."""
    parts = [self.load(start) for start in self.starts()]
    values = {
      name: np.concatenate([part[name] for part in parts]) for name in parts[0]
    }
    rows, texts = values.pop("detail_row"), values.pop("detail_text")
    return values, dict(zip(rows.tolist(), texts.tolist(), strict=True))


class Task(NamedTuple):
  """A chunk of a job."""

  job: Job
  start: int

  @property
  def path(self) -> str:
    """Path of the file to write."""
    return f"{self.job.folder}/{self.start:09d}.chunk"


def compute(task: Task) -> int:
  """Computes and stores a chunk; returns its number of rows."""
  job, start = task
  model, rows = _load(job.run), _rows(job)
  stop = min(start + SIZE, job.total)
  pixels, flags, details = rows.read(start, stop, model.info.image_size)
  values = model.compute(
    pixels, rows.ids[start:stop], flags, rows.positions[start:stop]
  )
  values["detail_row"] = np.array([start + row for row in details], np.int64)
  values["detail_text"] = np.array(list(details.values()), str)
  content = io.BytesIO()
  np.savez(content, allow_pickle=False, **values)
  data = content.getvalue()
  digest = hashlib.sha256(data).digest()
  files.write_atomically(pathlib.Path(task.path), digest + data)
  return stop - start


def prepare(job: Job, rows: inputs.Rows, settings: dict) -> None:
  """Keeps the finished chunks of the same job, and deletes those of another.

  Args:
    job: the job.
    rows: its galaxies.
    settings: what else the values depend on, as JSON.
  """
  folder = pathlib.Path(job.folder)
  content = {**settings, "rows": _digest(rows), "size": SIZE}
  try:
    same = json.loads((folder / _JOB).read_text(encoding="utf-8")) == content
  except (OSError, ValueError):
    same = False
  if not same:
    for path in folder.glob("*.chunk"):
      path.unlink()
    files.write_atomically(folder / _JOB, json.dumps(content).encode())
  if job.source:
    return
  # For other processes, which do not read the table again.
  arrays = {"ids": rows.ids, "positions": rows.positions, "flags": rows.flags}
  data = io.BytesIO()
  np.savez(data, allow_pickle=False, files=np.array(rows.files, str), **arrays)
  files.write_atomically(folder / "rows.npz", data.getvalue())


def remove(job: Job) -> None:
  """Deletes the chunks."""
  shutil.rmtree(job.folder, ignore_errors=True)


@functools.lru_cache(maxsize=1)
def _load(run: str) -> Predictor:
  return Predictor.load(run)


@functools.lru_cache(maxsize=1)
def _rows(job: Job) -> inputs.Rows:
  if job.source:
    return inputs.read(job.source, "", "", job.data_dir, needs_images=True)
  path = pathlib.Path(job.folder) / "rows.npz"
  with np.load(path, allow_pickle=False) as arrays:
    return inputs.Rows(
      table=astropy.table.Table(),
      ids=arrays["ids"],
      positions=arrays["positions"],
      radius=None,
      files=arrays["files"].tolist(),
      flags=arrays["flags"],
    )


def _digest(rows: inputs.Rows) -> str:
  """Returns the SHA-256 of the rows and of the states of their files."""
  digest = hashlib.sha256()
  for array in (rows.ids, rows.positions, rows.flags):
    digest.update(np.ascontiguousarray(array).tobytes())
  for file in rows.files or []:
    digest.update(file.encode("utf-8", "surrogateescape"))
    if file:
      state = pathlib.Path(file).stat()
      digest.update(f"{state.st_size} {state.st_mtime_ns}".encode())
  for data in rows.data or []:
    digest.update(hashlib.sha256(data).digest())
  return digest.hexdigest()
