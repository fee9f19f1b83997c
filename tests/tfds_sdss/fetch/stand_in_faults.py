"""What can be wrong with an answer; each fault copies a real behaviour.

A fault is called with the Handler of a request and sends the answer. What
takes a parameter, such as the seconds to wait, returns a fault.
"""

from __future__ import annotations

import io
import itertools

from PIL import Image
from PIL import ImageOps

from tests.tfds_sdss.fetch import stand_in
from tests.tfds_sdss.fetch import stand_in_connections
from tests.tfds_sdss.fetch import stand_in_http
from tests.tfds_sdss.fetch import stand_in_sample
from tests.tfds_sdss.fetch import stand_in_sql

# All faults have their name in this module.
awkward_rows = stand_in_sample.awkward_rows
mangled_csv = stand_in_sample.mangled_csv
closed_port = stand_in_connections.closed_port
drip = stand_in_connections.drip
drip_headers = stand_in_connections.drip_headers
redirect = stand_in_connections.redirect
redirect_loop = stand_in_connections.redirect_loop
redirect_to_dead_https = stand_in_connections.redirect_to_dead_https
reset = stand_in_connections.reset
self_signed_tls = stand_in_connections.self_signed_tls
short_body = stand_in_connections.short_body
short_body_closed = stand_in_connections.short_body_closed
stall = stand_in_connections.stall
too_many = stand_in_connections.too_many
unavailable = stand_in_connections.unavailable

Fault = stand_in_http.Fault
Handler = stand_in_http.Handler


def bad_sql(handler: Handler) -> None:
  """SQL Server's errors are a 500 with JSON although CSV was asked for."""
  handler.answer(*stand_in_sql.json_error(500, "Invalid column name 'x'."))


def database_timeout(handler: Handler) -> None:
  """A query that takes more than 600 s ends like a wrong one."""
  message = (
    "Execution Timeout Expired.  The timeout period elapsed prior to "
    "completion of the operation or the server is not responding."
  )
  handler.answer(*stand_in_sql.json_error(500, message))


def not_select(handler: Handler) -> None:
  """spExecuteSQL refuses with a table of one column and status 200."""
  _message(handler, "error: must be a select statement: ")


def row_limit(handler: Handler) -> None:
  """A TOP above the limit is refused in the same way."""
  _message(handler, "error: limit is  top 500000 ")


def throttled(handler: Handler) -> None:
  """So is a query beyond the 60 allowed in a minute."""
  _message(
    handler,
    "ERROR: Maximum 60 queries allowed per minute. Rejected query: ",
  )


def _message(handler: Handler, message: str) -> None:
  command = handler.asked.query.get("cmd", "")
  handler.answer(*stand_in_sql.message_table(message + command))


def html_error(handler: Handler) -> None:
  """SkyServer's page for errors comes with status 200."""
  body = (
    "<html><head><title>Skyserver Error</title></head><body bgcolor=white>"
    "<h2>An error occured</h2><H3 BGCOLOR=pink><font color=red>Timeout "
    "expired.<br><br></font></H3></BODY></HTML>"
  )
  # Its phrase is the exception's, at odds with the status.
  handler.answer(
    200,
    "text/html; charset=utf-8",
    body.encode(),
    reason="InternalServerError",
  )


def html_unavailable(handler: Handler) -> None:
  """The proxy in front of SkyServer has no server to ask."""
  body = (
    b"<html><body><h1>503 Service Unavailable</h1>\n"
    b"No server is available to handle this request.\n</body></html>\n"
  )
  handler.answer(503, "text/html", body, {"Connection": "close"})


def html_search_form(handler: Handler) -> None:
  """After a move, as with DR18, the old address shows the search form."""
  body = (
    "<!DOCTYPE html>\n<html><head><title>SQL Search</title></head><body>"
    '<form method="post"><textarea name="cmd">select top 10 * from PhotoObj'
    '</textarea><input type="submit" value="Submit"></form></body></html>'
  )
  handler.answer(200, "text/html; charset=utf-8", body.encode())


def empty_result(handler: Handler) -> None:
  """No rows are a header alone."""
  handler.answer(200, "text/plain", b"".join(_lines(handler)[:2]), chunked=True)


def csv_dropped(handler: Handler) -> None:
  """The connection ends within a row, without the final chunk."""
  handler.start(200, "text/plain", {"Transfer-Encoding": "chunked"})
  handler.write_chunk(_cut(handler))
  handler.close_connection = True


def csv_cut_mid_row(handler: Handler) -> None:
  """A proxy speaks HTTP/1.0: a cut within a row looks like the end."""
  stand_in_connections.until_close(handler, "text/plain", _cut(handler))


