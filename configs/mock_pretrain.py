"""A small network that learns all properties of 18,000 mock galaxies.

  python main.py --config=configs/mock_pretrain.py

Renders 26,000 synthetic galaxies and trains on 18,000 of them. Real galaxies
with few labels start from its weights: configs/few_labels.py.
"""

import ml_collections

from configs import resnet34

TARGETS = (
  "oh_p50",
  "lgm_tot_p50",
  "log_r90",
  "colour_gr",
  "colour_ri",
  "modelMag_r",
  "log_z",
  "sfr_tot_p50",
  "d4000_n",
  "dust_av",
  "cos_inclination",
  "bulge_fraction",
  "knot_fraction",
)


def get_config() -> ml_collections.ConfigDict:
  """Returns the config."""
  config = resnet34.get_config()
  resnet34.small_recipe(config)
  small(config)
  config.data.name = "sdss_metallicity/mock_pretrain"
  config.data.targets = TARGETS
  config.optim.loss = "relative_mse"
  config.optim.all_sgdr.cycle_len = 12
  config.optim.all_sgdr.rates = {"early": 3e-3, "late": 3e-3, "head": 3e-3}
  config.train.batch_size = 64
  config.train.log_every_steps = 20
  config.train.checkpoint_every_steps = 300
  config.eval.tta = "dihedral"
  config.eval.baselines = False
  return config


def small(config: ml_collections.ConfigDict) -> None:
  """Chooses a network of 3 MB, which sees the central 96 pixels as 48.

  Galaxies have any orientation; their brightness is information.
  """
  config.data.crop = 96
  config.data.resolution = 48
  config.model.network = "small"
  config.model.stage_sizes = (1, 1, 1, 1)
  config.model.width = 24
  config.model.head_width = 128
  config.augment.max_rotation = 180.0
  config.augment.lighting = 0.0
