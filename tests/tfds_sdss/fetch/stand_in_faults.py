"""Faults of the real services, one function each.

A fault takes the request and the right answer, and returns the answer to send.
A function with another signature returns such a fault.
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


def bad_sql(asked, right):
  """SQL Server's errors have status 500 and JSON although CSV was asked for."""
  return _json_error("Invalid column name 'x'.")


def database_timeout(asked, right):
  """A query of more than 600 s fails in the same form as a wrong one."""
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


def not_select(asked, right):
  """spExecuteSQL rejects a statement by a table of one column, status 200."""
  return _message(asked, "error: must be a select statement: ")


def row_limit(asked, right):
  """The same for a TOP above the limit."""
  return _message(asked, "error: limit is  top 500000 ")


def throttled(asked, right):
  """The same for more than 60 queries in a minute."""
  return _message(
    asked, "ERROR: Maximum 60 queries allowed per minute. Rejected query: "
  )


def _message(asked, message: str) -> Answer:
  # Quoted, because the statement contains commas.
  body = f'#Table1\nerror_message\n"{message}{asked.query["cmd"]}"\n'
  return Answer(200, "text/plain", body.encode(), framing="chunked")


def html_error(asked, right):
  """SkyServer's error page has status 200 and the exception's phrase."""
  body = (
    b"<html><head><title>Skyserver Error</title></head><body bgcolor=white>"
    b"<h2>An error occured</h2><H3 BGCOLOR=pink><font color=red>Timeout "
    b"expired.<br><br></font></H3></BODY></HTML>"
  )
  return Answer(200, "text/html", body, reason="InternalServerError")


def html_unavailable(asked, right):
  """The proxy in front of SkyServer finds no server."""
  body = (
    b"<html><body><h1>503 Service Unavailable</h1>\n"
    b"No server is available to handle this request.\n</body></html>\n"
  )
  return Answer(503, "text/html", body, framing="close")


def html_search_form(asked, right):
  """After a move, as with DR18, the old address shows the search form."""
  body = (
    b"<!DOCTYPE html>\n<html><head><title>SQL Search</title></head><body>"
    b'<form method="post"><textarea name="cmd">select top 10 * from PhotoObj'
    b'</textarea><input type="submit" value="Submit"></form></body></html>'
  )
  return Answer(200, "text/html; charset=utf-8", body)


def empty_result(asked, right):
  """A header without rows."""
  return right._replace(body=b"".join(_lines(right)[:2]))


def csv_dropped(asked, right):
  """The connection closes within a row, without the final chunk."""
  return right._replace(body=_cut(right), sent=0.98)


def csv_cut_mid_row(asked, right):
  """An HTTP/1.0 proxy closes within a row: it looks like the end."""
  return right._replace(body=_cut(right), framing="close")


def csv_cut_in_last_field(asked, right):
  """The same within the last number, so that the row has all its fields."""
  return right._replace(body=right.body[:-2], framing="close")


def csv_cut_at_row(asked, right):
  """Half of the rows, complete, in a complete answer."""
  lines = _lines(right)
  return right._replace(body=b"".join(lines[: 1 + len(lines) // 2]))


def mangled_ids(asked, right):
  """Ids as a spreadsheet exports them."""
  text = re.sub(
    r"\b\d{16,}\b", lambda found: f"{float(found[0]):.5E}", right.body.decode()
  )
  return right._replace(body=text.encode())


def _lines(right: Answer) -> list[bytes]:
  return right.body.splitlines(keepends=True)


def _cut(right: Answer) -> bytes:
  """Returns the first half of the CSV and half a row."""
  lines = _lines(right)
  middle = 2 + (len(lines) - 2) // 2
  return b"".join(lines[:middle]) + lines[middle][: len(lines[middle]) // 2]


# getjpeg.


def outside_footprint(asked, right):
  """404 outside the footprint, with an image of the message."""
  reason = "Requested (ra, dec) is outside the SDSS footprint."
  body = stand_in_sample.tile(reason)
  return Answer(404, "image/jpeg", body, reason=f"NOT FOUND. {reason}")


def outside_footprint_200(asked, right):
  """The same image with status 200, as from DR18 and before 2017."""
  return outside_footprint(asked, right)._replace(status=200, reason=None)


def black(asked, right):
  """A position that no frame covers, close to a frame's centre."""
  return right._replace(body=stand_in_sample.tile())


def part_black(share: float) -> Fault:
  """Part of the image is black, as at the edge of the footprint."""

  def fault(asked, right):
    image = _image(right)
    # Whole JPEG blocks: a partly black block contains no exact zeros.
    width = round(share * image.width / 8) * 8
    image.paste((0, 0, 0), (0, 0, width, image.height))
    return _encoded(right, image, quality=95, subsampling=0)

  return fault


def server_error_jpeg(asked, right):
  """getjpeg draws the message of an exception, with status 500."""
  message = "Timeout expired."
  return right._replace(
    status=500,
    body=stand_in_sample.tile(message),
    reason=f"INTERNAL SERVER ERROR. {message}",
  )


def no_end_marker(asked, right):
  """A JPEG without its last two bytes, which most decoders accept."""
  return right._replace(body=right.body[:-2])


def html_page(asked, right):
  """Some proxies answer 200 while the server is down."""
  body = b"<html><body><h1>Down for maintenance</h1></body></html>"
  return Answer(200, "text/html", body)


def no_cutouts(asked, right):
  """The answer of the legacy viewer while cutouts are switched off."""
  return Answer(200, "text/plain", b"No cutouts enabled")


def empty_body(asked, right):
  """Status 200 without a body."""
  return right._replace(body=b"")


def wrong_size(size: int) -> Fault:
  """The service clamps sizes to [64, 2048] silently."""
  return lambda asked, right: _encoded(
    right, _image(right).resize((size, size))
  )


def grayscale(asked, right):
  """A JPEG with one channel."""
  return _encoded(right, ImageOps.grayscale(_image(right)))


def cmyk(asked, right):
  """A JPEG with four channels."""
  return _encoded(right, _image(right).convert("CMYK"))


def png(asked, right):
  """A PNG with the content type of a JPEG."""
  return _encoded(right, _image(right), "PNG")


def progressive(asked, right):
  """A progressive JPEG, which is valid."""
  return _encoded(right, _image(right), progressive=True)


def _image(right: Answer) -> Image.Image:
  image = Image.open(io.BytesIO(right.body))
  image.load()
  return image


def _encoded(right: Answer, image: Image.Image, *args, **options) -> Answer:
  return right._replace(body=stand_in_sample.encoded(image, *args, **options))
