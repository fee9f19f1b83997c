"""SkyServer: the paper's query by SqlSearch, and cutouts by getjpeg.

SqlSearch can fail silently: it truncates the result of a statement without TOP,
and it returns errors as tables or HTML pages with status 200. Therefore the
catalogue is read in pages, each with TOP and in order of specObjID, which is
checked row by row, and the number of rows is compared with COUNT.
"""

from __future__ import annotations

from collections.abc import Callable
import csv
import json
import re
from typing import NamedTuple

import pandas as pd
import yarl

from tfds_sdss import catalog
from tfds_sdss import columns
from tfds_sdss.fetch import http_client
from tfds_sdss.fetch import http_responses

BASE_URL = "https://skyserver.sdss.org"
SIZE = 128  # cutout width and height, pixels
# Well below SkyServer's limits of 500,000 rows and 600 seconds.
PAGE_ROWS = 20_000

_QUERY = "{release}/SkyServerWS/SearchTools/SqlSearch"
_CUTOUT = "{release}/SkyServerWS/ImgCutout/getjpeg"
# The server rejects longer query strings (parameters and escapes included).
_MAX_QUERY_STRING = 2_048

_FROM = (
  "SpecObj S join Galaxy G on G.objID=S.bestObjID"
  " join galSpecLine L on L.specObjID=S.specObjID"
  " join galSpecInfo I on I.specObjID=S.specObjID"
  " join galSpecIndx X on X.specObjID=S.specObjID"
  " join galSpecExtra E on E.specObjID=S.specObjID"
)
# The cuts of Wu & Boada (2019), section 3.
_WHERE = (
  "petroMag_r>10 and petroMag_r<18"
  " and modelMag_u-modelMag_r>0 and modelMag_u-modelMag_r<6"
  + "".join(
    f" and modelMag_{band}>10 and modelMag_{band}<25" for band in "ugriz"
  )
  + " and S.rChi2<2 and S.zErr>0 and S.zErr<0.01 and S.z>0.02"
  " and oh_p50!=-9999"
)
_SQL_NAMES = {"objid": "objID", "specobjid": "specObjID"}


class Service(NamedTuple):
  """A SkyServer and a data release, such as `dr17`."""

  base_url: str
  release: str

  def query_url(self, sql: str) -> yarl.URL:
    """Returns the URL of a query with CSV output.

    Raises:
      ValueError: if the query is too long for the server.
    """
    url = self._url(_QUERY).with_query(cmd=sql, format="csv")
    if len(url.raw_query_string) > _MAX_QUERY_STRING:
      raise ValueError(
        f"the query has {len(url.raw_query_string)} characters, expected at "
        f"most {_MAX_QUERY_STRING}"
      )
    return url

  def cutout_url(self, ra: float, dec: float, scale: float) -> yarl.URL:
    """Returns the URL of a cutout of 128 x 128 pixels.

    Args:
      ra: right ascension, degrees.
      dec: declination, degrees.
      scale: pixel size, arcsec.
    """
    return self._url(_CUTOUT).with_query(
      ra=f"{ra:.7f}",
      dec=f"{dec:.7f}",
      scale=f"{scale:.6f}",
      width=str(SIZE),
      height=str(SIZE),
    )

  def _url(self, path: str) -> yarl.URL:
    return yarl.URL(self.base_url) / path.format(release=self.release)


def count_sql() -> str:
  """Returns the statement that counts the sample."""
  return f"select count_big(*) as n from {_FROM} where {_WHERE}"


def page_sql(after: int, rows: int) -> str:
  """Returns the statement for up to `rows` rows with specObjIDs > `after`."""
  names = ",".join(
    f"{column.table}.{_SQL_NAMES.get(column.name, column.name)}"
    for column in columns.COLUMNS
  )
  return (
    f"select top {rows} {names} from {_FROM} where {_WHERE}"
    f" and I.specObjID>{after} order by I.specObjID"
  )


async def read_sample(
  client: http_client.Client,
  service: Service,
  limit: int | None,
  on_page: Callable[[int, int], None],
) -> tuple[pd.DataFrame, int]:
  """Reads up to `limit` rows of the sample page by page.

  After each page, calls `on_page` with the numbers of rows read and wanted.

  Returns:
    The rows as text, named as in `columns.COLUMNS`, each specObjID once; and
    the size of the sample according to COUNT.

  Raises:
    FetchError: if a query fails, the number of rows is wrong, or a page has
      rows that it should not have, or not in order.
  """
  server = f"{service.base_url}, {service.release}"
  total = await _count(client, service)
  if not total:
    raise http_responses.FetchError(
      f"{server}: expected some 142,000 galaxies, found none (COUNT is 0). "
      "Check --source and --base_url."
    )
  wanted = total if limit is None else min(limit, total)
  expected = [_SQL_NAMES.get(c.name, c.name) for c in columns.COLUMNS]
  # Frames take a fraction of the memory of dictionaries.
  frames: list[pd.DataFrame] = []
  found = after = 0
  # One row more than counted is requested, to notice if there are too many.
  while number := min(PAGE_ROWS, wanted + (wanted == total) - found):
    page = await _query(client, service, page_sql(after, number), expected)
    if len(page) > number:
      raise http_responses.FetchError(
        f"{server}: expected a page of at most {number} rows (TOP), found "
        f"{len(page)}. No row was stored. The server does not obey the query: "
        "pass the address of another one as --base_url."
      )
    after = _check_order(server, page, after)
    found += len(page)
    if page:
      frames.append(pd.DataFrame(page, dtype=str))
      on_page(found, wanted)
    if not page or (found == wanted and len(page) < number):
      break
  if found != wanted:
    raise http_responses.FetchError(
      f"{server}: expected {wanted} rows (COUNT), found "
      f"{found if found < wanted else 'more'}. No row was stored. Run the same "
      "command again."
    )
  frame = pd.concat(frames, ignore_index=True)
  return frame.rename(columns={v: k for k, v in _SQL_NAMES.items()}), total


