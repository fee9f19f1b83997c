"""Samples of a user's own galaxies: build and reading."""

import io
import json

import ml_collections
import numpy as np
from PIL import Image
import pytest

from galmet_jax.data import galaxies
from tests.tfds_sdss import fake_layout
from tests.tfds_sdss.own import own_galaxies as own
from tfds_sdss import build
from tfds_sdss import sample_info
from tfds_sdss import splits
from tfds_sdss import tables
from tfds_sdss.own import user_tables


def test_stock_tfds_reads_the_galaxies(folder, capsys):
  assert own.run(folder) == 0
  assert own.verify(folder) == 0
  assert "mine/1.0.0: logm in dex" in capsys.readouterr().out

  found = own.examples(folder)

  assert sorted(found) == list(range(own.FIRST, own.FIRST + own.NUMBER))
  for row, objid in enumerate(sorted(found)):
    example = found[objid]
    assert example["split"] == splits.split_of(objid)
    assert example["fold"] == splits.fold_of(objid)
    assert example["logm"] == np.float32(own.LOG_MASS[row])
    assert example["count"] == row
    data = (folder / "images" / f"{row}.jpg").read_bytes()
    np.testing.assert_array_equal(
      example["image"], np.asarray(Image.open(io.BytesIO(data)))
    )
  # -9999 and 500 arcmin are missing; 0.1 arcmin are 6 arcsec.
  radii = [found[objid]["petroR90_r"] for objid in sorted(found)]
  np.testing.assert_allclose(radii[2:], 6, rtol=1e-6)
  assert np.isnan(radii[:2]).all()


def test_description_is_stored_and_read(folder):
  assert own.run(folder, ranges="logm=7:13", field_r90=5, pixel_scale=None) == 0

  info = sample_info.read(own.built(folder))

  assert (info.label, info.image_size, info.png) == ("logm", own.SIZE, False)
  assert info.bands == ("i", "r", "g")
  assert (info.pixel_scale, info.field_r90) == (None, 5)
  mass = info.by_name["logm"]
  assert (mass.unit, mass.description) == ("dex", "Mass, from colours")
  assert mass.valid == (7, 13)
  assert info.by_name["count"].dtype == np.int64
  assert info.by_name["petroR90_r"].unit == "arcsec"
  features = json.loads((own.built(folder) / "features.json").read_text())
  described = {
    name: feature.get("description")
    for name, feature in features["featuresDict"]["features"].items()
  }
  assert described["logm"] == "Mass, from colours, dex"
  assert described["image"] == "R, G, B = i, r, g; 5 petroR90_r wide"
  table = user_tables.read(own.built(folder) / "catalog.parquet")
  assert table["logm"].description == "Mass, from colours"
  assert "| logm | 40 | 0 |" in (own.built(folder) / "quality.md").read_text()


def test_network_data_are_read(folder):
  assert own.run(folder) == 0
  config = ml_collections.ConfigDict({"targets": ("logm", "count"), "crop": 24})

  data = galaxies.load(build.load("mine", str(folder / "data")), config)

  assert sum(map(len, data.values())) == own.NUMBER
  train = data["train"]
  np.testing.assert_array_equal(train.targets[:, 1], train.objid - own.FIRST)
  assert set(train.columns) == {"logm", "count", "petroR90_r", "fold"}


def test_galaxies_without_the_label_are_left_out_and_counted(folder):
  table = own.catalogue()
  table["mass"].mask = np.arange(own.NUMBER) == 3
  table["mass"][4:6] = [-99, 20]
  table["n"] = table["n"].astype(float)
  table["n"][7] = np.nan
  table.write(folder / "mine.ecsv", overwrite=True)

  assert own.run(folder, ranges="logm=7:13") == 0

  found = own.examples(folder)
  assert not set(found) & {own.FIRST + row for row in (3, 4, 5)}
  assert len(found) == own.NUMBER - 3
  assert np.isnan(found[own.FIRST + 7]["count"])
  report = (own.built(folder) / "quality.md").read_text()
  assert "| dropped: no_logm | 2 |" in report
  assert "| dropped: logm_out_of_range | 1 |" in report


def test_neighbours_are_in_one_split_and_fold(folder):
  assert own.run(folder, f"{own.COLUMNS},ra=RA,dec=Dec") == 0
  assert own.verify(folder) == 0

  frame = tables.read(own.built(folder) / "catalog.parquet").set_index("objid")

  assert frame.loc[own.FIRST + 1, "sky_group"] == own.FIRST
  assert frame.loc[own.FIRST + 2, "sky_group"] == own.FIRST + 2
  assert frame.loc[own.FIRST + 1, "split"] == splits.split_of(own.FIRST)
  assert frame.loc[own.FIRST + 1, "fold"] == splits.fold_of(own.FIRST)
  assert frame["ra"].dtype == np.float64


def test_a_missing_position_is_no_neighbour(folder):
  table = own.catalogue()
  table["RA"][:3] = [np.nan, 400, np.nan]
  table.write(folder / "mine.ecsv", overwrite=True)

  assert own.run(folder, f"{own.COLUMNS},ra=RA,dec=Dec") == 0

  frame = tables.read(own.built(folder) / "catalog.parquet")
  assert (frame["sky_group"] == frame["objid"]).all()
  assert frame["ra"].isna().sum() == 3


