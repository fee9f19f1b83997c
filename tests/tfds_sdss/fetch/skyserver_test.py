"""SkyServer's URLs and responses, without a server."""

import asyncio
import json
import re
import types

import pytest

from tfds_sdss.fetch import http_responses
from tfds_sdss.fetch import skyserver

SERVICE = skyserver.Service("https://example.org", "dr17")


def response(body, status=200, content_type="text/plain"):
  body = body if isinstance(body, bytes) else body.encode()
  return http_responses.Response(status, "Reason", content_type, body, 0.0)


def error_of(answer):
  with pytest.raises(http_responses.ResponseError) as error:
    skyserver.parse_rows(answer, ["a", "b"], throttle=60.0)
  return error.value


def test_cutout_has_position_scale_and_size():
  url = SERVICE.cutout_url(10.5, -1.25, 0.396127)
  assert url.path == "/dr17/SkyServerWS/ImgCutout/getjpeg"
  assert dict(url.query) == {
    "ra": "10.5000000",
    "dec": "-1.2500000",
    "scale": "0.396127",
    "width": "128",
    "height": "128",
  }


def test_long_query_is_refused():
  with pytest.raises(ValueError, match="at most 2048"):
    SERVICE.query_url("select " + "a" * 2048)
  others = len("cmd=&format=csv")
  query = SERVICE.query_url("a" * (2048 - others)).query
  assert query["format"] == "csv"


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("title", ["", "#Table1\n"])
def test_rows_are_read_by_name(mark, title):
  rows = skyserver.parse_rows(
    response(f'{mark}{title}a,b\n1,\n"2,5",x\n'), ["a", "b"], 60.0
  )
  assert rows == [{"a": "1", "b": ""}, {"a": "2,5", "b": "x"}]


def test_bytes_that_are_not_utf8_are_replaced():
  rows = skyserver.parse_rows(response(b"a,b\n\xff,1\n"), ["a", "b"], 60.0)
  assert rows == [{"a": "�", "b": "1"}]


@pytest.mark.parametrize(
  ("body", "reason", "status", "message"),
  [
    ("\n <html>", "html", 200, "found a page of HTML: '<html>'"),
    ("#", "cut_short", None, "found '#'"),
    ("a,b\n1,2", "cut_short", None, "found '1,2'"),
    ("a,b\n1,2\n3\n", "cut_short", None, "2 fields in row 2, found 1"),
    ("c,d\n1,2\n", "not_csv", 200, "columns a,b, found 'c,d 1,2'"),
    ("", "not_csv", 200, "columns a,b, found ''"),
    (f"a,b\n1,{'2' * 200_000}\n", "not_csv", 200, "expected CSV, found 'a,b 1"),
  ],
)
def test_other_text_may_be_csv_the_next_time(body, reason, status, message):
  error = error_of(response(body))
  assert isinstance(error, http_responses.TransientError)
  assert (error.reason, error.status) == (reason, status)
  assert message in str(error)


def test_text_in_an_error_is_short():
  message = str(error_of(response("x" * 999 + "\n")))
  assert message.endswith(f"found '{'x' * 160}'")


def test_refused_statement_is_permanent():
  error = error_of(response("error_message\nno such,column\n"))
  assert isinstance(error, http_responses.PermanentError)
  assert (error.reason, error.status) == ("sql_error", 200)
  assert str(error) == "no such column"


def test_too_many_queries_wait():
  error = error_of(
    response("error_message\nMaximum 60 queries allowed per minute.\n")
  )
  assert isinstance(error, http_responses.TransientError)
  assert (error.reason, error.status) == ("throttled", 200)
  assert error.retry_after == 60.0


@pytest.mark.parametrize(
  ("message", "is_permanent"),
  [
    ("Invalid column name 'x'.", True),
    ("Execution Timeout Expired.", False),
    ("was deadlocked on lock resources", False),
    ("A network-related error: no Connection", False),
  ],
)
def test_status_500_is_permanent_unless_the_server_is_busy(
  message, is_permanent
):
  body = json.dumps({"ErrorMessage": message})
  error = error_of(response(body, 500, "application/json"))
  assert isinstance(error, http_responses.PermanentError) == is_permanent
  assert error.status == 500
  assert error.reason == ("sql_error" if is_permanent else "http_500")
  assert message in str(error)


