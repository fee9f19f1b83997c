"""Faults of the real services, one function each.

A fault takes the request and the correct answer, and returns the answer to
send. Functions with other parameters return such a fault.
"""

from __future__ import annotations

import io
import json
import re

from PIL import Image
from PIL import ImageOps

from tests.tfds_sdss.fetch import stand_in_sample
from tests.tfds_sdss.fetch.stand_in_http import Answer
from tests.tfds_sdss.fetch.stand_in_http import Fault

# SqlSearch.


def bad_sql(request, answer):
  """SQL Server reports errors as JSON with status 500, even for CSV."""
  return _json_error("Invalid column name 'x'.")


def database_timeout(request, answer):
  """A query of more than 600 s fails like an invalid one."""
  return _json_error(
    "Execution Timeout Expired.  The timeout period elapsed prior to "
    "completion of the operation or the server is not responding."
  )


def _json_error(message: str) -> Answer:
  body = {
    "ErrorCode": 500,
    "ErrorType": "InternalServerError",
    "ErrorMessage": message,
  }
  kind = "application/json; charset=utf-8"
  return Answer(500, kind, json.dumps(body).encode())


def not_select(request, answer):
  """spExecuteSQL rejects a statement with a one-column table and status 200."""
  return _message(request, "error: must be a select statement: ")


def row_limit(request, answer):
  """A TOP above the limit is rejected like not_select."""
  return _message(request, "error: limit is  top 500000 ")


def throttled(request, answer):
  """More than 60 queries per minute are rejected like not_select."""
  return _message(
    request, "ERROR: Maximum 60 queries allowed per minute. Rejected query: "
  )


def _message(request, message: str) -> Answer:
  # Quoted, because the statement contains commas.
  body = f'#Table1\nerror_message\n"{message}{request.query["cmd"]}"\n'
  return Answer(200, "text/plain", body.encode(), framing="chunked")


def html_error(request, answer):
  """SkyServer's error page has status 200 and the reason of the exception."""
  body = (
    b"<html><head><title>Skyserver Error</title></head><body bgcolor=white>"
    b"<h2>An error occured</h2><H3 BGCOLOR=pink><font color=red>Timeout "
    b"expired.<br><br></font></H3></BODY></HTML>"
  )
  return Answer(200, "text/html", body, reason="InternalServerError")


def html_unavailable(request, answer):
  """The proxy of SkyServer returns 503 if no server is available."""
  body = (
    b"<html><body><h1>503 Service Unavailable</h1>\n"
    b"No server is available to handle this request.\n</body></html>\n"
  )
  return Answer(503, "text/html", body, framing="close")


def html_search_form(request, answer):
  """The old address shows the search form after a move, as for DR18."""
  body = (
    b"<!DOCTYPE html>\n<html><head><title>SQL Search</title></head><body>"
    b'<form method="post"><textarea name="cmd">select top 10 * from PhotoObj'
    b'</textarea><input type="submit" value="Submit"></form></body></html>'
  )
  return Answer(200, "text/html; charset=utf-8", body)


def empty_result(request, answer):
  """The answer has a header and no rows."""
  return answer._replace(body=b"".join(_lines(answer)[:2]))


def csv_dropped(request, answer):
  """The connection closes within a row, without the final chunk."""
  return answer._replace(body=_cut(answer), sent=0.98)


def csv_cut_mid_row(request, answer):
  """An HTTP/1.0 proxy closes within a row, which looks like a normal end."""
  return answer._replace(body=_cut(answer), framing="close")


def csv_cut_in_last_field(request, answer):
  """An HTTP/1.0 proxy closes within the last field of a row."""
  return answer._replace(body=answer.body[:-2], framing="close")


def csv_cut_at_row(request, answer):
  """The answer is complete but has half of the rows."""
  lines = _lines(answer)
  return answer._replace(body=b"".join(lines[: 1 + len(lines) // 2]))


def mangled_ids(request, answer):
  """The ids are floats, as exported by a spreadsheet."""
  text = re.sub(
    r"\b\d{16,}\b", lambda found: f"{float(found[0]):.5E}", answer.body.decode()
  )
  return answer._replace(body=text.encode())


def _lines(answer: Answer) -> list[bytes]:
  return answer.body.splitlines(keepends=True)


def _cut(answer: Answer) -> bytes:
  """Returns the first half of the CSV and half a row."""
  lines = _lines(answer)
  middle = 2 + (len(lines) - 2) // 2
  return b"".join(lines[:middle]) + lines[middle][: len(lines[middle]) // 2]


# getjpeg.


def outside_footprint(request, answer):
  """404 outside the footprint, with the message drawn in an image."""
  reason = "Requested (ra, dec) is outside the SDSS footprint."
  body = stand_in_sample.tile(reason)
  return Answer(404, "image/jpeg", body, reason=f"NOT FOUND. {reason}")


def outside_footprint_200(request, answer):
  """The same image with status 200, as from DR18 and before 2017."""
  return outside_footprint(request, answer)._replace(status=200, reason=None)


def black(request, answer):
  """The image is black at a position that no frame covers."""
  return answer._replace(body=stand_in_sample.tile())


def part_black(share: float) -> Fault:
  """Part of the image is black, as at the edge of the footprint."""

  def fault(request, answer):
    image = _image(answer)
    # Whole JPEG blocks: a partly black block contains no exact zeros.
    width = round(share * image.width / 8) * 8
    image.paste((0, 0, 0), (0, 0, width, image.height))
    return _encoded(answer, image, quality=95, subsampling=0)

  return fault


def server_error_jpeg(request, answer):
  """getjpeg draws the message of an exception, with status 500."""
  message = "Timeout expired."
  return answer._replace(
    status=500,
    body=stand_in_sample.tile(message),
    reason=f"INTERNAL SERVER ERROR. {message}",
  )


def no_end_marker(request, answer):
  """A JPEG without its last two bytes, which most decoders accept."""
  return answer._replace(body=answer.body[:-2])


def html_page(request, answer):
  """Some proxies return a page with status 200 while the server is down."""
  body = b"<html><body><h1>Down for maintenance</h1></body></html>"
  return Answer(200, "text/html", body)


def no_cutouts(request, answer):
  """The legacy viewer returns this text while cutouts are disabled."""
  return Answer(200, "text/plain", b"No cutouts enabled")


def empty_body(request, answer):
  """Status 200 without a body."""
  return answer._replace(body=b"")


def wrong_size(size: int) -> Fault:
  """The service silently clamps sizes to [64, 2048]."""
  return lambda request, answer: _encoded(
    answer, _image(answer).resize((size, size))
  )


def grayscale(request, answer):
  """A JPEG with one channel."""
  return _encoded(answer, ImageOps.grayscale(_image(answer)))


def cmyk(request, answer):
  """A JPEG with four channels."""
  return _encoded(answer, _image(answer).convert("CMYK"))


def png(request, answer):
  """A PNG with the content type of a JPEG."""
  return _encoded(answer, _image(answer), "PNG")


def progressive(request, answer):
  """A progressive JPEG, which is valid."""
  return _encoded(answer, _image(answer), progressive=True)


def _image(answer: Answer) -> Image.Image:
  image = Image.open(io.BytesIO(answer.body))
  image.load()
  return image


def _encoded(answer: Answer, image: Image.Image, *args, **options) -> Answer:
  return answer._replace(body=stand_in_sample.encoded(image, *args, **options))
