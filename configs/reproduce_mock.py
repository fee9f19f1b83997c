"""The paper's table on mock galaxies: every system, small.

  python main.py --config=configs/reproduce_mock.py --workdir=W --mode=reproduce

Trains a ResNet-10 of a quarter of the width on 1,386 synthetic galaxies of
64×64 pixels, once for each system; README.md has the table and how long it
takes. What it must show is the paper's order: the mean, the r band, gri, the
ensemble. The epochs, the rate and the network were chosen on validation.
"""

import ml_collections

from configs import quickstart
from configs import reproduce

SMALL_SIDES = (32, 16, 8, 4, 2, 1)
# Its crop at half the resolution.
SMALL_WU2020 = {
  "data.crop": 112,
  "data.resolution": 56,
  "train.batch_size": 16,
}


def get_config() -> ml_collections.ConfigDict:
  """Returns the config."""
  config = small(quickstart.get_config())
  config.optim.all_sgdr.cycle_len = 6
  config.optim.cycle.epochs = 8
  config.reproduce = reproduce.systems(
    runs=(
      "gri",
      "r_band",
      "grayscale_test",
      "one_cycle",
      "wu2020",
      *(f"resolution_{side}" for side in SMALL_SIDES),
      "multi_target",
      "train_90",
      "train_350",
      "shuffled_labels",
      "shuffled_pixels",
      "blank_images",
    ),
    ensembles=("ensemble",),
    # AdamW wants its own decay.
    one_cycle={"optim.weight_decay": config.optim.weight_decay},
    wu2020=SMALL_WU2020,
    multi_target={"data.targets": ("oh_p50", "lgm_tot_p50")},
    # As many steps as with all galaxies.
    train_90={"data.num_train": 90, "optim.all_sgdr.cycle_len": 103},
    train_350={"data.num_train": 350, "optim.all_sgdr.cycle_len": 24},
  )
  return config


def small(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Shrinks a config to what a CPU trains in a minute."""
  config.data.crop = 128
  config.data.resolution = 64
  config.model.stage_sizes = (1, 1, 1, 1)
  config.model.width = 16
  config.model.head_width = 128
  config.optim.cycle.rates = {"early": 3e-3, "late": 3e-3, "head": 3e-3}
  config.eval.splits = ("test",)
  config.eval.tta = "dihedral"
  # The table has them once for all.
  config.eval.baselines = False
  return config