@pytest.mark.parametrize("body", ["{}", "[]", "<html>", "[" * 10_000])
def test_status_500_without_a_message_has_its_text(body):
  error = error_of(response(body, 500, "application/json"))
  assert repr(body[:160]) in str(error)


@pytest.mark.parametrize(
  "body",
  [
    "#Table1\r\na,b\r\n1,2\r\n3,\r\n",
    "#Table1\na,b\n\n1,2\n3,\n\n",
    '#Table1\n"a","b"\n"1","2"\n3,\n',
  ],
)
def test_other_forms_of_csv_are_read(body):
  rows = skyserver.parse_rows(response(body), ["a", "b"], 60.0)
  assert rows == [{"a": "1", "b": "2"}, {"a": "3", "b": ""}]


@pytest.mark.parametrize(
  "body",
  [
    *(b"\n", b"\0", b"\xff\n", b"a,b", b"a,b\n1,2,3\n", b"b,a\n1,2\n"),
    *(b"a,b,c\n", b"a\rb,c\n", b"error_message\n", b"[" * 100_000),
    b'a,b\n"' + b"1" * 200_000 + b'",2\n',
  ],
)
@pytest.mark.parametrize("status", [200, 500, 503])
@pytest.mark.parametrize("kind", ["text/plain", "application/json"])
def test_answers_that_are_no_table_are_refused(body, status, kind):
  error_of(response(body, status, kind))


@pytest.mark.parametrize("message", ["5", "null", "[]", '{"a": 1}'])
def test_message_of_another_type_is_shown(message):
  body = f'{{"ErrorMessage": {message}}}'
  assert isinstance(
    error_of(response(body, 500, "application/json")),
    http_responses.PermanentError,
  )


def read(monkeypatch, count, ids, limit=None):
  """Reads pages of two rows; returns the tops, the progress and the ids."""
  tops, progress = [], []

  async def get(url, parse, total):
    sql = url.query["cmd"]
    if "count_big" in sql:
      return [{"n": count}]
    (top,) = re.findall(r"top (\d+)", sql)
    tops.append(int(top))
    start = sum(tops[:-1])
    return [{"specObjID": name} for name in ids[start : start + int(top)]]

  monkeypatch.setattr(skyserver, "PAGE_ROWS", 2)
  client = types.SimpleNamespace(
    get=get, limits=types.SimpleNamespace(throttle=1.0, query_total=1.0)
  )
  frame, total = asyncio.run(
    skyserver.read_sample(
      client, SERVICE, limit, lambda *numbers: progress.append(numbers)
    )
  )
  assert total == int(count)
  return tops, progress, list(frame["specobjid"])


@pytest.mark.parametrize(
  ("limit", "tops", "progress"),
  [
    # One row more than counted is requested.
    (None, [2, 2, 2], [(2, 5), (4, 5), (5, 5)]),
    (3, [2, 1], [(2, 3), (3, 3)]),
    (9, [2, 2, 2], [(2, 5), (4, 5), (5, 5)]),
  ],
)
def test_sample_is_read_in_pages(monkeypatch, limit, tops, progress):
  ids = ["1", "2", "3", "4", "5"]
  wanted = progress[-1][1]
  assert read(monkeypatch, "5", ids, limit) == (tops, progress, ids[:wanted])


AGAIN = "Run the same command again."


@pytest.mark.parametrize(
  ("count", "ids", "end"),
  [
    ("0", [], "(COUNT is 0). Check --source and --base_url."),
    ("x", [], f"number of rows (COUNT), found 'x'. {AGAIN}"),
    ("2", ["1"], f"2 rows (COUNT), found 1. No row was stored. {AGAIN}"),
    ("1", ["1", "2"], f"(COUNT), found more. No row was stored. {AGAIN}"),
    (
      "2",
      ["2", "1"],
      f"found 1 after 2 in row 2 of a page. No row was stored. {AGAIN} If the "
      "server ignores ORDER BY, pass the address of another one as --base_url.",
    ),
  ],
)
def test_wrong_answers_name_the_remedy(monkeypatch, count, ids, end):
  with pytest.raises(http_responses.FetchError) as error:
    read(monkeypatch, count, ids)
  assert str(error.value).startswith("https://example.org, dr17: expected ")
  assert str(error.value).endswith(end)
