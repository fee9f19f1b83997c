"""ResNet-34 on 128×128 gri images: the recipe of Wu & Boada (2019).

  python main.py --config=configs/resnet34.py:as_published --workdir=W

The paper reports, on its 20,466 test galaxies and from ImageNet weights, an
RMSE of 0.085 dex after 25-30 minutes on a P100. Here the network starts from
random weights; nobody has run this config on the whole SDSS sample yet.

Variants:
  as_published: one rate of 0.1 for all layers, as the authors' runs had it.
  as_intended: rates of 0.001, 0.01 and 0.1 from stem to head, as the text
    has it.
"""

import ml_collections
from ml_collections import config_dict


def get_config(variant: str = "as_published") -> ml_collections.ConfigDict:
  """Returns the config of a variant."""
  if variant not in ("as_published", "as_intended"):
    raise ValueError(
      f"variant {variant!r}; expected as_published or as_intended."
    )
  config = ml_collections.ConfigDict()
  # Of the initial weights, the order of the data, the views and the dropout.
  config.seed = 0

  config.data = ml_collections.ConfigDict()
  config.data.name = "sdss_metallicity/dr17"
  # Where TFDS keeps the data set; None: its own default.
  config.data.data_dir = config_dict.placeholder(str)
  # The unpacked archive of demo500, instead of a download.
  config.data.manual_dir = config_dict.placeholder(str)
  config.data.targets = ("oh_p50",)
  # Side of the square about the centre that the network sees, pixels.
  config.data.crop = 128

  config.model = ml_collections.ConfigDict()
  config.model.stage_sizes = (3, 4, 6, 3)
  config.model.block = "basic"
  config.model.width = 64
  config.model.head_width = 512
  config.model.dropout_rates = (0.25, 0.5)
  # Of the computation; parameters and statistics are float32.
  config.model.dtype = "bfloat16"
  config.model.start_at_mean = False

  config.augment = ml_collections.ConfigDict()
  config.augment.max_zoom = 1.1
  config.augment.zoom_probability = 0.75
  config.augment.max_rotation = 10.0
  config.augment.rotation_probability = 0.75
  config.augment.lighting = 0.05

  config.optim = ml_collections.ConfigDict()
  config.optim.loss = "rmse"
  config.optim.huber_delta = 0.1
  config.optim.optimizer = "sgd"
  config.optim.momentum = 0.9
  config.optim.weight_decay = 0.0
  config.optim.groups = ml_collections.ConfigDict()
  config.optim.groups.early = ("stem", "stage1", "stage2")
  config.optim.groups.late = ("stage3", "stage4")
  config.optim.groups.head = ("head",)
  if variant == "as_published":
    rates = {"early": 0.1, "late": 0.1, "head": 0.1}
  else:
    rates = {"early": 1e-3, "late": 1e-2, "head": 1e-1}

  # Each phase starts with a new optimiser.
  config.optim.phases = ("head_only", "all_constant", "all_sgdr")
  config.optim.head_only = ml_collections.ConfigDict()
  config.optim.head_only.schedule = "constant"
  config.optim.head_only.epochs = 2
  config.optim.head_only.frozen = ("early", "late")
  config.optim.head_only.rates = rates

  config.optim.all_constant = ml_collections.ConfigDict()
  config.optim.all_constant.schedule = "constant"
  config.optim.all_constant.epochs = 1
  config.optim.all_constant.frozen = ()
  config.optim.all_constant.rates = rates

  config.optim.all_sgdr = ml_collections.ConfigDict()
  config.optim.all_sgdr.schedule = "sgdr"
  # Cycles of 1, 2 and 4 epochs.
  config.optim.all_sgdr.cycles = 3
  config.optim.all_sgdr.cycle_len = 1
  config.optim.all_sgdr.cycle_mult = 2
  # Of the first cycle: this part of its steps runs at a hundredth.
  config.optim.all_sgdr.slow_start = 0.05
  config.optim.all_sgdr.frozen = ()
  config.optim.all_sgdr.rates = rates

  config.train = ml_collections.ConfigDict()
  config.train.batch_size = 64
  config.train.views_per_image = 1
  config.train.log_every_steps = 50
  # And at the end of training.
  config.train.checkpoint_every_steps = 1000

  config.eval = ml_collections.ConfigDict()
  config.eval.batch_size = 256
  config.eval.splits = ("validation", "test")
  # none, random (plain + 4 random views: the paper's) or dihedral (all 8).
  config.eval.tta = "random"
  # latest or best (least validation RMSE).
  config.eval.checkpoint = "latest"
  config.eval.bootstrap_draws = 1000
  return config
