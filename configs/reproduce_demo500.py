r"""The paper's table on real galaxies: every system, small.

  python main.py --config=configs/reproduce_demo500.py --workdir=W \
      --mode=reproduce

Trains the network of configs/reproduce_mock.py on 64 pixels of `demo500`;
README.md has the table and the run time. With so few test galaxies, the
differences between most systems are not significant. The epochs and the
rotations were chosen on the validation split.
"""

import ml_collections

from configs import demo500
from configs import reproduce
from configs import reproduce_mock


def get_config() -> ml_collections.ConfigDict:
  """Returns the config."""
  config = reproduce_mock.small(demo500.get_config())
  config.augment.max_rotation = 180.0
  config.optim.all_sgdr.cycle_len = 60
  config.optim.cycle.epochs = 60
  config.reproduce = reproduce.select_systems(
    runs=(
      *reproduce_mock.SMALL_RUNS,
      *(f"resolution_{side}" for side in (32, 16, 8, 4, 2, 1)),
      *reproduce_mock.CONTROLS,
    ),
    ensembles=("ensemble",),
    one_cycle={"optim.weight_decay": config.optim.weight_decay},
    # The crop of Wu (2020), at half its resolution.
    wu2020={
      "data.crop": 112,
      "data.resolution": 56,
      "train.batch_size": 16,
      "optim.cycle.epochs": 60,
    },
  )
  return config
