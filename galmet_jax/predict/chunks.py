"""Predictions of a large input in chunks, which survive an interruption."""

from collections.abc import Mapping
import functools
import hashlib
import io
import json
import pathlib
import shutil
from typing import NamedTuple

import astropy.table
import numpy as np

from galmet_jax.predict import inputs
from galmet_jax.predict.predictor import Predictor
from tfds_sdss import files

SIZE = inputs.CHUNK
_JOB, _ROWS = "job.json", "rows.arrays"
_DIGEST = hashlib.sha256().digest_size


class Job(NamedTuple):
  """A prediction that any process can work on.

  Attributes:
    run: folder of the run or the ensemble.
    folder: folder of the finished chunks.
    total: number of rows.
    source: the input, if it is a TFDS split.
    data_dir: data directory of TFDS.
    features: whether to compute the image features.
  """

  run: str
  folder: str
  total: int
  source: str
  data_dir: str | None
  features: bool = False

  def starts(self) -> range:
    """Returns the first row of each chunk."""
    return range(0, self.total, SIZE)

  def is_done(self, start: int) -> bool:
    """Whether a chunk is finished."""
    try:
      self.load(start)
    except (OSError, files.DamagedFileError):
      return False
    return True

  def load(self, start: int) -> dict[str, np.ndarray]:
    """Returns the values of a finished chunk."""
    return _read(pathlib.Path(Task(self, start).path))

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
  part = np.arange(start, min(start + SIZE, job.total))
  pixels, flags, details = rows.read(part, model.info.image_size)
  values = model.compute(
    pixels,
    rows.ids[part],
    flags,
    rows.positions[part],
    features=job.features,
  )
  values["detail_row"] = np.array([start + row for row in details], np.int64)
  values["detail_text"] = np.array(list(details.values()), str)
  _write(pathlib.Path(task.path), values)
  return len(part)


def prepare(job: Job, rows: inputs.Rows, settings: dict) -> None:
  """Keeps the finished chunks of the same job, and deletes those of another.

  Args:
    job: the job.
    rows: its galaxies.
    settings: what else the values depend on, as JSON.
  """
  # An earlier prediction by this process may have had other rows.
  _load.cache_clear()
  _rows.cache_clear()
  folder = pathlib.Path(job.folder)
  content = {
    **settings,
    "rows": _digest(rows),
    "size": SIZE,
    "features": job.features,
  }
  try:
    same = json.loads((folder / _JOB).read_text(encoding="utf-8")) == content
  # RecursionError: thousands of nested brackets.
  except (OSError, ValueError, RecursionError):
    same = False
  if not same:
    for path in folder.glob("*.chunk"):
      path.unlink()
    files.write_atomically(folder / _JOB, json.dumps(content).encode())
  if job.source:
    return
  # For other processes, which do not read the table again.
  arrays = {"ids": rows.ids, "positions": rows.positions, "flags": rows.flags}
  _write(folder / _ROWS, {**arrays, "files": np.array(rows.files, str)})


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
  arrays = _read(pathlib.Path(job.folder) / _ROWS)
  return inputs.Rows(
    table=astropy.table.Table(),
    ids=arrays["ids"],
    positions=arrays["positions"],
    radius=None,
    files=arrays["files"].tolist(),
    flags=arrays["flags"],
  )


def _write(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes arrays after the SHA-256 of their bytes."""
  content = io.BytesIO()
  np.savez(content, allow_pickle=False, **arrays)
  data = content.getvalue()
  files.write_atomically(path, hashlib.sha256(data).digest() + data)


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
  data = path.read_bytes()
  digest, content = data[:_DIGEST], data[_DIGEST:]
  if hashlib.sha256(content).digest() != digest:
    raise files.DamagedFileError(
      f"{path} is damaged: expected the SHA-256 at its start. Repeat the "
      "command."
    )
  with np.load(io.BytesIO(content), allow_pickle=False) as archive:
    return dict(archive)


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
