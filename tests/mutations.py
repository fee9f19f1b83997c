"""Damaged variants of valid files, for hypothesis."""

import re

from hypothesis import strategies as st

# Values that parsers stumble over, in CSV and JSON.
_TOKENS = (
  *(b"", b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"1e39", b"-99"),
  *(b"-1", b"0.5", b"1_0", b"9" * 30, b"9" * 5000, b"[]", b"{}", b'""'),
  *(b'"a"', b"[" * 3000, b'{"a":' * 3000, b'"\\ud800"', b"../../outside"),
  *(b"\0", b"\xff", b"\xef\xbb\xbf", b"\r", b"\n\n", b",", b'"', b"\xd9\xa1"),
)
_TOKEN = re.compile(rb'"[^"]*"|[\w.+-]+|\[[^\[\]]*\]|\{[^{}]*\}')


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
