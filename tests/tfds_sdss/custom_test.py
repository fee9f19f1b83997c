"""Samples of a user's own galaxies: catalogue, images, build and reading."""

import io
import json
import pathlib

from astropy.table import MaskedColumn
from astropy.table import Table
import ml_collections
import numpy as np
from PIL import Image
import pytest
import tensorflow_datasets as tfds

from galmet_jax.data import galaxies
from tests.tfds_sdss import fake_layout
from tfds_sdss import __main__ as cli
from tfds_sdss import build
from tfds_sdss import sample_info
from tfds_sdss import splits
from tfds_sdss import tables
from tfds_sdss import user_tables

NUMBER = 40
FIRST = 1237665024900858129
SIZE = 24
COLUMNS = "id=ID,image=File,logm=mass,count=n,petroR90_r=R90"
LOG_MASS = np.linspace(8, 11.9, NUMBER)


def catalogue() -> Table:
  return Table(
    {
      "ID": FIRST + np.arange(NUMBER),
      "File": [f"{i}.jpg" for i in range(NUMBER)],
      "mass": MaskedColumn(
        LOG_MASS, unit="dex", description="Mass, from colours"
      ),
      "n": np.arange(NUMBER),
      "R90": MaskedColumn(
        np.r_[-9999, 500, np.full(NUMBER - 2, 0.1)], unit="arcmin"
      ),
      "RA": np.r_[10, 10 + 1 / 3600, 20 + np.arange(NUMBER - 2)],
      "Dec": np.zeros(NUMBER),
    }
  )


@pytest.fixture(name="folder")
def _folder(tmp_path, no_figures):
  """A folder with mine.ecsv and 40 images."""
  catalogue().write(tmp_path / "mine.ecsv")
  images = tmp_path / "images"
  images.mkdir()
  for row in range(NUMBER):
    (images / f"{row}.jpg").write_bytes(fake_layout.jpeg(row, SIZE))
  return tmp_path


def run(folder: pathlib.Path, columns: str = COLUMNS, **flags) -> int:
  """Builds the sample `mine`; a flag of None is omitted."""
  flags = {
    "catalog": folder / "mine.ecsv",
    "images": folder / "images",
    "columns": columns,
    "bands": "i,r,g",
    "pixel_scale": 0.4,
    "name": "mine",
    "data_dir": folder / "data",
  } | flags
  argv = [
    f"--{flag}={value}" for flag, value in flags.items() if value is not None
  ]
  return cli.main(["build", "sdss_metallicity/custom", *argv])


def verify(folder: pathlib.Path, name: str = "mine") -> int:
  data = f"--data_dir={folder / 'data'}"
  return cli.main(["verify", f"sdss_metallicity/{name}", data])


def built(folder: pathlib.Path, name: str = "mine") -> pathlib.Path:
  return folder / "data" / "sdss_metallicity" / name / "1.0.0"


def examples(folder: pathlib.Path, name: str = "mine") -> dict[int, dict]:
  """Reads all galaxies with stock TFDS: {objid: example and its split}."""
  builder = tfds.builder_from_directory(built(folder, name))
  return {
    int(example["objid"]): {**example, "split": split}
    for split in splits.SPLIT_PARTS
    for example in builder.as_data_source(split)
  }


def test_stock_tfds_reads_the_galaxies(folder, capsys):
  assert run(folder) == 0
  assert verify(folder) == 0
  assert "mine/1.0.0: logm in dex" in capsys.readouterr().out

  found = examples(folder)

  assert sorted(found) == list(range(FIRST, FIRST + NUMBER))
  for row, objid in enumerate(sorted(found)):
    example = found[objid]
    assert example["split"] == splits.split_of(objid)
    assert example["fold"] == splits.fold_of(objid)
    assert example["logm"] == np.float32(LOG_MASS[row])
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
  assert run(folder, ranges="logm=7:13", field_r90=5, pixel_scale=None) == 0

  info = sample_info.read(built(folder))

  assert (info.label, info.image_size, info.png) == ("logm", SIZE, False)
  assert info.bands == ("i", "r", "g")
  assert (info.pixel_scale, info.field_r90) == (None, 5)
  mass = info.by_name["logm"]
  assert (mass.unit, mass.description) == ("dex", "Mass, from colours")
  assert mass.valid == (7, 13)
  assert info.by_name["count"].dtype == np.int64
  assert info.by_name["petroR90_r"].unit == "arcsec"
  features = json.loads((built(folder) / "features.json").read_text())
  described = {
    name: feature.get("description")
    for name, feature in features["featuresDict"]["features"].items()
  }
  assert described["logm"] == "Mass, from colours, dex"
  assert described["image"] == "R, G, B = i, r, g; 5 petroR90_r wide"
  table = user_tables.read(built(folder) / "catalog.parquet")
  assert table["logm"].description == "Mass, from colours"
  assert "| logm | 40 | 0 |" in (built(folder) / "quality.md").read_text()


