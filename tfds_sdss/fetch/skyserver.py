"""SkyServer: the paper's query by SqlSearch, and cutouts by getjpeg.

SqlSearch has a few ways to say nothing of a failure: a statement without TOP
is cut at a number of rows, an error may come as a table with status 200, or as
a page of HTML. So each page of rows asks for a fixed number by TOP, in order
of specObjID, and the rows are counted against COUNT in the end.
"""

from __future__ import annotations

from collections.abc import Callable
import csv
import json
from typing import NamedTuple

import pandas as pd
import yarl

from tfds_sdss import catalog
from tfds_sdss import columns
from tfds_sdss.fetch import http_answers
from tfds_sdss.fetch import http_client

BASE_URL = "https://skyserver.sdss.org"
SIZE = 128  # pixels, of a cutout
# Below SkyServer's limits of 500,000 rows and 600 seconds with room to spare.
PAGE_ROWS = 20_000

_QUERY = "{release}/SkyServerWS/SearchTools/SqlSearch"
_CUTOUT = "{release}/SkyServerWS/ImgCutout/getjpeg"
# The server refuses a longer query string, parameters and escapes included.
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
  """Where SkyServer is and which data release is asked.

  Attributes:
    base_url: such as `https://skyserver.sdss.org`.
    release: such as `dr17`.
  """

  base_url: str
  release: str

  def query_url(self, sql: str) -> yarl.URL:
    """Returns the address that answers a query with CSV.

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
    """Returns the address of a cutout of 128 x 128 pixels.

    Args:
      ra: degrees.
      dec: degrees.
      scale: arcsec per pixel.
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
  """Returns the statement for the next rows of the sample.

  Args:
    after: specObjID of the last row that is known.
    rows: how many at most.
  """
  names = ",".join(
    # Most names are unique among the tables; these are not.
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
  on_page: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[pd.DataFrame, int]:
  """Asks for the whole sample, page by page.

  Args:
    client: to ask with.
    service: whom to ask.
    limit: number of rows wanted, None for all.
    on_page: called with the rows read and wanted, after each page.

  Returns:
    (rows as text, named as `columns.COLUMNS`; number of rows by COUNT).

  Raises:
    FetchError: if the server refuses, or if the rows don't add up.
  """
  (counted,) = await _ask(client, service, count_sql(), ["n"])
  total = int(counted["n"])
  wanted = total if limit is None else min(limit, total)
  if not total:
    raise http_answers.FetchError(
      f"{service.base_url}, {service.release}: expected some 142,000 galaxies, "
      "found none (COUNT is 0). The release may be another one: check "
      "--source and --base_url."
    )
  expected = [_SQL_NAMES.get(c.name, c.name) for c in columns.COLUMNS]
  # Frames, for a page's dictionaries take several times the memory.
  frames: list[pd.DataFrame] = []
  found = after = 0
  while found < wanted:
    number = min(PAGE_ROWS, wanted - found)
    page = await _ask(client, service, page_sql(after, number), expected)
    if not page:
      break
    frames.append(pd.DataFrame(page, dtype=str))
    found += len(page)
    last = catalog.parse_objid(page[-1]["specObjID"])
    if last <= after:
      raise http_answers.FetchError(
        f"{service.base_url}: expected rows after specObjID {after}, found "
        f"{last}. The server does not order them; report it."
      )
    after = last
    on_page(found, wanted)
  if found != wanted:
    raise http_answers.FetchError(
      f"{service.base_url}, {service.release}: expected {wanted} rows (COUNT), "
      f"found {found}. Try again; nothing was kept of this list."
    )
  frame = pd.concat(frames, ignore_index=True)
  return frame.rename(columns={v: k for k, v in _SQL_NAMES.items()}), total


async def _ask(
  client: http_client.Client, service: Service, sql: str, expected: list[str]
) -> list[dict[str, str]]:
  """Asks one statement and returns its rows."""

  def judge(answer: http_answers.Answer) -> list[dict[str, str]]:
    return parse_rows(answer, expected, client.limits.throttle)

  try:
    return await client.get(
      service.query_url(sql), judge, client.limits.query_total
    )
  except (http_answers.PermanentError, http_answers.TransientError) as error:
    raise http_answers.FetchError(
      f"the query to {service.base_url} failed: {error}. Check the network and "
      "give the command again, or the service's new address as --base_url."
    ) from error


def parse_rows(
  answer: http_answers.Answer, expected: list[str], throttle: float = 60.0
) -> list[dict[str, str]]:
  """Reads SqlSearch's answer.

  Args:
    answer: what came.
    expected: names of the columns, in order.
    throttle: seconds to wait if the server says that we ask too often.

  Returns:
    One dictionary per row; SQL's NULL is an empty string.

  Raises:
    TransientError: if the server is busy or the answer is cut short.
    PermanentError: if the server refuses the statement.
  """
  text = answer.body.decode("utf-8", errors="replace")
  if answer.status != 200:
    raise _refusal(answer, text)
  if text.lstrip()[:1] == "<":
    raise http_answers.TransientError(
      "html", f"expected CSV, found a page of HTML: {_gist(text)}", 200
    )
  lines = text.split("\n")
  if lines[0].startswith("#"):
    lines = lines[1:]
  if lines[-1] != "":
    raise http_answers.TransientError(
      "cut_short", f"expected whole lines of CSV, the last is {lines[-1]!r}"
    )
  table = list(csv.reader(lines[:-1]))
  header = table[0] if table else []
  if header == ["error_message"]:
    message = " ".join(field for row in table[1:] for field in row)
    if "queries allowed per minute" in message:
      raise http_answers.TransientError(
        "throttled", message, 200, retry_after=throttle
      )
    raise http_answers.PermanentError("sql_error", message, 200)
  if header != expected:
    raise http_answers.TransientError(
      "not_csv",
      f"expected the columns {','.join(expected)}, found {_gist(text)}",
      200,
    )
  for number, row in enumerate(table[1:], start=1):
    if len(row) != len(header):
      raise http_answers.TransientError(
        "cut_short",
        f"expected {len(header)} fields in row {number}, found {len(row)}",
      )
  return [dict(zip(header, row, strict=True)) for row in table[1:]]


def _refusal(answer: http_answers.Answer, text: str) -> Exception:
  """Returns the error that a status other than 200 stands for."""
  try:
    message = json.loads(text)["ErrorMessage"]
  except (ValueError, KeyError, TypeError):
    message = _gist(text)
  # The statement's own errors have status 500, as have the server's troubles.
  busy = any(
    word in message.lower() for word in ("timeout", "deadlock", "connection")
  )
  if answer.content_type == "application/json" and not busy:
    return http_answers.PermanentError("sql_error", message, answer.status)
  return http_answers.refusal(answer, message)


def _gist(text: str) -> str:
  """Returns the beginning of a text, on one line."""
  return repr(" ".join(text.split())[:160])
