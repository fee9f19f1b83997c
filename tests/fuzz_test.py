"""Damaged files: each parser raises only errors of this project.

`make fuzz` tries many more cases, with a random seed.
"""

import io
import json
import pathlib
import tarfile

import ml_collections
import numpy as np
import pandas as pd
import pytest
import safetensors.numpy

from galmet_jax import metric_writer
from galmet_jax import workdir
from galmet_jax.data import galaxies
from galmet_jax.models import weight_files
from tests import mutations
from tests.tfds_sdss import fake_layout
from tests.tfds_sdss import fake_staging
from tfds_sdss import build
from tfds_sdss import catalog
from tfds_sdss import columns
from tfds_sdss import files
from tfds_sdss import images
from tfds_sdss import origin
from tfds_sdss import quality
from tfds_sdss import records
from tfds_sdss import sample
from tfds_sdss import staging
from tfds_sdss import verify
from tfds_sdss.errors import DataError
from tfds_sdss.fetch import cleaning
from tfds_sdss.fetch import http_responses
from tfds_sdss.fetch import skyserver
from tfds_sdss.fetch import zenodo
from tfds_sdss.fetch import zenodo_archive
from tfds_sdss.sdss_metallicity import demo500

OBJID = fake_staging.OBJID

pytestmark = [
  pytest.mark.usefixtures("nothing_outside"),
  # A failing case may be a long file.
  pytest.mark.filterwarnings("ignore:Generating overly large repr"),
]


@pytest.fixture
def root(tmp_path):
  folder = tmp_path / "root"
  folder.mkdir()
  return folder


@pytest.fixture
def nothing_outside(tmp_path, root, monkeypatch):
  """Fails if a file is written outside `root`."""
  # Saves half a second per build.
  monkeypatch.setattr(quality, "plot", lambda path, sample: None)
  (tmp_path / "working_directory").mkdir()
  monkeypatch.chdir(tmp_path / "working_directory")
  yield
  assert not list(pathlib.Path.cwd().iterdir())
  assert {path.name for path in tmp_path.iterdir()} == {
    "root",
    "working_directory",
  }


def test_catalogue(root):
  path = root / "train.csv"
  text = f"objID,oh_p50\n{OBJID},8.9\n{OBJID + 1},8.75\n"
  quoted = f'"name","oh_p50","objID"\r\n"a, b","8.9","{OBJID}"\r\n'
  mutations.fuzz(
    lambda data: catalog.read_catalog(path),
    text.encode(),
    quoted.encode(),
    path=path,
  )


@pytest.fixture
def staged(root):
  return fake_staging.write(root / "staging", fake_staging.table(12))


@pytest.mark.parametrize(
  "name", ["source.json", "manifest.jsonl", "catalog.parquet"]
)
def test_staging_folder(staged, name):
  path = staged.root / name
  mutations.fuzz(
    lambda data: sample.read(staged.root, "dr17", columns.SKYSERVER, 128, 1),
    path.read_bytes(),
    path=path,
  )


def odd_tables():
  frame = fake_staging.table(4)
  yield frame.assign(z=[[1.0], [2.0], [], None])
  yield frame.assign(z=[{"a": 1}] * 4)
  yield frame.assign(z="0.1")
  yield frame.assign(z=pd.to_datetime("2020-01-01"))
  yield frame.assign(z=True)
  yield frame.assign(z=np.complex64(1).real, bptclass=2.5)
  yield frame.assign(objid=frame["objid"].astype("uint64"))
  yield frame.assign(objid=frame["objid"].astype(str))
  yield frame.assign(sky_group=None)
  yield frame.iloc[:0]
  yield pd.DataFrame()


@pytest.mark.parametrize("number", range(11))
def test_tables_of_other_types(staged, number):
  frame = list(odd_tables())[number]
  frame.to_parquet(staged.catalog_path)
  with pytest.raises(DataError):
    sample.read(staged.root, "dr17", columns.SKYSERVER, 128, 1)


@pytest.fixture
def built(staged, root):
  return build.build("dr17", str(root / "data"), str(staged.root)).data_path


@pytest.mark.parametrize(
  "name",
  [
    "dataset_info.json",
    "features.json",
    "built_from.json",
    "shards.sha256",
    "catalog.parquet",
    "sdss_metallicity-test.array_record-00000-of-00001",
  ],
)
def test_built_sample(built, root, name):
  path = pathlib.Path(built) / name
  config = ml_collections.ConfigDict({"crop": 128, "targets": ("oh_p50", "z")})

  def check(data):
    builder = build.load("dr17", str(root / "data"))
    origin.read(pathlib.Path(builder.data_path))
    galaxies.load(builder, config)
    if problems := verify.verify("dr17", str(root / "data")).problems:
      raise DataError("\n".join(problems))

  mutations.fuzz(check, path.read_bytes(), path=path)


def test_record():
  fields = {"image": "bytes_list", "objid": "int64_list", "z": "float_list"}
  example = {"image": b"jpeg", "objid": OBJID, "z": 0.1}
  mutations.fuzz(
    lambda data: records.decode(fields, data),
    records.Encoder(fields).encode(example),
  )


def test_image():
  mutations.fuzz(lambda data: images.decode(OBJID, data), fake_layout.jpeg(0))


def test_archive_of_demo500(root, monkeypatch):
  layout = fake_layout.replace_upstream(root, monkeypatch)
  path = root / "archive.zip"

  def read(data):
    with demo500.open_archive(path) as folder:
      demo500.read(folder, complete=False)

  mutations.fuzz(
    read,
    fake_layout.archive(layout),
    path=path,
    own_errors=(*mutations.OWN_ERRORS, *demo500.ARCHIVE_ERRORS),
  )


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


def test_weights(root):
  path = root / "weights.safetensors"
  weights = {
    "conv1.weight": np.ones((2, 3, 1, 1), np.float32),
    "bn1.num_batches_tracked": np.array(3),
  }
  mutations.fuzz(
    lambda data: weight_files.read(path),
    safetensors.numpy.save(weights),
    path=path,
  )


def test_json_of_a_run(root):
  path = root / "config.json"
  files.write_json(path, {"seed": 1, "data": {"targets": ["oh_p50"]}})
  mutations.fuzz(
    lambda data: workdir.read_config(root),
    path.read_bytes(),
    b'{"seed": 1, "data": {"targets": ["oh_p50"]}}',
    path=path,
  )


def test_record_of_metrics(root):
  path = root / metric_writer.FILE

  def parse(data):
    rows = metric_writer.read(root)
    assert all(isinstance(row["step"], int) for row in rows)
    # A damaged line is left out, without an error.
    if b'"loss": 0.5' not in data:
      raise DataError("a line was damaged")

  valid = b'{"step": 1, "loss": 0.5}\n{"step": 2, "loss": NaN}\n'
  mutations.fuzz(parse, valid, path=path)