def test_network_data_are_read(folder):
  assert run(folder) == 0
  config = ml_collections.ConfigDict({"targets": ("logm", "count"), "crop": 24})

  data = galaxies.load(build.load("mine", str(folder / "data")), config)

  assert sum(map(len, data.values())) == NUMBER
  train = data["train"]
  np.testing.assert_array_equal(train.targets[:, 1], train.objid - FIRST)
  assert set(train.columns) == {"logm", "count", "petroR90_r", "fold"}


def test_galaxies_without_the_label_are_left_out_and_counted(folder):
  table = catalogue()
  table["mass"].mask = np.arange(NUMBER) == 3
  table["mass"][4:6] = [-99, 20]
  table["n"] = table["n"].astype(float)
  table["n"][7] = np.nan
  table.write(folder / "mine.ecsv", overwrite=True)

  assert run(folder, ranges="logm=7:13") == 0

  found = examples(folder)
  assert not set(found) & {FIRST + row for row in (3, 4, 5)}
  assert len(found) == NUMBER - 3
  assert np.isnan(found[FIRST + 7]["count"])
  report = (built(folder) / "quality.md").read_text()
  assert "| dropped: no_logm | 2 |" in report
  assert "| dropped: logm_out_of_range | 1 |" in report


def test_neighbours_are_in_one_split_and_fold(folder):
  assert run(folder, f"{COLUMNS},ra=RA,dec=Dec") == 0
  assert verify(folder) == 0

  frame = tables.read(built(folder) / "catalog.parquet").set_index("objid")

  assert frame.loc[FIRST + 1, "sky_group"] == FIRST
  assert frame.loc[FIRST + 2, "sky_group"] == FIRST + 2
  assert frame.loc[FIRST + 1, "split"] == splits.split_of(FIRST)
  assert frame.loc[FIRST + 1, "fold"] == splits.fold_of(FIRST)
  assert frame["ra"].dtype == np.float64


def test_a_missing_position_is_no_neighbour(folder):
  table = catalogue()
  table["RA"][:3] = [np.nan, 400, np.nan]
  table.write(folder / "mine.ecsv", overwrite=True)

  assert run(folder, f"{COLUMNS},ra=RA,dec=Dec") == 0

  frame = tables.read(built(folder) / "catalog.parquet")
  assert (frame["sky_group"] == frame["objid"]).all()
  assert frame["ra"].isna().sum() == 3


def test_ids_of_text_are_kept(folder):
  table = catalogue()
  table["ID"] = [f"NGC {i}" for i in range(NUMBER)]
  table.write(folder / "mine.ecsv", overwrite=True)

  assert run(folder) == 0
  assert verify(folder) == 0

  found = examples(folder)
  for row in range(NUMBER):
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
  table = catalogue()
  table["File"] = [str(i) for i in range(NUMBER)]
  table.write(folder / "mine.ecsv", overwrite=True)
  for row in range(NUMBER):
    path = images / f"{row}.jpg"
    if row % 2:
      path.unlink()
      path = images / f"{row}.png"
      path.write_bytes(fake_layout.jpeg(row, SIZE, kind="PNG"))
    if column == "ID":
      path.rename(images / f"{FIRST + row}{path.suffix}")

  assert run(folder, f"id=ID,image={column},logm=mass") == 0
  assert verify(folder) == 0

  assert sample_info.read(built(folder)).png
  config = ml_collections.ConfigDict({"targets": ("logm",), "crop": 24})
  data = galaxies.load(build.load("mine", str(folder / "data")), config)
  stock = examples(folder)
  for split in data.values():
    for objid, pixels in zip(split.objid.tolist(), split.images, strict=True):
      np.testing.assert_array_equal(pixels, stock[objid]["image"])


