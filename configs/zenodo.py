"""ResNet-34 on the authors' images from Zenodo.

  python main.py --config=configs/zenodo.py
  python main.py --config=configs/zenodo.py:VARIANT  # of configs/resnet34.py

The paper's recipe on record 14712542: 160×160 pixels of 0.262 arcsec for every
galaxy, so images are not scaled to the galaxy's apparent size. The network sees
the central 144 pixels, as in Wu (2025). Nobody has run it on the whole sample
yet. docs/data.md has the commands that download and build the sample.
"""

import ml_collections

from configs import resnet34


def get_config(variant: str = "as_published") -> ml_collections.ConfigDict:
  """Returns the config of a variant."""
  config = resnet34.get_config(variant)
  config.data.name = "sdss_metallicity/zenodo"
  if variant != "wu2020":
    config.data.crop = 144
  return config
