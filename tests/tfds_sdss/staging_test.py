import dataclasses
import json

import pytest

from tfds_sdss import staging

ENTRY = staging.Entry(
  1237648704043942146, "http://host/a", status=200, sha256="0" * 64, zeros=0.25
)
SOURCE = {
  "source": "dr17",
  "limit": None,
  "report": {"rows": 3, "dropped": {"same_galaxy": 1}, "missing": {}},
}


def test_entries_are_read_as_written():
  failed = staging.Entry(5, "", "no_radius", permanent=True, detail="é")
  for entry in (ENTRY, failed):
    line = json.dumps(dataclasses.asdict(entry)).encode()
    assert staging.parse_entry(line) == entry


@pytest.mark.parametrize(
  "change",
  [
    *({"objid": v} for v in ("5", 5.0, True, None, 0, -1, 2**63, 10**400, [])),
    *({"url": v} for v in (None, 5, ["http://host"])),
    *({"reason": v} for v in (None, 5, ["black"])),
    *({"permanent": v} for v in (None, 1, "true")),
    *({"status": v} for v in ("200", 2.5, True)),
    *({"sha256": v} for v in (None, "", "0", "../" * 22, "Z" * 64, 5)),
    *({"zeros": v} for v in (float("nan"), float("inf"), 2, -0.1, "0", True)),
    *({"detail": v} for v in (None, 5)),
    {"reason": "black"},  # with a digest
    {"more": 1},
  ],
)
def test_entries_with_other_values_are_refused(tmp_path, change):
  line = json.dumps(dataclasses.asdict(ENTRY) | change)
  with pytest.raises(ValueError):
    staging.parse_entry(line.encode())
  folder = staging.Staging(tmp_path)
  folder.manifest_path.write_text(line + "\n")
  with pytest.raises(staging.StagingError, match="line 1: expected an entry"):
    folder.read_manifest()


@pytest.mark.parametrize(
  "line", [b"", b"null", b"5", b"[]", b"{}", b"\xff", b"[" * 100_000, b"{"]
)
def test_lines_that_are_no_entry_are_refused(line):
  with pytest.raises(ValueError):
    staging.parse_entry(line)


def test_source_is_read_as_written(tmp_path):
  folder = staging.Staging(tmp_path)
  folder.write_source(SOURCE)
  assert folder.read_source() == SOURCE
  folder.write_source({"source": "demo500", "base_url": "http://host"})
  assert folder.read_source()["source"] == "demo500"


@pytest.mark.parametrize(
  "change",
  [
    {"source": 5},
    {"source": None},
    {"limit": "5"},
    {"limit": 2.5},
    {"report": []},
    {"report": None},
    {"report": {"rows": "3"}},
    {"report": {"rows": -1}},
    {"report": {"rows": 3, "dropped": [1]}},
    {"report": {"rows": 3, "dropped": {"black": "1"}}},
    {"report": {"rows": 3, "missing": {"z": None}}},
  ],
)
def test_sources_with_other_values_are_refused(tmp_path, change):
  folder = staging.Staging(tmp_path)
  folder.source_path.write_text(json.dumps(SOURCE | change))
  with pytest.raises(staging.StagingError, match=r"source\.json is damaged"):
    folder.read_source()


@pytest.mark.parametrize(
  "data", [b"", b"5", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"source"']
)
def test_files_that_are_no_source_are_refused(tmp_path, data):
  folder = staging.Staging(tmp_path)
  folder.source_path.write_bytes(data)
  with pytest.raises(staging.StagingError, match=r"source\.json is damaged"):
    folder.read_source()