def test_building_again_changes_nothing(folder, capsys):
  assert run(folder) == 0
  before = {p: p.stat().st_mtime_ns for p in built(folder).iterdir()}

  assert run(folder) == 0
  assert {p: p.stat().st_mtime_ns for p in built(folder).iterdir()} == before

  capsys.readouterr()
  assert run(folder, pixel_scale=0.5) == 2
  assert "pixel_scale: expected 0.5, found 0.4" in capsys.readouterr().err
  (folder / "images" / "0.jpg").write_bytes(fake_layout.jpeg(99, SIZE))
  assert run(folder) == 2
  assert "is built, but not from this source" in capsys.readouterr().err
  assert {p: p.stat().st_mtime_ns for p in built(folder).iterdir()} == before


def test_samples_of_two_names_share_a_data_dir(folder, capsys):
  assert run(folder) == 0
  assert (
    run(folder, "id=ID,image=File,oh_p50=n", ranges="oh_p50=-1:99", name=None)
    == 0
  )

  assert len(examples(folder)) == len(examples(folder, "custom")) == NUMBER
  assert verify(folder, "custom") == 0
  capsys.readouterr()
  assert verify(folder, "min") == 2
  error = capsys.readouterr().err
  assert "Did you mean sdss_metallicity/mine?" in error
  assert "build sdss_metallicity/custom --name=NAME" in error


def test_interrupted_build_leaves_no_sample(folder, monkeypatch):
  with monkeypatch.context() as patch:
    patch.setattr(
      "tfds_sdss.quality.write",
      lambda *_: (_ for _ in ()).throw(OSError("full")),
    )
    assert run(folder) == 2
  assert not built(folder).exists()

  assert run(folder) == 0
  assert verify(folder) == 0


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    ({"columns": "id=ID,image=File"}, "at least one column to predict"),
    ({"columns": "id=ID,logm=mass"}, "expected id, image and at least one"),
    ({"columns": "id=ID,image=File,fold=n"}, "'fold' cannot be the name"),
    ({"columns": "id=ID,image=File,a/b=n"}, "'a/b' cannot be the name"),
    ({"columns": "id=ID,image=File,a=n,ra=RA"}, "both ra and dec"),
    ({"columns": "id=ID,image=File,logm=mas"}, "Did you mean mass?"),
    ({"columns": "id=ID,image=File,logm=File"}, "row 1: expected a number"),
    ({"columns": "id=mass,image=File,logm=n"}, "never as floats"),
    ({"columns": "id=ID,image=File,ra=mass,dec=R90,l=n"}, None),
    ({"columns": "id=ID,image=File,petroR90_r=mass"}, None),
    ({"columns": "id=ID,image=File,z=mass"}, "expected galaxies with z from"),
    ({"columns": "id=ID,image=File,z=R90"}, "unit of z, none, found arcmin"),
    ({"bands": "i,r"}, "--bands: expected the bands"),
    ({"bands": None}, "needs --bands"),
    ({"catalog": None, "images": None}, "needs --catalog, --images"),
    ({"pixel_scale": None}, "either --pixel_scale in arcsec or"),
    ({"field_r90": 5}, "found 0.4, 5"),
    ({"pixel_scale": -1}, "expected one positive number"),
    ({"pixel_scale": "nan"}, "expected one positive number"),
    ({"ranges": "logm=7"}, "--ranges: expected NAME=LOW:HIGH"),
    ({"ranges": "logm=12:7"}, "--ranges: expected NAME=LOW:HIGH"),
    ({"ranges": "logm=7:inf"}, "--ranges: expected NAME=LOW:HIGH"),
    ({"ranges": "mass=7:12"}, "mass is not in --columns"),
    ({"ranges": "logm=20:30"}, "logm from 20 to 30, found none in 40 rows"),
    ({"name": "dr17"}, "--name=dr17: expected up to 64 letters"),
    ({"name": "../mine"}, "--name=../mine: expected up to 64 letters"),
    ({"name": "a/b"}, "--name=a/b: expected up to 64 letters"),
    ({"images": "nowhere"}, "--images=nowhere: expected a folder"),
    ({"catalog": "nowhere.csv"}, "nowhere.csv: expected a table"),
    ({"catalog": "gs://a/b.csv"}, "found a URL"),
    ({"staging": "x"}, "--staging of a fetched sample"),
    ({"max_loss": 2}, "--max_loss: expected a fraction"),
  ],
)
def test_bad_requests_are_one_line(folder, capsys, flags, message):
  flags = dict(flags)
  status = run(folder, flags.pop("columns", COLUMNS), **flags)

  error = capsys.readouterr().err.splitlines()[-1]
  if message is None:
    assert status == 0, error
    return
  assert status == 2
  assert error.startswith("error: ")
  assert message in error
  assert not built(folder).exists()


