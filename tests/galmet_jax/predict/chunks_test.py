"""Chunks of a prediction."""

import astropy.table
import numpy as np

from galmet_jax.predict import chunks
from galmet_jax.predict import inputs


def rows(first):
  return inputs.Rows(
    table=astropy.table.Table(),
    ids=first + np.arange(3),
    positions=np.full((3, 2), np.nan),
    radius=None,
    files=["", "", ""],
    flags=np.zeros(3, np.int32),
  )


def test_second_prediction_of_a_process_has_its_own_rows(tmp_path):
  job = chunks.Job("run", str(tmp_path), 3, "", None)
  for first in (10, 20):
    chunks.prepare(job, rows(first), {})
    assert chunks._rows(job).ids.tolist() == [first, first + 1, first + 2]
