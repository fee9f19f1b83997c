"""Staging folders with faults or without some images."""

import hashlib
import importlib.util
import io

import numpy as np
from PIL import Image
import pytest
import tensorflow_datasets as tfds

from tests.tfds_sdss import fake_layout
from tests.tfds_sdss import fake_staging
from tfds_sdss import beam_shards
from tfds_sdss import build
from tfds_sdss import splits
from tfds_sdss import staging
from tfds_sdss.errors import DataError

OBJID = fake_staging.OBJID


pytestmark = [
  pytest.mark.faults("a staging folder is damaged or incomplete"),
  pytest.mark.usefixtures("no_figures"),
]


def build_from(folder, tmp_path, name="dr17", **options):
  return build.build(name, str(tmp_path / "data"), str(folder.root), **options)


def nothing_built(tmp_path):
  return not list((tmp_path / "data").glob("sdss_metallicity/[!.]*/*"))


def refused(folder, tmp_path, message, name="dr17", **options):
  with pytest.raises(DataError, match=message):
    build_from(folder, tmp_path, name, **options)
  assert nothing_built(tmp_path)


def test_losses_are_limited(tmp_path):
  folder = fake_staging.write(
    tmp_path / "staging",
    fake_staging.table(50),
    failed=[OBJID + 1, OBJID + 2],
    absent=[OBJID + 3],
  )
  message = (
    r"3 of 50 galaxies have no image \(2 http_404, 1 not_fetched\), more than "
    r"the 2.0% .*fetch --source=dr17 --out=\S*staging .*--max_loss"
  )
  refused(folder, tmp_path, message)
  refused(folder, tmp_path, "more than the 5.0%", max_loss=0.05)
  builder = build_from(folder, tmp_path, max_loss=0.06)
  assert builder.info.splits.total_num_examples == 47


@pytest.mark.parametrize(
  ("number", "found"), [(3, r"3 of 3 .* \(3 not_fetched\)"), (0, "0 of 0 .*")]
)
def test_folder_without_images_is_refused(tmp_path, number, found):
  frame = fake_staging.table(3).iloc[:number]
  folder = fake_staging.write(
    tmp_path / "staging", frame, absent=frame["objid"].tolist()
  )
  # A larger loss is no remedy.
  message = rf"^{found}; expected some with one\. Fetch them: \S.*\S$"
  refused(folder, tmp_path, message, max_loss=1)


def test_sample_with_empty_splits_is_refused(tmp_path):
  folder = fake_staging.write(tmp_path / "staging", fake_staging.table(1))
  refused(folder, tmp_path, "found none in validation, test")


@pytest.mark.parametrize("number", [1, 12])
def test_changed_or_absent_images_are_named(tmp_path, number):
  folder = fake_staging.write(tmp_path / "staging", fake_staging.table(30))
  train = [
    OBJID + i for i in range(30) if splits.split_of(OBJID + i) == "train"
  ]
  for objid in train[:number]:
    folder.image_path(objid).write_bytes(fake_layout.jpeg(0))
  if number == 1:
    folder.image_path(train[0]).unlink()
  shown = str(train[0]) if number == 1 else "and 2 more"
  refused(folder, tmp_path, f"{shown} are absent or differ .*fetch again")


@pytest.mark.parametrize("number", [5, 6])
def test_same_image_of_many_galaxies_is_refused(tmp_path, number):
  folder = fake_staging.write(tmp_path / "staging", fake_staging.table(40))
  data = fake_layout.jpeg(0)
  with folder.open_manifest() as append:
    for objid in range(OBJID, OBJID + number):
      digest = hashlib.sha256(data).hexdigest()
      append(staging.Entry(objid, "http://example.org", sha256=digest))
      folder.write_image(objid, data)
  if number == 5:
    build_from(folder, tmp_path)
  else:
    refused(
      folder, tmp_path, f"the same one for 6 galaxies: objID {OBJID}, .*fetch"
    )


