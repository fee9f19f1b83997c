"""Reads the galaxies of a page in tests."""

import base64
import gzip
import json
import pathlib
import re
from typing import Any

import numpy as np


def read(path: pathlib.Path) -> dict[str, list[Any]]:
  """Returns the columns of a page."""
  text = path.read_text(encoding="utf-8")
  (documents,) = re.findall(r"const docs_json = '(.*)';\n", text)
  content = json.loads(json.loads(f'"{_unescape(documents)}"'))
  found = list(_sources(content))
  (columns,) = [columns for columns in found if "id" in columns]
  return {name: _values(value) for name, value in columns.items()}


def _unescape(text: str) -> str:
  # The text is a JavaScript string in single quotes; JSON has double ones.
  return text.replace("\\'", "'").replace('"', '\\"')


def _sources(content: Any):
  if isinstance(content, dict):
    if content.get("name") == "ColumnDataSource":
      yield dict(content["attributes"]["data"]["entries"])
    content = list(content.values())
  if isinstance(content, list):
    for each in content:
      yield from _sources(each)


def _values(value: Any) -> list[Any]:
  if isinstance(value, list):
    return value
  array = value["array"]
  if isinstance(array, list):
    return array
  data = gzip.decompress(base64.b64decode(array["data"]))
  return np.frombuffer(data, np.dtype(value["dtype"])).tolist()
