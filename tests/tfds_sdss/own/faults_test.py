"""Requests and images that cannot become a sample of one's own."""

import io

import numpy as np
from PIL import Image
import pytest

from tests.tfds_sdss import fake_layout
from tests.tfds_sdss.own import own_galaxies as own
from tfds_sdss import __main__ as cli
from tfds_sdss import sample_info


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
  status = own.run(folder, flags.pop("columns", own.COLUMNS), **flags)

  error = capsys.readouterr().err.splitlines()[-1]
  if message is None:
    assert status == 0, error
    return
  assert status == 2
  assert error.startswith("error: ")
  assert message in error
  assert not own.built(folder).exists()


def test_flags_of_own_galaxies_belong_to_them_only(tmp_path, capsys):
  argv = ["build", "mock", "--catalog=a.csv", f"--data_dir={tmp_path}"]
  assert cli.main(argv) == 2
  assert "--catalog is not an option of mock" in capsys.readouterr().err


def test_a_unit_that_does_not_fit_is_refused(folder, capsys):
  table = own.catalogue()
  table["R90"].unit = "mag"
  table.write(folder / "mine.ecsv", overwrite=True)

  assert own.run(folder) == 2
  assert (
    "expected the unit of petroR90_r, arcsec, found mag"
    in capsys.readouterr().err
  )


def png(mode: str, size: int = own.SIZE, dtype=np.uint8) -> bytes:
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
    (fake_layout.jpeg(0, own.SIZE, mode="L"), "found the colour mode Gray"),
    (fake_layout.jpeg(0, own.SIZE, mode="CMYK"), "found the colour mode CMYK"),
    (fake_layout.jpeg(0, own.SIZE)[:-40], "found a "),
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

  assert own.run(folder) == 2
  error = capsys.readouterr().err.splitlines()[-1]
  assert "1 of 40 galaxies have no usable image" in error
  assert reason in error
  assert "0.jpg" in error
  assert own.run(folder, max_loss=0.1) == 0
  assert own.FIRST not in own.examples(folder)
  assert (
    "| without an image | 1 |" in (own.built(folder) / "quality.md").read_text()
  )


def test_many_identical_and_uniform_images_are_refused(folder, capsys):
  grey = io.BytesIO()
  Image.new("RGB", (own.SIZE, own.SIZE), (50, 60, 70)).save(grey, "PNG")
  for row in range(own.NUMBER):
    if row < 12:
      (folder / "images" / f"{row}.jpg").write_bytes(
        fake_layout.jpeg(0, own.SIZE)
      )
    if row == 20:
      (folder / "images" / f"{row}.jpg").write_bytes(grey.getvalue())

  assert own.run(folder) == 2

  error = capsys.readouterr().err.splitlines()[-1]
  assert "13 of 40 galaxies" in error
  assert "12 the same image as more than 4 others (0.jpg, 1.jpg," in error
  assert "9.jpg, ...); 1 one colour only" in error
  assert "10.jpg" not in error


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "a/../../b"])
def test_images_outside_the_folder_are_not_read(folder, capsys, name):
  (folder / "secret.jpg").write_bytes(fake_layout.jpeg(0, own.SIZE))
  table = own.catalogue()
  table["File"] = [name, *table["File"][1:]]
  table.write(folder / "mine.ecsv", overwrite=True)

  assert own.run(folder) == 2
  assert "1 no such file" in capsys.readouterr().err


def test_a_damaged_description_is_reported(folder, capsys):
  assert own.run(folder) == 0
  path = own.built(folder) / sample_info.FILE
  path.write_text(path.read_text().replace("0.4", "0.5"))

  capsys.readouterr()
  assert own.verify(folder) == 2
  assert "sample.json is damaged" in capsys.readouterr().err