def test_image_of_one_colour_is_refused(tmp_path):
  folder = fake_staging.write(tmp_path / "staging", fake_staging.table(40))
  file = io.BytesIO()
  Image.new("RGB", (128, 128), "gray").save(file, "JPEG")
  digest = hashlib.sha256(file.getvalue()).hexdigest()
  with folder.open_manifest() as append:
    append(staging.Entry(OBJID, "http://example.org", sha256=digest))
  folder.write_image(OBJID, file.getvalue())
  refused(folder, tmp_path, f"objID {OBJID}: .* found one colour only")


def test_image_of_another_size_is_refused(tmp_path):
  frame = fake_staging.table(30)
  folder = fake_staging.write(tmp_path / "staging", frame, size=64)
  folder.write_source({"source": "dr17", "image_size": 128})
  refused(folder, tmp_path, "found 64 x 64 pixels")


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"oh_p50": np.float32(np.nan)}, "expected an oh_p50 from 7 to 10 dex"),
    ({"objid": OBJID}, f"objID {OBJID}, .* is repeated"),
    ({"objid": 1.2e18}, "expected integers in objid, found float64"),
    ({"bptclass": 1.5}, "expected integers in bptclass, found float64"),
    ({"sky_group": 0.5}, "expected integers in sky_group"),
  ],
)
def test_bad_catalogues_are_refused(tmp_path, changes, message):
  folder = fake_staging.write(tmp_path / "staging", fake_staging.table(20))
  folder.write_catalog(folder.read_catalog().assign(**changes))
  refused(folder, tmp_path, message, max_loss=1)


@pytest.mark.parametrize("name", ["dr17", "zenodo"])
@pytest.mark.parametrize("column", ["oh_p50", "sky_group"])
def test_absent_column_is_refused(tmp_path, name, column):
  size = 160 if name == "zenodo" else 128
  folder = fake_staging.write(
    tmp_path / "staging", fake_staging.table(5), name, size
  )
  folder.write_catalog(folder.read_catalog().drop(columns=column))
  refused(folder, tmp_path, f"expected the columns {column}", name)


def test_another_source_is_refused(tmp_path):
  folder = fake_staging.write(tmp_path / "staging", fake_staging.table(20))
  refused(folder, tmp_path, "expected source dr14, found dr17", "dr14")
  folder.write_source({"source": "dr17", "image_size": 64})
  refused(folder, tmp_path, "expected image_size 128, found 64")


def test_absent_staging_folder_names_the_commands(tmp_path):
  commands = (
    "(?s)fetch --source=dr14 --out=staging_dr14.*build .*/dr14.* --stag"
  )
  with pytest.raises(DataError, match=commands):
    build.build("dr14", str(tmp_path / "data"))
  builder = tfds.builder("sdss_metallicity/dr14", data_dir=tmp_path / "data")
  commands = "fetch --source=dr14 --out=STAGING.*build .*/dr14.* --staging=STAG"
  with pytest.raises(DataError, match=commands):
    builder.download_and_prepare()
  folder = staging.Staging(tmp_path / "empty")
  refused(folder, tmp_path, "python -m tfds_sdss fetch")


def test_beam_must_be_installed(tmp_path):
  folder = fake_staging.write(tmp_path / "staging", fake_staging.table(20))
  if importlib.util.find_spec("apache_beam"):
    pytest.skip("Apache Beam is installed; see tests/interop")
  for options in ({"beam_runner": "DirectRunner"}, {"beam_options": "a=1"}):
    with pytest.raises(beam_shards.BeamError, match=r"requirements-beam\.txt"):
      build_from(folder, tmp_path, **options)
  assert nothing_built(tmp_path)


def test_unavailable_file_formats_are_refused(tmp_path):
  folder = fake_staging.write(tmp_path / "staging", fake_staging.table(20))
  if not importlib.util.find_spec("tensorflow"):
    with pytest.raises(build.UnknownConfigError, match="needs TensorFlow"):
      build_from(folder, tmp_path, file_format="tfrecord")
    assert nothing_built(tmp_path)
  build_from(folder, tmp_path, file_format="array_record")
  with pytest.raises(
    build.UnknownConfigError, match=r"format riegeli, found array_record"
  ):
    build_from(folder, tmp_path, file_format="riegeli")
