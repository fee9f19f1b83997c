"""A small catalogue of one's own with images, and its build."""

import pathlib

from astropy.table import MaskedColumn
from astropy.table import Table
import numpy as np
import tensorflow_datasets as tfds

from tests.tfds_sdss import fake_layout
from tfds_sdss import __main__ as cli
from tfds_sdss import splits

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


def write(folder: pathlib.Path) -> None:
  """Writes mine.ecsv and 40 images."""
  catalogue().write(folder / "mine.ecsv")
  images = folder / "images"
  images.mkdir()
  for row in range(NUMBER):
    (images / f"{row}.jpg").write_bytes(fake_layout.jpeg(row, SIZE))


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
