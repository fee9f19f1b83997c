"""Interrupted and resumed fetches."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from tests.tfds_sdss.fetch import fetching
from tests.tfds_sdss.fetch import stand_in
from tests.tfds_sdss.fetch import stand_in_connections as connections
from tests.tfds_sdss.fetch import stand_in_faults as faults
from tests.tfds_sdss.fetch.stand_in_http import Response
from tfds_sdss import signals
from tfds_sdss import staging
from tfds_sdss.fetch import fetch
from tfds_sdss.fetch import http_responses

pytestmark = pytest.mark.faults("a fetch is killed, or its disk is full")

REPOSITORY = pathlib.Path(__file__).parents[3]
FRAME = stand_in.frame_of(40)
OBJIDS = FRAME.objid.tolist()


SCRIPT = """if True:
  import pathlib, resource, sys
  from tests.tfds_sdss.fetch import fetching
  if len(sys.argv) > 3:
    limit = int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
  class server: base_url = sys.argv[2]
  try:
    fetching.run(pathlib.Path(sys.argv[1]), server)
  except OSError as error:
    sys.exit(f"error: {error}")
"""


def start(tmp_path, server, *more):
  return subprocess.Popen(
    [sys.executable, "-c", SCRIPT, tmp_path, server.base_url, *more],
    cwd=REPOSITORY,
    stderr=subprocess.PIPE,
    text=True,
  )


def test_killed_fetch_resumes(tmp_path, server):
  server.delay = 0.02
  for number in (3, 25):
    process = start(tmp_path, server)
    while fetching.image_requests(server) < number:
      assert process.poll() is None
      time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
  fetching.run(tmp_path, server)
  fetching.check(tmp_path, stand_in.jpeg_of)
  assert set(fetching.lines(tmp_path).values()) == {1}
  # A killed run loses at most its requests in flight.
  assert fetching.image_requests(server) <= 40 + 2 * (4 + 1)


def test_truncated_manifest_line_is_fetched_again(tmp_path, server):
  fetching.run(tmp_path, server)
  path = tmp_path / "manifest.jsonl"
  path.write_bytes(path.read_bytes()[:-30])
  fetching.run(tmp_path, server)
  fetching.check(tmp_path, stand_in.jpeg_of)
  assert set(fetching.lines(tmp_path).values()) == {1}
  assert fetching.image_requests(server) == 41


def test_damaged_manifest_is_an_error(tmp_path, server):
  fetching.run(tmp_path, server)
  path = tmp_path / "manifest.jsonl"
  path.write_text("{}\n" + path.read_text())
  with pytest.raises(staging.StagingError, match="line 1: expected an entry"):
    fetching.run(tmp_path, server)


@pytest.mark.parametrize("place", ["catalogue", "manifest"])
def test_fetch_resumes_after_a_full_disk(tmp_path, server, place):
  # A file size limit fails in the same system call as a full disk.
  limit = 4_000
  if place == "manifest":
    server.image_faults.update(
      {objid: [connections.unavailable()] * 3 for objid in OBJIDS}
    )
    with pytest.raises(http_responses.FetchError):
      fetching.run(tmp_path, server)
    server.image_faults.clear()
    limit = (tmp_path / "manifest.jsonl").stat().st_size + 1_000
  process = start(tmp_path, server, str(limit))
  _, stderr = process.communicate(timeout=30)
  assert process.returncode == 1
  assert "File too large" in stderr.splitlines()[-1]
  assert (place == "catalogue") == (not list(tmp_path.glob("images/*")))
  fetching.run(tmp_path, server)
  fetching.check(tmp_path, stand_in.jpeg_of)


def test_unavailable_service_stops_the_run(tmp_path, server):
  fetching.run(tmp_path, server, limit=2)
  server.image_faults.update(
    {objid: [connections.unavailable()] * 9 for objid in OBJIDS}
  )
  with pytest.raises(http_responses.FetchError, match="20 galaxies in a row"):
    fetching.run(tmp_path, server)
  failed = pd.read_csv(tmp_path / "failed.csv")
  assert len(failed) >= 20
  assert set(failed.reason) == {"http_503"}
  server.image_faults.clear()
  assert fetching.run(tmp_path, server).images == 40
  fetching.check(tmp_path, stand_in.jpeg_of)


@pytest.mark.parametrize("status", [403, 404])
def test_refusal_of_all_requests_is_not_permanent(tmp_path, server, status):
  def refuse(request, response):
    return Response(status, "text/html", b"<html>Not here</html>")

  server.image_faults.update({objid: [refuse] * 9 for objid in OBJIDS})
  with pytest.raises(http_responses.FetchError, match=f"{status}.*--base_url"):
    fetching.run(tmp_path, server)
  server.image_faults.clear()
  assert fetching.run(tmp_path, server).images == 40


@pytest.mark.parametrize("is_interrupted", [False, True])
def test_same_picture_again_and_again_stops_the_run(
  tmp_path, server, is_interrupted
):
  victims = sorted(OBJIDS)
  if is_interrupted:  # by images, so that fewer failures are in a row
    del victims[::3]
  server.image_faults.update({o: [faults.placeholder] * 9 for o in victims})
  message = "same picture.*--base_url" if is_interrupted else "--base_url"
  with pytest.raises(http_responses.FetchError, match=message):
    fetching.run(tmp_path / "staging", server, connections=1)
  assert fetching.image_requests(server) < 40 + 25 * 3
  lost = pd.read_csv(tmp_path / "staging" / "failed.csv")
  assert set(lost.reason) == {"same_image"}
  server.image_faults.clear()
  assert fetching.run(tmp_path / "staging", server).images == 40
  fetching.check(tmp_path / "staging", stand_in.jpeg_of)


@pytest.mark.usefixtures("signals_arrive")
@pytest.mark.parametrize("number", signals.SIGNALS)
def test_signal_keeps_finished_images(tmp_path, server, number):
  outside = sorted(OBJIDS)[3]

  def stop(request, response):
    os.kill(os.getpid(), number)
    return connections.unavailable()(request, response)

  server.image_faults[outside] = [faults.outside_footprint]
  server.image_faults[sorted(OBJIDS)[20]] = [stop]
  with pytest.raises(signals.Stopped), signals.handled():
    fetching.run(tmp_path, server, connections=1)
  assert len(fetching.lines(tmp_path)) == 20
  failed = pd.read_csv(tmp_path / "failed.csv")
  assert failed.objid.tolist() == [outside]
  fetching.run(tmp_path, server, connections=1)
  assert set(fetching.lines(tmp_path).values()) == {1}


@pytest.mark.usefixtures("signals_arrive")
def test_interrupt_of_a_program_with_its_own_handlers(tmp_path, server):
  def interrupt(request, response):
    os.kill(os.getpid(), signal.SIGINT)
    return connections.unavailable()(request, response)

  server.image_faults[sorted(OBJIDS)[20]] = [interrupt]
  with pytest.raises(KeyboardInterrupt):
    fetch.fetch(fetching.request(tmp_path, server, connections=1))
  assert len(fetching.lines(tmp_path)) == 20