def _check_order(server: str, page: list[dict[str, str]], after: int) -> int:
  """Returns the last specObjID of a page, whose ids must ascend strictly."""
  # Rows that repeat or are out of order would replace others of the sample:
  # the next page starts after the last row.
  for number, row in enumerate(page, start=1):
    found = catalog.parse_objid(row["specObjID"])
    if found <= after:
      raise http_responses.FetchError(
        f"{server}: expected rows in ascending order of specObjID, found "
        f"{found} after {after} in row {number} of a page. No row was stored. "
        "Run the same command again. If the server ignores ORDER BY, pass the "
        "address of another one as --base_url."
      )
    after = found
  return after


async def _count(client: http_client.Client, service: Service) -> int:
  """Returns the size of the sample according to COUNT."""
  rows = await _query(client, service, count_sql(), ["n"])
  counts = [row["n"] for row in rows]
  if len(counts) != 1 or not re.fullmatch("[0-9]{1,9}", counts[0]):
    raise http_responses.FetchError(
      f"{service.base_url}, {service.release}: expected one number of rows "
      f"(COUNT), found {_excerpt(', '.join(counts))}. Run the same command "
      "again."
    )
  return int(counts[0])


async def _query(
  client: http_client.Client, service: Service, sql: str, expected: list[str]
) -> list[dict[str, str]]:
  """Runs a statement whose result must have the columns `expected`."""
  try:
    return await client.get(
      service.query_url(sql),
      lambda response: parse_rows(response, expected, client.limits.throttle),
      client.limits.query_total,
    )
  except http_responses.ResponseError as error:
    raise http_responses.FetchError(
      f"the query to {service.base_url} failed: {error}. Check the network and "
      "run the same command again. If the service has moved, pass its address "
      "as --base_url."
    ) from error


def parse_rows(
  response: http_responses.Response, expected: list[str], throttle: float
) -> list[dict[str, str]]:
  """Parses SqlSearch's response; NULL becomes an empty string.

  Args:
    response: any response of the server.
    expected: names of the columns, in order.
    throttle: wait after exceeding the query rate, seconds.

  Raises:
    TransientError: if the server is busy or the response is truncated.
    PermanentError: if the server rejects the statement.
  """
  text = response.body.decode("utf-8-sig", errors="replace")
  if response.status != 200:
    raise _query_error(response, text)
  if text.lstrip()[:1] == "<":
    raise http_responses.TransientError(
      "html", f"expected CSV, found a page of HTML: {_excerpt(text)}", 200
    )
  lines = text.split("\n")
  if lines[0].startswith("#"):
    lines = lines[1:]
  last = lines[-1] if lines else text
  if last:
    raise http_responses.TransientError(
      "cut_short", f"expected complete lines of CSV, found {last!r}"
    )
  try:
    table = [row for row in csv.reader(lines[:-1]) if row]
  except csv.Error as error:
    raise http_responses.TransientError(
      "not_csv", f"expected CSV, found {_excerpt(text)} ({error})", 200
    ) from error
  header = table[0] if table else []
  if header == ["error_message"]:
    message = " ".join(field for row in table[1:] for field in row)
    if "queries allowed per minute" in message:
      raise http_responses.TransientError(
        "throttled", message, 200, retry_after=throttle
      )
    raise http_responses.PermanentError("sql_error", message, 200)
  if header != expected:
    raise http_responses.TransientError(
      "not_csv",
      f"expected the columns {','.join(expected)}, found {_excerpt(text)}",
      200,
    )
  for number, row in enumerate(table[1:], start=1):
    if len(row) != len(header):
      raise http_responses.TransientError(
        "cut_short",
        f"expected {len(header)} fields in row {number}, found {len(row)}",
      )
  return [dict(zip(header, row, strict=True)) for row in table[1:]]


def _query_error(response: http_responses.Response, text: str) -> Exception:
  """Returns the error for a status other than 200."""
  try:
    message = str(json.loads(text)["ErrorMessage"])
  # RecursionError: thousands of nested brackets.
  except (ValueError, KeyError, TypeError, RecursionError):
    message = _excerpt(text)
  # Status 500 stands for a wrong statement as well as for a busy server.
  busy = any(
    word in message.lower() for word in ("timeout", "deadlock", "connection")
  )
  if response.content_type == "application/json" and not busy:
    return http_responses.PermanentError("sql_error", message, response.status)
  return http_responses.status_error(response, message)


def _excerpt(text: str) -> str:
  """Returns the beginning of a text, on one line."""
  return repr(" ".join(text.split())[:160])
