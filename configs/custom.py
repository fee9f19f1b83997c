"""ResNet-34 from random weights on galaxies of your own.

  python main.py --config=configs/custom.py:mysample

`mysample` is the --name of `python -m tfds_sdss build sdss_metallicity/custom`.
The network sees the whole image and predicts the sample's label, the first of
--columns; --config.data.crop and --config.data.targets choose others.

The recipe is that of configs/demo500.py, for a few hundred to a few thousand
galaxies. With few of them, start from a network that is trained on many:
--config.model.pretrained=run:RUNDIR; and let image features predict, too:
--config.eval.gp_svr_weight=0.7 (docs/few_labels.md).
"""

import ml_collections
from ml_collections import config_dict

from configs import resnet34


def get_config(sample: str = "") -> ml_collections.ConfigDict:
  """Returns the config for a sample; main.py reports a missing name."""
  config = resnet34.get_config()
  resnet34.small_recipe(config)
  config.data.name = f"sdss_metallicity/{sample}" if sample else ""
  # None: the sample's label and the size of its images.
  config.data.targets = config_dict.placeholder(tuple)
  config.data.crop = config_dict.placeholder(int)
  config.optim.all_sgdr.cycle_len = 30
  config.eval.tta = "dihedral"
  return config
