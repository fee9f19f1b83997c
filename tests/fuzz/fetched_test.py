"""Damaged answers of servers: only errors of this project."""

import io
import json
import tarfile

import pandas as pd

from tests import mutations
from tests.tfds_sdss import fake_layout
from tests.tfds_sdss import fake_staging
from tfds_sdss import columns
from tfds_sdss import staging
from tfds_sdss.fetch import cleaning
from tfds_sdss.fetch import http_responses
from tfds_sdss.fetch import skyserver
from tfds_sdss.fetch import zenodo
from tfds_sdss.fetch import zenodo_archive

OBJID = fake_staging.OBJID


def sql_rows():
  frame = fake_staging.table(3)
  names = [skyserver._SQL_NAMES.get(c.name, c.name) for c in columns.COLUMNS]
  rows = frame[[c.name for c in columns.COLUMNS]]
  text = rows.to_csv(index=False, header=False, lineterminator="\n")
  return names, f"#Table1\n{','.join(names)}\n{text}".encode()


def response(body):
  return http_responses.Response(200, "OK", "text/plain", body, 0)


def test_rows_of_skyserver():
  names, valid = sql_rows()
  back = {value: key for key, value in skyserver._SQL_NAMES.items()}

  def parse(data):
    page = skyserver.parse_rows(response(data), names, 60)
    skyserver._check_order("server", page, 0)
    cleaning.clean(
      pd.DataFrame(page, dtype=str, columns=names).rename(columns=back)
    )

  mutations.fuzz(parse, valid)


def test_record_of_zenodo():
  items = [
    {
      "key": name,
      "size": 12,
      "checksum": f"md5:{'0' * 32}",
      "links": {"self": "https://zenodo.org/api/files/1"},
    }
    for name in (zenodo.ARCHIVE, zenodo.CATALOG)
  ]
  valid = json.dumps({"files": items})

  mutations.fuzz(zenodo.parse_record, valid.encode())


def test_catalogue_of_zenodo():
  frame = fake_staging.table(3, columns.ZENODO)[list(columns.ZENODO)]
  text = frame.rename(columns={"objid": "objID"}).to_csv(index=False)
  mutations.fuzz(
    lambda data: cleaning.clean(zenodo.parse_catalog(data)[0]), text.encode()
  )


def test_archive_of_zenodo(root):
  folder = staging.Staging(root / "staging")
  folder.root.mkdir()
  packed = io.BytesIO()
  with tarfile.open(fileobj=packed, mode="w:gz") as archive:
    for name in (f"images/{OBJID}.jpg", f"../{OBJID + 1}.jpg", "/etc/x.jpg"):
      data = fake_layout.jpeg(0, zenodo.SIZE)
      member = tarfile.TarInfo(name)
      member.size = len(data)
      archive.addfile(member, io.BytesIO(data))
  path = root / zenodo.ARCHIVE
  file = zenodo.File(zenodo.ARCHIVE, "https://zenodo.org/1", 1, "0" * 32)

  def parse(data):
    objids = {OBJID, OBJID + 1}
    zenodo_archive.unpack(path, file, objids, folder, lambda entry: None)

  mutations.fuzz(parse, packed.getvalue(), path=path)
