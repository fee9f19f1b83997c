"""Faults of the real services, one function each.

A fault takes the request and the correct response, and returns the response to
send. Functions with other parameters return such a fault.
"""

from __future__ import annotations

import io
import json
import re

from PIL import Image
from PIL import ImageOps

from tests.tfds_sdss.fetch import stand_in_sample
from tests.tfds_sdss.fetch.stand_in_http import Fault
from tests.tfds_sdss.fetch.stand_in_http import Response

# SqlSearch.


def bad_sql(request, response):
  """SQL Server reports errors as JSON with status 500, even for CSV."""
  return _json_error("Invalid column name 'x'.")


def database_timeout(request, response):
  """A query of more than 600 s fails like an invalid one."""
  return _json_error(
    "Execution Timeout Expired.  The timeout period elapsed prior to "
    "completion of the operation or the server is not responding."
  )


def _json_error(message: str) -> Response:
  body = {
    "ErrorCode": 500,
    "ErrorType": "InternalServerError",
    "ErrorMessage": message,
  }
  kind = "application/json; charset=utf-8"
  return Response(500, kind, json.dumps(body).encode())


def not_select(request, response):
  """spExecuteSQL rejects a statement with a one-column table and status 200."""
  return _message(request, "error: must be a select statement: ")


def row_limit(request, response):
  """A TOP above the limit is rejected like not_select."""
  return _message(request, "error: limit is  top 500000 ")


def throttled(request, response):
  """More than 60 queries per minute are rejected like not_select."""
  return _message(
    request, "ERROR: Maximum 60 queries allowed per minute. Rejected query: "
  )


def _message(request, message: str) -> Response:
  # Quoted, because the statement contains commas.
  body = f'#Table1\nerror_message\n"{message}{request.query["cmd"]}"\n'
  return Response(200, "text/plain", body.encode(), framing="chunked")


def html_error(request, response):
  """SkyServer's error page has status 200 and the reason of the exception."""
  body = (
    b"<html><head><title>Skyserver Error</title></head><body bgcolor=white>"
    b"<h2>An error occured</h2><H3 BGCOLOR=pink><font color=red>Timeout "
    b"expired.<br><br></font></H3></BODY></HTML>"
  )
  return Response(200, "text/html", body, reason="InternalServerError")


def html_unavailable(request, response):
  """The proxy of SkyServer returns 503 if no server is available."""
  body = (
    b"<html><body><h1>503 Service Unavailable</h1>\n"
    b"No server is available to handle this request.\n</body></html>\n"
  )
  return Response(503, "text/html", body, framing="close")


def html_search_form(request, response):
  """The old address shows the search form after a move, as for DR18."""
  body = (
    b"<!DOCTYPE html>\n<html><head><title>SQL Search</title></head><body>"
    b'<form method="post"><textarea name="cmd">select top 10 * from PhotoObj'
    b'</textarea><input type="submit" value="Submit"></form></body></html>'
  )
  return Response(200, "text/html; charset=utf-8", body)


def empty_result(request, response):
  """The response has a header and no rows."""
  return response._replace(body=b"".join(_lines(response)[:2]))


def csv_dropped(request, response):
  """The connection closes within a row, without the final chunk."""
  return response._replace(body=_cut(response), sent=0.98)


def csv_cut_mid_row(request, response):
  """An HTTP/1.0 proxy closes within a row, which looks like a normal end."""
  return response._replace(body=_cut(response), framing="close")


def csv_cut_in_last_field(request, response):
  """An HTTP/1.0 proxy closes within the last field of a row."""
  return response._replace(body=response.body[:-2], framing="close")


