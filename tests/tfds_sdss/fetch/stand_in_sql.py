"""SkyServer's SqlSearch for the stand-in server: a SELECT and its CSV.

The rules and formats are those of the service's published source: of
spExecuteSQL, of its exception filter and of its CSV writer.
"""

import json
import re
from typing import NamedTuple

import numpy as np
import pandas as pd

from tests.tfds_sdss.fetch import stand_in_http
from tfds_sdss import columns

_BY_SQL_NAME = {column.name.lower(): column for column in columns.COLUMNS}
_ITEM = re.compile(
  r"(?:(?P<count>count(?:_big)?\(\*\))|(?:\w+\.)?(?P<name>\w+))"
  r"(?:\s+as\s+(?P<alias>\w+))?",
  re.IGNORECASE,
)
_SELECT = re.compile(
  r"\s*select\s+(?:top\s+\d+\s+)?(?P<items>.*?)\s+from\s", re.IGNORECASE
)
_TOP = re.compile(r"\s*select\s+top\s+(\S+)", re.IGNORECASE)
_AFTER = re.compile(r"\bspecobjid\s*>\s*(-?\d+)", re.IGNORECASE)
_ORDERED = re.compile(r"\border\s+by\s+(?:\w+\.)?specobjid\b", re.IGNORECASE)
Answer = stand_in_http.Answer
# How System.Net.HttpStatusCode spells them; the reason phrase is the same.
_STATUS_NAMES = {
  400: "BadRequest",
  404: "NotFound",
  500: "InternalServerError",
}


class Table(NamedTuple):
  """A result: one list of texts for each column, None for NULL."""

  names: list[str]
  values: list[list[str | None]]


class _SqlError(Exception):
  """What SQL Server says of a statement it cannot run."""


def json_error(status: int, message: str) -> Answer:
  """Returns an error as SkyServer sends it, whatever format was asked for."""
  name = _STATUS_NAMES[status]
  body = {
    "ErrorCode": status,
    "ErrorType": name,
    "ErrorMessage": message,
    "LogMessageID": "5e0b3c1e-stand-in",
    "LogTime": "2018-10-15T12:00:00.0000000Z",
  }
  return Answer(
    status,
    "application/json; charset=utf-8",
    json.dumps(body).encode(),
    reason=name,
  )


def message_table(message: str) -> Answer:
  """Returns the table with which spExecuteSQL rejects a statement."""
  # The message contains the statement, hence commas, hence it is quoted.
  return table_answer(Table(["error_message"], [[_quoted(message)]]), "csv")


def table_answer(table: Table, form: str) -> Answer:
  if form not in ("csv", "txt", "text/plain"):
    return Answer(200, "application/json", _json(table).encode(), chunked=True)
  return Answer(200, "text/plain", csv_text(table).encode(), chunked=True)


def csv_text(table: Table) -> str:
  lines = ["#Table1", ",".join(table.names)]
  lines += [
    ",".join(value or "" for value in row)
    for row in zip(*table.values, strict=True)
  ]
  return "\n".join(lines) + "\n"


def whole_table(frame: pd.DataFrame) -> Table:
  """Returns a frame's texts under the names of SDSS."""
  renamed = {"objid": "objID", "specobjid": "specObjID"}
  return Table(
    [renamed.get(name, name) for name in frame.columns],
    [_texts(frame, _BY_SQL_NAME[name.lower()]) for name in frame.columns],
  )


