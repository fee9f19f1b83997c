"""Damaged variants of valid files, and their trial."""

import datetime
import json
import os
import re
import warnings

import hypothesis
from hypothesis import strategies as st

from galmet_jax import errors
from tfds_sdss import build
from tfds_sdss.errors import DataError

# The errors that main.py and `python -m tfds_sdss` print on one line.
OWN_ERRORS = (DataError, errors.ConfigError, build.DatasetNotBuiltError)
CASES = int(os.environ.get("FUZZ_CASES", "30"))

# Values that parsers stumble over, in CSV and JSON.
_TOKENS = (
  *(b"", b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"1e39", b"-99"),
  *(b"-1", b"0.5", b"1_0", b"9" * 30, b"9" * 5000, b"[]", b"{}", b'""'),
  *(b'"a"', b"[" * 3000, b'{"a":' * 3000, b'"\\ud800"', b"../../outside"),
  *(b"\0", b"\xff", b"\xef\xbb\xbf", b"\r", b"\n\n", b",", b'"', b"\xd9\xa1"),
)
_TOKEN = re.compile(rb'"[^"]*"|[\w.+-]+|\[[^\[\]]*\]|\{[^{}]*\}')


def fuzz(parse, *valid, path=None, own_errors=OWN_ERRORS):
  """Parses the valid files, then damaged ones.

  Args:
    parse: called with the bytes.
    *valid: contents, each accepted by `parse`.
    path: file to write before each call.
    own_errors: errors that `parse` may raise.
  """

  def run(data):
    if path:
      path.write_bytes(data)
    return parse(data)

  for data in valid:
    run(data)
  refused = []

  @hypothesis.settings(
    max_examples=CASES,
    # Reproducible unless `make fuzz` asks for many cases.
    derandomize="FUZZ_CASES" not in os.environ,
    database=None,
    # Finds a hang without failing on a busy machine.
    deadline=datetime.timedelta(seconds=60),
    suppress_health_check=list(hypothesis.HealthCheck),
  )
  @hypothesis.given(damaged(*valid))
  def check(data):
    try:
      run(data)
    except own_errors as error:
      refused.append(error)

  with warnings.catch_warnings():
    # A failing case may be a long file.
    warnings.filterwarnings("ignore", "Generating overly large repr")
    check()
  assert refused
  assert all(map(str, refused))


def json_object(data: bytes) -> dict:
  """Parses JSON that `files.write_json` accepts; DataError for any other."""
  try:
    content = json.loads(data)
    json.dumps(content, allow_nan=False)
  except (ValueError, RecursionError) as error:
    raise DataError(f"no JSON: {error}") from error
  if not isinstance(content, dict):
    raise DataError("no object")
  return content


def damaged(*valid: bytes) -> st.SearchStrategy[bytes]:
  """Returns variants of the valid files, and random bytes."""
  return st.one_of(st.binary(max_size=200), *map(_mutated, valid))


@st.composite
def _mutated(draw: st.DrawFn, data: bytes) -> bytes:
  for _ in range(draw(st.integers(1, 3))):
    mutate = draw(st.sampled_from((_cut, _flip, _insert, _replace, _repeat)))
    data = mutate(draw, data)
  return data


def _position(draw: st.DrawFn, data: bytes) -> int:
  return draw(st.integers(0, max(len(data) - 1, 0)))


def _cut(draw: st.DrawFn, data: bytes) -> bytes:
  start, stop = sorted((_position(draw, data), _position(draw, data)))
  return data[:start] if draw(st.booleans()) else data[:start] + data[stop:]


def _flip(draw: st.DrawFn, data: bytes) -> bytes:
  changed = bytearray(data)
  if changed:
    changed[_position(draw, data)] ^= draw(st.integers(1, 255))
  return bytes(changed)


def _insert(draw: st.DrawFn, data: bytes) -> bytes:
  position = _position(draw, data)
  return data[:position] + draw(st.sampled_from(_TOKENS)) + data[position:]


def _replace(draw: st.DrawFn, data: bytes) -> bytes:
  found = list(_TOKEN.finditer(data))
  if not found:
    return data
  match = found[draw(st.integers(0, len(found) - 1))]
  token = draw(st.sampled_from(_TOKENS))
  return data[: match.start()] + token + data[match.end() :]


def _repeat(draw: st.DrawFn, data: bytes) -> bytes:
  start, stop = sorted((_position(draw, data), _position(draw, data)))
  return data[:stop] + data[start:stop] + data[stop:]
