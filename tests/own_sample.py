"""A user's sample of PNG images with ids of text, and its shrunk config."""

import pathlib

from astropy.table import Table
import ml_collections
import numpy as np
from PIL import Image

from configs import custom
from galmet_jax.data import dataset
from tests import shrunk
from tfds_sdss import __main__ as cli

NUMBER = 120
UNIT = "1e10 Msun"


def build(
  folder: pathlib.Path, size: int, number: int = NUMBER, name: str = "blobs"
) -> None:
  """Builds a sample of round galaxies; the mass is that of the light."""
  rng = np.random.default_rng(0)
  images = folder / f"images_{name}"
  images.mkdir(parents=True)
  mass = rng.uniform(1, 5, number)
  row, column = np.indices((size, size)) - (size - 1) / 2
  for i in range(number):
    light = np.exp(-(row**2 + column**2) / (0.1 * size) ** 2 / mass[i])
    noise = rng.normal(0, 0.05, (size, size, 3))
    pixels = np.clip(255 * (0.8 * light[..., None] + 0.1 + noise), 0, 255)
    Image.fromarray(pixels.astype(np.uint8)).save(images / f"{i}.png")
  table = Table(
    {
      "name": [f"galaxy {i}" for i in range(number)],
      "file": [f"{i}.png" for i in range(number)],
      "M": mass,
    }
  )
  table["M"].unit = UNIT
  table.write(folder / f"{name}.ecsv")
  status = cli.main(
    [
      "build",
      "sdss_metallicity/custom",
      f"--name={name}",
      f"--catalog={folder / name}.ecsv",
      f"--images={images}",
      "--columns=id=name,image=file,mass=M",
      "--ranges=mass=0:10",
      "--bands=i,r,g",
      "--pixel_scale=0.4",
      f"--data_dir={folder / 'data'}",
    ]
  )
  assert status == 0


def config(
  folder: pathlib.Path, name: str = "blobs", **changes
) -> ml_collections.ConfigDict:
  """Returns the shrunk config; changes are `block__field=value`."""
  found = custom.get_config(name)
  found.update_from_flattened_dict(shrunk.FIELDS)
  found.data.data_dir = str(folder / "data")
  found.update_from_flattened_dict(
    {name.replace("__", "."): value for name, value in changes.items()}
  )
  return dataset.resolve(found)