def csv_cut_at_row(request, response):
  """The response is complete but has half of the rows."""
  lines = _lines(response)
  return response._replace(body=b"".join(lines[: 1 + len(lines) // 2]))


def not_sorted(request, response):
  """A server that ignores ORDER BY."""
  head, first, *others = _lines(response)
  rows = [*others[1:], others[0]]
  return response._replace(body=b"".join([head, first, *rows]))


def repeated_row(request, response):
  """A join that gives one row twice."""
  lines = _lines(response)
  return response._replace(body=b"".join([*lines[:4], *lines[3:-1]]))


def mangled_ids(request, response):
  """The ids are floats, as exported by a spreadsheet."""
  text = re.sub(
    r"\b\d{16,}\b",
    lambda found: f"{float(found[0]):.5E}",
    response.body.decode(),
  )
  return response._replace(body=text.encode())


def _lines(response: Response) -> list[bytes]:
  return response.body.splitlines(keepends=True)


def _cut(response: Response) -> bytes:
  """Returns the first half of the CSV and half a row."""
  lines = _lines(response)
  middle = 2 + (len(lines) - 2) // 2
  return b"".join(lines[:middle]) + lines[middle][: len(lines[middle]) // 2]


# getjpeg.


def outside_footprint(request, response):
  """404 outside the footprint, with the message drawn in an image."""
  reason = "Requested (ra, dec) is outside the SDSS footprint."
  body = stand_in_sample.tile(reason)
  return Response(404, "image/jpeg", body, reason=f"NOT FOUND. {reason}")


def outside_footprint_200(request, response):
  """The same image with status 200, as from DR18 and before 2017."""
  return outside_footprint(request, response)._replace(status=200, reason=None)


def black(request, response):
  """The image is black at a position that no frame covers."""
  return response._replace(body=stand_in_sample.tile())


def part_black(share: float) -> Fault:
  """Part of the image is black, as at the edge of the footprint."""

  def fault(request, response):
    image = _image(response)
    # Whole JPEG blocks: a partly black block contains no exact zeros.
    width = round(share * image.width / 8) * 8
    image.paste((0, 0, 0), (0, 0, width, image.height))
    return _encoded(response, image, quality=95, subsampling=0)

  return fault


def placeholder(request, response):
  """The same picture for every galaxy, as while the images are not mounted."""
  return response._replace(body=stand_in_sample.jpeg_of(0))


def plain(colour: tuple[int, int, int], text: str = "") -> Fault:
  """A tile of one colour, with or without a text."""

  def fault(request, response):
    tile = stand_in_sample.tile(text, colour)
    return response._replace(body=tile)

  return fault


def server_error_jpeg(request, response):
  """getjpeg draws the message of an exception, with status 500."""
  message = "Timeout expired."
  return response._replace(
    status=500,
    body=stand_in_sample.tile(message),
    reason=f"INTERNAL SERVER ERROR. {message}",
  )


def no_end_marker(request, response):
  """A JPEG without its last two bytes, which most decoders accept."""
  return response._replace(body=response.body[:-2])


def html_page(request, response):
  """Some proxies return a page with status 200 while the server is down."""
  body = b"<html><body><h1>Down for maintenance</h1></body></html>"
  return Response(200, "text/html", body)


def no_cutouts(request, response):
  """The legacy viewer returns this text while cutouts are disabled."""
  return Response(200, "text/plain", b"No cutouts enabled")


def empty_body(request, response):
  """Status 200 without a body."""
  return response._replace(body=b"")


def wrong_size(size: int) -> Fault:
  """The service silently clamps sizes to [64, 2048]."""
  return lambda request, response: _encoded(
    response, _image(response).resize((size, size))
  )


def grayscale(request, response):
  """A JPEG with one channel."""
  return _encoded(response, ImageOps.grayscale(_image(response)))


def cmyk(request, response):
  """A JPEG with four channels."""
  return _encoded(response, _image(response).convert("CMYK"))


def png(request, response):
  """A PNG with the content type of a JPEG."""
  return _encoded(response, _image(response), "PNG")


def progressive(request, response):
  """A progressive JPEG, which is valid."""
  return _encoded(response, _image(response), progressive=True)


def _image(response: Response) -> Image.Image:
  image = Image.open(io.BytesIO(response.body))
  image.load()
  return image


def _encoded(
  response: Response, image: Image.Image, *args, **options
) -> Response:
  return response._replace(
    body=stand_in_sample.encoded(image, *args, **options)
  )
