"""Matches sky positions with the galaxies of SDSS, by SqlSearch.

A file keeps the matches, so that no position is asked for twice. Data releases
do not change: that a position has no galaxy is kept as well.
"""

from __future__ import annotations

from collections.abc import Mapping
import json
import logging
import math
import pathlib
import typing
from typing import Any
from typing import NamedTuple

from astropy import coordinates
import numpy as np
import pandas as pd

from tfds_sdss import catalog
from tfds_sdss import files
from tfds_sdss import staging
from tfds_sdss.errors import DataError
from tfds_sdss.fetch import http_client
from tfds_sdss.fetch import http_responses
from tfds_sdss.fetch import rate_limit
from tfds_sdss.fetch import skyserver

# Largest distance from a position to its galaxy, arcsec.
RADIUS = 3.0
_TOLERANCE = 0.01  # of the separation, because positions are rounded, arcsec
# Positions per query: as many as the longest query string allows.
_BATCH = 60
# SkyServer refuses more than 60 queries per minute.
_QUERIES_PER_SECOND = 1.0
# After as many failed queries in a row the fault is the server's.
_MAX_IN_A_ROW = 3
# Reasons for which no other request would succeed.
NO_NETWORK = (http_responses.UNKNOWN_HOST, http_responses.NO_CONNECTION)

_log = logging.getLogger(__name__)

_COLUMNS = ["n", "objID", "ra", "dec", "petroR90_r"]
# OUTER APPLY gives a row for each position, so that a truncated result is
# noticed. SqlSearch accepts a second SELECT only after a parenthesis, which
# excludes UNION.
_SQL = (
  "select top 1000 P.n,A.objID,A.ra,A.dec,A.petroR90_r from (values {values})"
  "P(n,ra,dec) outer apply (select G.objID,G.ra,G.dec,G.petroR90_r"
  f" from dbo.fGetNearbyObjEq(P.ra,P.dec,{RADIUS / 60:g}) N"
  " join Galaxy G on G.objID=N.objID) A"
)


class Position(NamedTuple):
  """A position as sent to the server: degrees with seven decimals."""

  ra: str
  dec: str


class Match(NamedTuple):
  """The primary galaxy of SDSS that is nearest to a position.

  Attributes:
    objid: SDSS objID; 0 if there is no galaxy within RADIUS. The other values
      are then 0.
    ra: right ascension of the galaxy, degrees.
    dec: its declination, degrees.
    radius: its petroR90_r, arcsec; -9999 if it was not measured.
    separation: distance from the position, arcsec.
    candidates: number of galaxies within RADIUS; -1 if the query failed after
      all attempts.
  """

  objid: int = 0
  ra: float = 0.0
  dec: float = 0.0
  radius: float = 0.0
  separation: float = 0.0
  candidates: int = 0


_FAILED = Match(candidates=-1)
_TYPES = typing.get_type_hints(Match)


async def find(
  client: http_client.Client,
  service: skyserver.Service,
  path: pathlib.Path,
  rows: pd.DataFrame,
) -> pd.DataFrame:
  """Finds the nearest primary galaxy within RADIUS of each position.

  Args:
    client: client of the service.
    service: SkyServer and data release.
    path: file of matches; new ones are appended.
    rows: ra and dec, degrees.

  Returns:
    The fields of Match for each row, int64 or float64.

  Raises:
    StagingError: if a line of the file is not a match.
    FetchError: if the server cannot be reached, refuses the query, or does not
      answer several queries in a row; the matches so far are kept.
  """
  positions = [
    Position(f"{ra:.7f}", f"{dec:.7f}")
    for ra, dec in zip(rows.ra, rows.dec, strict=True)
  ]
  found = await _find(client, service, path, positions)
  values = [found.get(position, _FAILED) for position in positions]
  return pd.DataFrame(
    {
      # Not as rows: pandas would convert mixed rows, and the ids, to floats.
      name: np.array([match[number] for match in values], kind)
      for number, (name, kind) in enumerate(_TYPES.items())
    },
    rows.index,
  )