def test_flags_of_own_galaxies_belong_to_them_only(tmp_path, capsys):
  argv = ["build", "mock", "--catalog=a.csv", f"--data_dir={tmp_path}"]
  assert cli.main(argv) == 2
  assert "--catalog is not an option of mock" in capsys.readouterr().err


def test_a_unit_that_does_not_fit_is_refused(folder, capsys):
  table = catalogue()
  table["R90"].unit = "mag"
  table.write(folder / "mine.ecsv", overwrite=True)

  assert run(folder) == 2
  assert (
    "expected the unit of petroR90_r, arcsec, found mag"
    in capsys.readouterr().err
  )


def png(mode: str, size: int = SIZE, dtype=np.uint8) -> bytes:
  pixels = np.random.default_rng(0).integers(0, 256, (size, size)).astype(dtype)
  image = Image.fromarray(pixels)
  file = io.BytesIO()
  (image if dtype != np.uint8 else image.convert(mode)).save(file, "PNG")
  return file.getvalue()


@pytest.mark.parametrize(
  ("data", "reason"),
  [
    (None, "1 no such file (0.jpg)"),
    (b"", "1 found an empty file (0.jpg)"),
    (b"<html>", "1 found an HTML or XML page"),
    (fake_layout.jpeg(0, SIZE, mode="L"), "found the colour mode Gray"),
    (fake_layout.jpeg(0, SIZE, mode="CMYK"), "found the colour mode CMYK"),
    (fake_layout.jpeg(0, SIZE)[:-40], "found a "),
    (fake_layout.jpeg(0, 32), "not 24 pixels wide, as most are, but 32"),
    (fake_layout.jpeg(0, 32, kind="PNG"), "not 24 pixels wide, as most are"),
    (png("L"), "found a PNG of 8 bits, grey"),
    (png("RGBA"), "found a PNG of 8 bits, RGBA"),
    (png("P"), "found a PNG of 8 bits, palette"),
    (png("", dtype=np.uint16), "found a PNG of 16 bits, grey"),
    (png("RGB")[:-20], "found a "),
    (png("RGB")[:200] + b"x" + png("RGB")[201:], "found a broken PNG"),
    (png("RGB")[:22], "not square: 24 x 0 pixels"),
    (
      png("RGB")[:16] + b"\0\0\xff\xff" * 2 + png("RGB")[24:],
      "too large: 65535 x 65535",
    ),
    (fake_layout.jpeg(1, 1), "one colour only"),
  ],
)
def test_bad_images_are_counted_and_refused(folder, capsys, data, reason):
  path = folder / "images" / "0.jpg"
  path.unlink()
  if data is not None:
    path.write_bytes(data)

  assert run(folder) == 2
  error = capsys.readouterr().err.splitlines()[-1]
  assert "1 of 40 galaxies have no usable image" in error
  assert reason in error
  assert "0.jpg" in error
  assert run(folder, max_loss=0.1) == 0
  assert FIRST not in examples(folder)
  assert (
    "| without an image | 1 |" in (built(folder) / "quality.md").read_text()
  )


def test_many_identical_and_uniform_images_are_refused(folder, capsys):
  grey = io.BytesIO()
  Image.new("RGB", (SIZE, SIZE), (50, 60, 70)).save(grey, "PNG")
  for row in range(NUMBER):
    if row < 12:
      (folder / "images" / f"{row}.jpg").write_bytes(fake_layout.jpeg(0, SIZE))
    if row == 20:
      (folder / "images" / f"{row}.jpg").write_bytes(grey.getvalue())

  assert run(folder) == 2

  error = capsys.readouterr().err.splitlines()[-1]
  assert "13 of 40 galaxies" in error
  assert "12 the same image as more than 4 others (0.jpg, 1.jpg," in error
  assert "9.jpg, ...); 1 one colour only" in error
  assert "10.jpg" not in error


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "a/../../b"])
def test_images_outside_the_folder_are_not_read(folder, capsys, name):
  (folder / "secret.jpg").write_bytes(fake_layout.jpeg(0, SIZE))
  table = catalogue()
  table["File"] = [name, *table["File"][1:]]
  table.write(folder / "mine.ecsv", overwrite=True)

  assert run(folder) == 2
  assert "1 no such file" in capsys.readouterr().err


def test_a_damaged_description_is_reported(folder, capsys):
  assert run(folder) == 0
  path = built(folder) / sample_info.FILE
  path.write_text(path.read_text().replace("0.4", "0.5"))

  capsys.readouterr()
  assert verify(folder) == 2
  assert "sample.json is damaged" in capsys.readouterr().err