def test_ids_of_text_are_kept(folder):
  table = own.catalogue()
  table["ID"] = [f"NGC {i}" for i in range(own.NUMBER)]
  table.write(folder / "mine.ecsv", overwrite=True)

  assert own.run(folder) == 0
  assert own.verify(folder) == 0

  found = own.examples(folder)
  for row in range(own.NUMBER):
    example = found[user_tables.hash_id(f"NGC {row}")]
    assert example["id"] == f"NGC {row}".encode()
    assert example["count"] == row
  config = ml_collections.ConfigDict({"targets": ("logm",), "crop": 24})
  data = galaxies.load(build.load("mine", str(folder / "data")), config)
  assert "id" not in data["train"].columns


@pytest.mark.parametrize("column", ["ID", "File"])
def test_images_may_be_png_and_need_no_suffix(folder, column):
  """PNG and JPEG side by side; some named as the id."""
  images = folder / "images"
  table = own.catalogue()
  table["File"] = [str(i) for i in range(own.NUMBER)]
  table.write(folder / "mine.ecsv", overwrite=True)
  for row in range(own.NUMBER):
    path = images / f"{row}.jpg"
    if row % 2:
      path.unlink()
      path = images / f"{row}.png"
      path.write_bytes(fake_layout.jpeg(row, own.SIZE, kind="PNG"))
    if column == "ID":
      path.rename(images / f"{own.FIRST + row}{path.suffix}")

  assert own.run(folder, f"id=ID,image={column},logm=mass") == 0
  assert own.verify(folder) == 0

  assert sample_info.read(own.built(folder)).png
  config = ml_collections.ConfigDict({"targets": ("logm",), "crop": 24})
  data = galaxies.load(build.load("mine", str(folder / "data")), config)
  stock = own.examples(folder)
  for split in data.values():
    for objid, pixels in zip(split.objid.tolist(), split.images, strict=True):
      np.testing.assert_array_equal(pixels, stock[objid]["image"])


def test_building_again_changes_nothing(folder, capsys):
  assert own.run(folder) == 0
  before = {p: p.stat().st_mtime_ns for p in own.built(folder).iterdir()}

  assert own.run(folder) == 0
  assert {
    p: p.stat().st_mtime_ns for p in own.built(folder).iterdir()
  } == before

  capsys.readouterr()
  assert own.run(folder, pixel_scale=0.5) == 2
  assert "pixel_scale: expected 0.5, found 0.4" in capsys.readouterr().err
  (folder / "images" / "0.jpg").write_bytes(fake_layout.jpeg(99, own.SIZE))
  assert own.run(folder) == 2
  assert "is built, but not from this source" in capsys.readouterr().err
  assert {
    p: p.stat().st_mtime_ns for p in own.built(folder).iterdir()
  } == before


def test_samples_of_two_names_share_a_data_dir(folder, capsys):
  assert own.run(folder) == 0
  assert (
    own.run(
      folder, "id=ID,image=File,oh_p50=n", ranges="oh_p50=-1:99", name=None
    )
    == 0
  )

  assert (
    len(own.examples(folder))
    == len(own.examples(folder, "custom"))
    == own.NUMBER
  )
  assert own.verify(folder, "custom") == 0
  capsys.readouterr()
  assert own.verify(folder, "min") == 2
  error = capsys.readouterr().err
  assert "Did you mean sdss_metallicity/mine?" in error
  assert "build sdss_metallicity/custom --name=NAME" in error


def test_columns_may_have_any_name(folder):
  """Also those that pandas or this project use for something else."""
  columns = "id=ID,image=File,logm=mass,label=n,index=n,side=n,size=n"
  assert own.run(folder, columns) == 0
  assert own.verify(folder) == 0
  assert own.run(folder, columns.replace("logm", "name"), name="other") == 0
  assert own.verify(folder, "other") == 0


def test_values_at_the_limits_of_their_range(folder):
  """0.1 is larger as float32."""
  table = own.catalogue()
  table["mass"] = np.r_[0.1, 0.3, np.linspace(0.11, 0.29, own.NUMBER - 2)]
  table.write(folder / "mine.ecsv", overwrite=True)

  assert own.run(folder, ranges="logm=0.1:0.3") == 0
  assert own.verify(folder) == 0

  assert len(own.examples(folder)) == own.NUMBER


def test_a_class_may_be_the_label(folder):
  table = own.catalogue()
  table["n"] = np.r_[-9999.0, np.nan, 9, np.full(own.NUMBER - 3, 2)]
  table.write(folder / "mine.ecsv", overwrite=True)

  assert own.run(folder, "id=ID,image=File,bptclass=n") == 0
  assert own.verify(folder) == 0

  assert {int(e["bptclass"]) for e in own.examples(folder).values()} == {2}


def test_interrupted_build_leaves_no_sample(folder, monkeypatch):
  with monkeypatch.context() as patch:
    patch.setattr(
      "tfds_sdss.quality.write",
      lambda *_: (_ for _ in ()).throw(OSError("full")),
    )
    assert own.run(folder) == 2
  assert not own.built(folder).exists()

  assert own.run(folder) == 0
  assert own.verify(folder) == 0
