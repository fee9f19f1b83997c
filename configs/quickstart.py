"""ResNet-34 on mock galaxies: from nothing to figures in minutes.

  python main.py --config=configs/quickstart.py --workdir=runs/quickstart

Renders 2,000 synthetic galaxies, trains on 1,386 of them for two epochs and
reaches a test RMSE of 0.110 dex (training mean 0.200, random forest on gri
magnitudes 0.134) in three minutes on two CPU cores.
"""

import ml_collections

from configs import demo500


def get_config() -> ml_collections.ConfigDict:
  """Returns the config."""
  config = demo500.get_config()
  config.data.name = "sdss_metallicity/mock"
  config.optim.all_sgdr.cycle_len = 2
  config.eval.tta = "random"
  return config