async def _find(
  client: http_client.Client,
  service: skyserver.Service,
  path: pathlib.Path,
  positions: list[Position],
) -> dict[Position, Match]:
  """Returns the matches; positions whose query failed are absent."""
  known = _read(path, service.release)
  found = {p: known[p] for p in positions if p in known}
  remaining = [p for p in dict.fromkeys(positions) if p not in known]
  if not remaining:
    return found
  _log.info("Matching %d positions by %s", len(remaining), service.base_url)
  rate = rate_limit.RateLimit(_QUERIES_PER_SECOND)
  failures = 0
  is_answered = False
  with files.open_lines(path) as append:
    for start in range(0, len(remaining), _BATCH):
      batch = remaining[start : start + _BATCH]
      await rate.wait()
      try:
        matches = await _query(client, service, batch)
      except http_responses.ResponseError as error:
        failures += 1
        is_lost = not is_answered and error.reason in NO_NETWORK
        is_refused = isinstance(error, http_responses.PermanentError)
        if is_lost or is_refused or failures >= _MAX_IN_A_ROW:
          raise http_responses.FetchError(
            f"the query to {service.base_url} failed: {error}. Check the "
            "network and run the same command again."
          ) from error
        continue
      failures = 0
      is_answered = True
      for position, match in zip(batch, matches, strict=True):
        append(_line(service.release, position, match))
        found[position] = match
  return found


async def _query(
  client: http_client.Client,
  service: skyserver.Service,
  batch: list[Position],
) -> list[Match]:
  throttle = client.limits.throttle
  return await client.get(
    service.query_url(sql(batch)),
    lambda response: _matches(
      batch, skyserver.parse_rows(response, _COLUMNS, throttle)
    ),
    client.limits.query_total,
  )


def sql(batch: list[Position]) -> str:
  """Returns the statement for the galaxies within RADIUS of the positions."""
  values = ",".join(f"({n},{p.ra},{p.dec})" for n, p in enumerate(batch))
  return _SQL.format(values=values)


def _matches(batch: list[Position], rows: list[dict[str, str]]) -> list[Match]:
  """Returns the match of each position; raises TransientError if rows lack."""
  candidates: list[list[Match]] = [[] for _ in batch]
  answered = set()
  for row in rows:
    try:
      number = int(row["n"])
      position = batch[number]
      answered.add(number)
      if row["objID"]:
        candidates[number].append(_candidate(position, row))
    except (DataError, ValueError, IndexError) as error:
      raise http_responses.TransientError(
        "not_csv", f"expected a galaxy, found {row}: {error}", 200
      ) from error
  if len(answered) < len(batch):
    raise http_responses.TransientError(
      "cut_short",
      f"expected rows of {len(batch)} positions, found {len(answered)}",
    )
  return [
    min(near, key=lambda match: (match.separation, match.objid))._replace(
      candidates=len(near)
    )
    if near
    else Match()
    for near in candidates
  ]


def _candidate(position: Position, row: Mapping[str, str]) -> Match:
  ra, dec = (catalog.parse_number(row[name]) for name in ("ra", "dec"))
  radius = catalog.parse_number(row["petroR90_r"])
  separation = float(
    np.rad2deg(
      coordinates.angular_separation(
        *np.deg2rad([float(position.ra), float(position.dec), ra, dec])
      )
    )
    * 3600
  )
  if not separation <= RADIUS + _TOLERANCE:  # True for NaN, too
    raise ValueError(
      f"expected a distance of at most {RADIUS:g} arcsec, found "
      f"{separation:.3g}"
    )
  return Match(
    catalog.parse_objid(row["objID"]),
    ra,
    dec,
    -9999.0 if math.isnan(radius) else radius,
    separation,
  )


def _line(release: str, position: Position, match: Match) -> bytes:
  """Returns a match as a line of the file, with a digest of the rest."""
  content: dict[str, Any] = {
    "release": release,
    "position": list(position),
    "match": list(match),
  }
  return json.dumps(content | {"sha256": files.digest(content)}).encode()


def _read(path: pathlib.Path, release: str) -> dict[Position, Match]:
  """Returns the matches of a data release in the file."""
  matches = {}
  for number, line in enumerate(files.read_lines(path), start=1):
    try:
      content = json.loads(line)
      if content.pop("sha256") != files.digest(content):
        raise ValueError("it does not have its SHA-256")
    # RecursionError: thousands of nested brackets.
    except (ValueError, KeyError, TypeError, RecursionError) as error:
      raise staging.StagingError(
        f"{path}, line {number}: expected a match, found {line[:60]!r} "
        f"({error}). Delete that line and run the same command again."
      ) from None
    if content["release"] == release:
      matches[Position(*content["position"])] = Match(*content["match"])
  return matches
