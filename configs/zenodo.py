"""ResNet-34 on the authors' ready-made images from Zenodo.

  python main.py --config=configs/zenodo.py --workdir=W

The paper's recipe on record 14712542: 160 x 160 pixels of 0.262 arcsec for
every galaxy, so that apparent size is not divided out. The network sees the
central 144, as in Wu (2025). Nobody has run it on the whole sample yet.

Variants: those of configs/resnet34.py.
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
