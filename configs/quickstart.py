"""ResNet-34 on mock galaxies, a few minutes on two CPU cores.

python main.py --config=configs/quickstart.py --workdir=runs/quickstart
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