def search(
  frame: pd.DataFrame,
  query: dict[str, str],
  max_rows: int,
  silent_cap: int | None,
) -> Answer:
  """Answers a request.

  Args:
    frame: the rows that pass the statement's WHERE, which is not evaluated
      but for `specObjID>N`.
    query: parameters of the URL, names in lower case.
    max_rows: the service's limit.
    silent_cap: rows beyond this number vanish without a word.
  """
  if not query:
    return json_error(400, "Query parameters in request URI are missing.")
  if "cmd" not in query:
    return json_error(
      400, "There are not enough parameters to process your request."
    )
  command = re.sub(r"/\*.*?\*/", " ", query["cmd"], flags=re.DOTALL)
  command = re.sub(r"--[^\n]*", " ", command)
  command = re.sub(r"\s+", " ", command).replace(";", "#")
  if not command.lstrip().lower().startswith("select "):
    return message_table(f"error: must be a select statement: {command}")
  start = command.lower().index("select ") + len("select ")
  # A second SELECT has to be a subquery.
  command = command[:start] + re.sub(
    r"(?<!\()\bselect ", "#", command[start:], flags=re.IGNORECASE
  )
  top = max_rows
  if found := _TOP.match(command):
    top = int(found[1]) if found[1].isdigit() else 0
    if not 1 <= top <= max_rows:
      return message_table(f"error: limit is  top {max_rows} {command}")
  try:
    table = _select(frame, command, top, silent_cap)
  except _SqlError as error:
    return json_error(500, str(error))
  return table_answer(table, query.get("format", "json").lower())


def _select(
  frame: pd.DataFrame, command: str, top: int, silent_cap: int | None
) -> Table:
  if broken := re.search(r"(?:\b[A-Za-z_]\w*)?#", command):
    # To SQL Server a # is a part of the name before it.
    raise _SqlError(
      "Incorrect syntax near '#'."
      if broken[0] == "#"
      else f"Invalid column name '{broken[0]}'."
    )
  select = _SELECT.match(command)
  if not select:
    raise _SqlError("Incorrect syntax near the keyword 'select'.")
  items = []
  for text in select["items"].split(","):
    item = _ITEM.fullmatch(text.strip())
    if not item:
      raise _SqlError(f"Incorrect syntax near '{text.strip()}'.")
    if item["name"] and item["name"].lower() not in _BY_SQL_NAME:
      raise _SqlError(f"Invalid column name '{item['name']}'.")
    items.append(item)
  # Not by pandas: a test may hold ids beyond int64 as Python's integers.
  ids = [int(value) for value in frame["specobjid"]]
  rows = list(range(len(ids)))
  if after := _AFTER.search(command):
    rows = [row for row in rows if ids[row] > int(after[1])]
  if any(item["count"] for item in items):
    return Table(
      [item["alias"] or "Column1" for item in items],
      [[str(len(rows))] for _ in items],
    )
  if _ORDERED.search(command):
    rows.sort(key=ids.__getitem__)
  rows = rows[:top][:silent_cap]
  part = frame.iloc[rows]
  return Table(
    [item["alias"] or item["name"] for item in items],
    [_texts(part, _BY_SQL_NAME[item["name"].lower()]) for item in items],
  )


def _texts(frame: pd.DataFrame, column: columns.Column) -> list[str | None]:
  """Writes a column as .NET's ToString does."""
  # Seven digits of a real, fifteen of a float: fewer than they have.
  digits = 15 if column.dtype == np.float64 else 7

  def text(value) -> str | None:
    if isinstance(value, str):
      return _quoted(value)
    if pd.isna(value):
      return None
    if np.issubdtype(column.dtype, np.integer):
      return str(int(value))
    return f"{value + 0.0:.{digits}G}"  # + 0.0 turns -0 into 0

  return [text(value) for value in frame[column.name].tolist()]


def _quoted(text: str) -> str:
  return f'"{text}"' if "," in text and not text.startswith('"') else text


def _json(table: Table) -> str:
  # Numbers are written as they stand in the CSV, so ids keep every digit.
  rows = ",".join(
    "{"
    + ",".join(
      f"{json.dumps(name)}:{value or 'null'}"
      for name, value in zip(table.names, row, strict=True)
    )
    + "}"
    for row in zip(*table.values, strict=True)
  )
  return f'[{{"TableName":"Table1","Rows":[{rows}]}}]'
