"""Predicts a table in tests."""

import numpy as np

from galmet_jax.predict import command
from galmet_jax.predict_flags import Request
from tfds_sdss.own import user_tables


def predict(run, folder, output="out.ecsv", **changes):
  """Predicts mine.csv; returns the table."""
  request = {
    "input": str(folder / "mine.csv"),
    "images": str(folder / "images"),
    "output": str(folder / output),
  }
  path = command.predict(run, Request(**{**request, **changes}))
  assert not path.with_name(f"{path.name}.chunks").exists()
  return user_tables.read(path)


def values(table):
  names = [name for name in table.colnames if name.startswith("oh_p50_")]
  return np.stack([np.ma.filled(table[name], np.nan) for name in names])
