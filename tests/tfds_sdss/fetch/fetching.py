"""Fetches from the stand-in server, and checks of the staging folder."""

import collections
import dataclasses
import json
import pathlib

import pandas as pd

from tfds_sdss import staging
from tfds_sdss.fetch import fetch
from tfds_sdss.fetch import http_client
from tfds_sdss.fetch.request import Outcome
from tfds_sdss.fetch.request import Request

LIMITS = http_client.Limits(
  attempts=3, backoff=0.01, longest_wait=2.0, throttle=0.05
)
# For servers that stall.
IMPATIENT = dataclasses.replace(
  LIMITS, connect=0.5, read=0.3, total=0.6, query_total=0.6, file_total=0.6
)


def request(out: pathlib.Path, server, **changes) -> Request:
  """Returns a request to the stand-in without an effective rate limit."""
  options = {"source": "dr17", "base_url": server.base_url, "rate": 2000.0}
  options |= {"limits": LIMITS}
  return Request(out=out, **(options | changes))


def run(out: pathlib.Path, server, **changes) -> Outcome:
  """Fetches from the stand-in."""
  return fetch.fetch(request(out, server, **changes))


def check(out: pathlib.Path, images) -> staging.Staging:
  """Checks that a folder is consistent, and returns it.

  Every galaxy has an entry. An image file exists if and only if its entry
  records one, and equals the result of `images`. There are no partial files.
  """
  folder = staging.Staging(out)
  frame = folder.read_catalog()
  entries = folder.read_manifest()
  assert set(frame.objid) <= set(entries)
  for objid in frame.objid.tolist():
    path = folder.image_path(objid)
    if entries[objid].is_image:
      assert path.read_bytes() == images(objid)
      assert folder.has_image(entries[objid])
    else:
      assert not path.exists()
  assert not list(out.rglob("*.part"))
  failed = pd.read_csv(folder.failed_path, dtype={"objid": "int64"})
  lost = {e.objid: e.reason for e in entries.values() if not e.is_image}
  expected = {objid: lost[objid] for objid in frame.objid if objid in lost}
  assert dict(zip(failed.objid, failed.reason, strict=True)) == expected
  return folder


def lines(out: pathlib.Path) -> collections.Counter:
  """Returns the number of lines in the manifest for each objid."""
  text = (out / "manifest.jsonl").read_text()
  return collections.Counter(
    json.loads(line)["objid"] for line in text.splitlines()
  )


def image_requests(server) -> int:
  """Returns the number of requests for images."""
  return sum("getjpeg" in sent.path for sent in server.requests)
