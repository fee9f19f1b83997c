"""Tables of galaxies in Parquet, with units."""

from __future__ import annotations

from collections.abc import Mapping
import io
import pathlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tfds_sdss import columns
from tfds_sdss import files


def read(path: pathlib.Path) -> pd.DataFrame:
  """Reads a table; the metadata of other programs are ignored.

  Raises:
    FileNotFoundError: if the file is absent.
    DamagedFileError: if it is not a Parquet file with distinct columns.
  """
  if path.exists() and not path.is_file():
    raise files.DamagedFileError(f"{path} is not a file.")
  try:
    with pq.ParquetFile(path) as file:
      frame = file.read().to_pandas(ignore_metadata=True)
  except (FileNotFoundError, PermissionError):
    raise
  # Arrow's errors have no common class: there are OSError, KeyError and others.
  except Exception as error:
    raise files.DamagedFileError(f"{path} is damaged ({error}).") from error
  if not frame.columns.is_unique:
    raise files.DamagedFileError(f"{path} has two columns of one name.")
  return frame


def write(
  path: pathlib.Path,
  frame: pd.DataFrame,
  described: Mapping[str, columns.Column] = columns.BY_NAME,
) -> None:
  """Writes a table of numbers and strings, with units as metadata.

  Args:
    path: the file.
    frame: columns of `described`, `columns.DERIVED` and `columns.CUSTOM`.
    described: columns by name; objid is always known.
  """
  described = {"objid": columns.BY_NAME["objid"], **described}
  texts = columns.DERIVED | columns.CUSTOM
  fields = []
  for name in frame.columns:
    if column := described.get(name):
      metadata = {"unit": column.unit, "description": column.description}
    else:
      metadata = {"description": texts[name]}
    dtype = frame[name].dtype
    is_number = isinstance(dtype, np.dtype)
    kind = pa.from_numpy_dtype(dtype) if is_number else pa.string()
    fields.append(pa.field(name, kind, metadata=metadata))
  table = pa.Table.from_pandas(
    frame, schema=pa.schema(fields), preserve_index=False
  )
  file = io.BytesIO()
  pq.write_table(table, file, compression="zstd")
  files.write_atomically(path, file.getvalue())