def csv_cut_in_last_field(handler: Handler) -> None:
  """The same in the last number of a row, which has all its fields."""
  stand_in_connections.until_close(
    handler, "text/plain", b"".join(_lines(handler))[:-2]
  )


def csv_cut_at_row(handler: Handler) -> None:
  """Half of the rows, each whole, in a whole answer."""
  lines = _lines(handler)
  body = b"".join(lines[: 2 + (len(lines) - 2) // 2])
  handler.answer(200, "text/plain", body, chunked=True)


def mangled_ids(handler: Handler) -> None:
  """Ids as a spreadsheet leaves them, and as a real file has them."""
  text = stand_in_sample.mangled(b"".join(_lines(handler)).decode())
  handler.answer(200, "text/plain", text.encode(), chunked=True)


def _lines(handler: Handler) -> list[bytes]:
  return handler.normal()[1].splitlines(keepends=True)


def _cut(handler: Handler) -> bytes:
  *rows, cut = (lines := _lines(handler))[: 3 + (len(lines) - 2) // 2]
  return b"".join(rows) + cut[: len(cut) // 2]


def outside_footprint(handler: Handler) -> None:
  """Outside the footprint: 404 with a phrase, and an image all the same."""
  handler.answer(*stand_in.outside(*_size(handler)))


def outside_footprint_200(handler: Handler) -> None:
  """The same image as a success, as seen with DR18 and before 2017."""
  handler.answer(*stand_in.outside(*_size(handler), status=200))


def black(handler: Handler) -> None:
  """A frame's centre is near, but the position is not covered."""
  handler.answer(200, "image/jpeg", stand_in_sample.tile(*_size(handler)))


def part_black(share: float) -> Fault:
  """At the edge of the footprint a part of the image stays black."""

  def fault(handler: Handler) -> None:
    image = _image(handler)
    # In blocks of a JPEG: one that is partly black is nowhere exactly 0.
    width = round(share * image.width / 8) * 8
    image.paste((0, 0, 0), (0, 0, width, image.height))
    _send(handler, image, quality=95, subsampling=0)

  return fault


def server_error_jpeg(handler: Handler) -> None:
  """Of an exception getjpeg draws the text, with status 500."""
  message = "Timeout expired."
  handler.answer(
    500,
    "image/jpeg",
    stand_in_sample.tile(*_size(handler), message),
    reason=f"INTERNAL SERVER ERROR. {message}",
  )


def no_end_marker(handler: Handler) -> None:
  """A JPEG without its last two bytes, which most decoders accept."""
  content_type, body = handler.normal()
  handler.answer(200, content_type, body[:-2])


def html_page(handler: Handler) -> None:
  """Some proxies answer for a server that is down, with 200."""
  body = b"<html><body><h1>Down for maintenance</h1></body></html>"
  handler.answer(200, "text/html", body)


def no_cutouts(handler: Handler) -> None:
  """What the legacy viewer says while cutouts are switched off."""
  handler.answer(200, "text/plain", b"No cutouts enabled")


def empty_body(handler: Handler) -> None:
  """A success without a byte."""
  handler.answer(200, "image/jpeg", b"")


def wrong_size(size: int) -> Fault:
  """Sizes are clamped to [64, 2048] without a word."""

  def fault(handler: Handler) -> None:
    _send(handler, _image(handler).resize((size, size)))

  return fault


def grayscale(handler: Handler) -> None:
  """A JPEG of one channel."""
  _send(handler, ImageOps.grayscale(_image(handler)))


def cmyk(handler: Handler) -> None:
  """A JPEG of four channels."""
  _send(handler, _image(handler).convert("CMYK"))


def png(handler: Handler) -> None:
  """Another format under the same content type."""
  _send(handler, _image(handler), "PNG")


def progressive(handler: Handler) -> None:
  """A progressive JPEG, which is valid."""
  _send(handler, _image(handler), progressive=True)


def _size(handler: Handler) -> tuple[int, int]:
  return _image(handler).size


def _image(handler: Handler) -> Image.Image:
  image = Image.open(io.BytesIO(handler.normal()[1]))
  image.load()
  return image


def _send(
  handler: Handler, image: Image.Image, kind: str = "JPEG", **options
) -> None:
  body = stand_in_sample.encoded(image, kind, **options)
  handler.answer(200, "image/jpeg", body)


def permanent(n: int) -> list[Fault]:
  """Returns n faults after which asking again is pointless, all kinds."""
  kinds = (outside_footprint, outside_footprint_200, black, part_black(0.6))
  return list(itertools.islice(itertools.cycle(kinds), n))


def transient(n: int) -> list[Fault]:
  """Returns n faults of a cutout that may work the next time, all kinds."""
  kinds = (unavailable(), server_error_jpeg, short_body, html_page, reset)
  return list(itertools.islice(itertools.cycle(kinds), n))
