"""Zenodo's record and catalogue, without a server."""

import json

import pytest

from tests.tfds_sdss.fetch import stand_in
from tests.tfds_sdss.fetch import zenodo_files
from tfds_sdss.errors import DataError
from tfds_sdss.fetch import zenodo

FRAME = stand_in.frame_of(10)
ITEM = {
  "key": "x",
  "size": 5,
  "checksum": f"md5:{'0' * 32}",
  "links": {"self": "https://zenodo.org/x"},
}


@pytest.mark.parametrize(
  "change",
  [
    {"size": -1},
    {"size": 0},
    {"size": 10**400},
    {"size": 1.5},
    {"size": "5"},
    {"size": True},
    {"size": None},
    {"key": 5},
    {"key": ["x"]},
    {"checksum": 5},
    {"checksum": "md5:../../x"},
    {"links": []},
    {"links": {"self": 5}},
    {"links": {"self": "/x"}},
    {"links": {"self": "http://[x"}},
  ],
)
def test_records_with_other_values_are_refused(change):
  good = zenodo.parse_record(json.dumps({"files": [ITEM]}).encode())
  assert good["x"].size == 5
  body = json.dumps({"files": [ITEM | change]}).encode()
  with pytest.raises(DataError, match="Zenodo's record"):
    zenodo.parse_record(body)
  for item in (None, 5, "x", [], {}):
    with pytest.raises(DataError, match="Zenodo's record"):
      zenodo.parse_record(json.dumps({"files": [item]}).encode())


@pytest.mark.parametrize(
  "change",
  [
    lambda text: text.replace("\n", "\r"),
    lambda text: text.replace("\n", "\r\n"),
    lambda text: text.replace("\n", "\n\n") + "\n",
    lambda text: "\ufeff" + text,
    # Commas at the ends of the rows, which shift the columns in pandas.
    lambda text: text.replace("\n", ",\n").replace("comment,", "comment", 1),
    lambda text: text.replace("\n", ",,\n"),
    lambda text: text.removesuffix("\n"),
    lambda text: text.replace("oh_p50", " oh_p50 "),
  ],
)
def test_catalogues_in_other_forms_are_read(change):
  text = zenodo_files.catalog(FRAME).decode()
  frame, unknown = zenodo.parse_catalog(change(text).encode())
  assert frame.objid.tolist() == [str(objid) for objid in FRAME.objid]
  assert list(frame) == ["objid", "oh_p50", "lgm_tot_p50", "h_alpha_flux"]
  assert unknown == ["comment"]


@pytest.mark.parametrize(
  ("data", "message"),
  [
    (b"", "no rows"),
    (b"objID,oh_p50\n", "no rows"),
    (b"objID,oh_p50\n1,8.9\n2\n", "2 fields in line 3, found 1"),
    (b"objID,oh_p50\n1,8.9,7\n", "2 fields in line 2, found 3"),
    (b"objID,oh_p50\n1,\0\n", "null character"),
    (b"objID,oh_p50\n1,\xff\n", "utf-8"),
    (b"objID,objid\n1,2\n", "a column twice"),
    (b'objID,oh_p50\n1,"' + b"8" * 200_000 + b'"\n', "field larger"),
  ],
)
def test_catalogues_that_are_no_table_are_refused(data, message):
  with pytest.raises(DataError, match=message):
    zenodo.parse_catalog(data)
