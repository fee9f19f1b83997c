"""A network for a few hundred real galaxies, which starts from mock ones.

  python main.py --config=configs/mock_pretrain.py
  python main.py --config=configs/few_labels.py

Its predictions are averaged with those of image features; docs/few_labels.md
has the errors. The data set is demo500; --config.data.name chooses another.
"""

import ml_collections

from configs import mock_pretrain
from configs import resnet34


def get_config() -> ml_collections.ConfigDict:
  """Returns the config."""
  config = resnet34.get_config()
  resnet34.small_recipe(config)
  mock_pretrain.small(config)
  config.data.name = "sdss_metallicity/demo500"
  config.model.pretrained = "run:runs/mock_pretrain"
  config.optim.loss = "mse"
  config.optim.all_sgdr.cycle_len = 25
  config.train.batch_size = 32
  config.eval.tta = "dihedral"
  config.eval.gp_svr_weight = 0.7
  return config
