"""Descriptions of the project's own samples."""

import pathlib

import numpy as np
import pytest

from tests.tfds_sdss import fake_staging
from tfds_sdss import build
from tfds_sdss import columns
from tfds_sdss import files
from tfds_sdss import sample_info


def read(builder) -> sample_info.Info:
  """Reads a description; checks that one can do without the file."""
  folder = pathlib.Path(builder.data_dir)
  info = sample_info.read(folder)
  file = folder / sample_info.FILE
  file.rename(folder / "kept")
  older = sample_info.read(folder)
  (folder / "kept").rename(file)
  assert info.differences(older) == ""
  return info


def test_mock(mock_data_dir):
  info = read(build.load("mock", str(mock_data_dir)))

  assert (info.label, info.image_size, info.bands) == (
    *("oh_p50", 128),
    ("i", "r", "g"),
  )
  assert (info.pixel_scale, info.field_r90) == (None, 5.05)
  assert info.by_name["lgm_tot_p50"] == (
    columns.BY_NAME["lgm_tot_p50"]._replace(table="")
  )
  truth = info.by_name["oh_true"]
  assert (truth.unit, truth.valid) == ("dex", (7.0, 10.0))
  assert "fold" not in info.by_name


def test_demo500(tmp_path, layout):
  info = read(build.build("demo500", str(tmp_path), str(layout)))

  assert [column.name for column in info.columns] == ["oh_p50"]
  assert info.field_r90 == 5.05


def test_an_impossible_description_is_refused(tmp_path, layout):
  folder = pathlib.Path(
    build.build("demo500", str(tmp_path), str(layout)).data_dir
  )
  content = files.read_json(folder / sample_info.FILE, "")
  for change in (
    {"columns": [{}]},
    {"columns": 3},
    {"label": "mass"},
    {"colour": "red"},
    {"bands": None},
  ):
    files.write_json(folder / sample_info.FILE, {**content, **change})
    with pytest.raises(files.DamagedFileError, match=r"sample.json is damaged"):
      sample_info.read(folder)


def test_differences_are_named():
  oh = columns.BY_NAME["oh_p50"]
  info = sample_info.Info("oh_p50", (oh,), 128, field_r90=5.0)
  other = sample_info.Info(
    *("oh_p50", (oh._replace(valid=(7.0, 9.0)), columns.BY_NAME["z"]), 64),
    field_r90=5.0,
  )

  found = info.differences(other)

  assert "image_size: expected 64, found 128" in found
  assert "column z: expected Column(name='z'" in found
  assert "column oh_p50: expected" in found
  assert "field_r90" not in found
  assert info.differences(info) == ""


@pytest.mark.parametrize("fixed", [True, False])
def test_scale_of_fetched_images(tmp_path, no_figures, fixed):
  """Their addresses tell whether they were scaled to the galaxies."""
  frame = fake_staging.table(40)
  folder = fake_staging.write(tmp_path / "staging", frame)
  lines = [
    line.replace(
      '", "reason', f'?scale={0.3 if fixed else 0.3 + row:f}&x=1", "reason'
    )
    for row, line in enumerate(folder.manifest_path.read_text().splitlines())
  ]
  folder.manifest_path.write_text("\n".join(lines) + "\n")

  built = build.build("dr17", str(tmp_path / "data"), str(folder.root))

  info = sample_info.read(pathlib.Path(built.data_dir))
  assert info.pixel_scale == (0.3 if fixed else None)
  assert info.field_r90 == (None if fixed else 5.05)
  assert set(info.by_name) == set(columns.SKYSERVER) - {"objid"}


def test_zenodo(tmp_path, no_figures):
  frame = fake_staging.table(40, columns.ZENODO)
  folder = fake_staging.write(tmp_path / "staging", frame, "zenodo", 160)

  info = read(build.build("zenodo", str(tmp_path / "data"), str(folder.root)))

  assert (info.pixel_scale, info.field_r90) == (0.262, None)
  assert info.image_size == 160
  assert info.by_name["reliable"].dtype == np.int32
