"""ResNet-34 on mock galaxies: from an empty folder to figures in minutes.

  python main.py --config=configs/quickstart.py

Renders 2,000 synthetic galaxies, trains on 1,386 of them for two epochs and
reaches a test RMSE of 0.112 dex (training mean 0.200, random forest on gri
magnitudes 0.134) in three minutes on two CPU cores.
"""

import ml_collections

from configs import resnet34


def get_config() -> ml_collections.ConfigDict:
  """Returns the config."""
  config = resnet34.get_config()
  config.data.name = "sdss_metallicity/mock"
  resnet34.small_recipe(config)
  config.optim.all_sgdr.cycle_len = 2
  return config
