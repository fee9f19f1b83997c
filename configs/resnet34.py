"""ResNet-34 on 128×128 gri images: the recipes of Wu & Boada (2019).

  python main.py --config=configs/resnet34.py:VARIANT --workdir=W

Training starts from ImageNet weights, which are downloaded once (87 MB);
--config.model.pretrained= with nothing after it starts from random ones.

What each variant should reach on SDSS, as the authors report it: RMSE in dex on
20,466 test galaxies. Their time was 25-30 minutes for ten epochs on a P100, at
some 430 images a second. Nobody has run these configs on that sample yet;
`configs/reproduce.py` runs most of them.

  as_published   0.085  25-30 min     one rate of 0.1 for all layers, as the
                                      authors' runs had it
  as_intended    -      25-30 min     rates of 0.001, 0.01 and 0.1 from stem to
                                      head, as the text has it
  one_cycle      0.083  10 h (text)   70 epochs of one cycle, all layers at once
  r_band         0.159  25-30 min     the r band alone, without TTA
  grayscale_test 0.220  25-30 min     trained on gri, tested on r, without TTA
  multi_target   0.084  25-30 min     percentiles of O/H and the stellar mass
                                      (0.218); missing labels are masked
  resolution     0.089  below 30 min  64 pixels; --config.data.resolution=32,
                                      16, 8, 4, 2, 1: 0.093, 0.105, 0.113,
                                      0.129, 0.159, 0.161
  five_views     -      (five times)  five views of each image in a batch, as
                                      the text has it
  wu2020         0.086  14 min        xresnet34, Ranger, 7 epochs from random
                                      weights (Wu 2020; on validation)

and three that must fail, to show that nothing leaks:

  shuffled_labels  R² of 0: labels dealt to other galaxies in training
  shuffled_pixels  no better than colours: pixels of an image in any order
  blank_images     the training mean: black images
"""

from typing import Any

import ml_collections
from ml_collections import config_dict

_PHASES = ("head_only", "all_constant", "all_sgdr")

# What a variant changes, by the field's full name.
VARIANTS: dict[str, dict[str, Any]] = {
  "as_published": {},
  "as_intended": {
    f"optim.{phase}.rates.{group}": rate
    for phase in _PHASES
    for group, rate in (("early", 1e-3), ("late", 1e-2), ("head", 1e-1))
  },
  "one_cycle": {
    "optim.phases": ("cycle",),
    "optim.weight_decay": 1e-4,
    "augment.max_zoom": 1.5,
  },
  "r_band": {"data.bands": ("r", "r", "r"), "eval.tta": "none"},
  "grayscale_test": {"eval.bands": ("r", "r", "r"), "eval.tta": "none"},
  "multi_target": {
    "data.targets": (
      "oh_p50",
      "oh_p2p5",
      "oh_p16",
      "oh_p84",
      "oh_p97p5",
      "lgm_tot_p50",
    )
  },
  "resolution": {"data.resolution": 64},
  "five_views": {"train.views_per_image": 5},
  # The authors' crop was drawn within 144 pixels of 0.262 arcsec; ours lies in
  # the middle.
  "wu2020": {
    "data.crop": 112,
    "model.network": "xresnet",
    "model.pretrained": "",
    "augment.max_zoom": 1.0,
    "augment.lighting": 0.0,
    "optim.optimizer": "ranger",
    "optim.weight_decay": 0.01,
    "optim.phases": ("cycle",),
    "optim.cycle.epochs": 7,
    "optim.cycle.shape": "cosine",
    "optim.cycle.rise": 0.25,
    "optim.cycle.anneal": 0.0,
    "optim.cycle.start_ratio": 25.0,
    "optim.cycle.end_ratio": 1e5,
    "optim.cycle.rates.early": 1e-2,
    "optim.cycle.rates.late": 1e-2,
    "optim.cycle.rates.head": 1e-2,
    "train.batch_size": 128,
  },
  "shuffled_labels": {"data.control": "shuffled_labels"},
  "shuffled_pixels": {"data.control": "shuffled_pixels"},
  "blank_images": {"data.control": "blank_images"},
}


def get_config(variant: str = "as_published") -> ml_collections.ConfigDict:
  """Returns the config of a variant."""
  if variant not in VARIANTS:
    raise ValueError(
      f"variant {variant!r}; expected one of {', '.join(VARIANTS)}."
    )
  config = ml_collections.ConfigDict()
  # Of the initial weights, the order of the data, the views and the dropout.
  config.seed = 0
  # Where decoded images (7 GB for the paper's sample) and compiled programs are
  # kept for the next start; None: ~/.cache/galmet_jax, nothing: nowhere.
  config.cache_dir = config_dict.placeholder(str)

  config.data = ml_collections.ConfigDict()
  config.data.name = "sdss_metallicity/dr17"
  # Where TFDS keeps the data set; None: its own default.
  config.data.data_dir = config_dict.placeholder(str)
  # The unpacked archive of demo500, instead of a download.
  config.data.manual_dir = config_dict.placeholder(str)
  config.data.targets = ("oh_p50",)
  # Side of the square about the centre that the network sees, pixels.
  config.data.crop = 128
  # Pixels across it after averaging: a divisor of crop; None: crop itself.
  config.data.resolution = config_dict.placeholder(int)
  # What the three channels show.
  config.data.bands = ("i", "r", "g")
  # Instead of the data set's own validation split, this one of num_folds parts
  # of training and validation is held out; see --mode=ensemble.
  config.data.fold = config_dict.placeholder(int)
  config.data.num_folds = 5
  # Training galaxies; a smaller number is a part of a larger. None: all.
  config.data.num_train = config_dict.placeholder(int)
  # Where decoded images lie: device, host, or auto (the devices if they fit).
  config.data.placement = "auto"
  # none, shuffled_labels, shuffled_pixels or blank_images.
  config.data.control = "none"

  config.model = ml_collections.ConfigDict()
  # resnet, or xresnet (Wu 2020), for which block, head_width and dropout_rates
  # mean nothing.
  config.model.network = "resnet"
  config.model.stage_sizes = (3, 4, 6, 3)
  config.model.block = "basic"
  config.model.width = 64
  config.model.head_width = 512
  config.model.dropout_rates = (0.25, 0.5)
  # Of the computation; parameters and statistics are float32.
  config.model.dtype = "bfloat16"
  # While training on several devices: statistics of the whole batch (global),
  # or of each device's part (per_device), as torch's DDP has it.
  config.model.batch_norm = "global"
  # FILE.safetensors, FILE.pth or timm:NAME; nothing: random weights.
  config.model.pretrained = "timm:resnet34.tv_in1k"
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

  # Of the blocks below, those that run, in order; each starts with a new
  # optimiser.
  config.optim.phases = _PHASES
  rates = {"early": 0.1, "late": 0.1, "head": 0.1}
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

  config.optim.cycle = ml_collections.ConfigDict()
  config.optim.cycle.schedule = "one_cycle"
  config.optim.cycle.epochs = 70
  # linear (fastai 0.7) or cosine (fastai 2).
  config.optim.cycle.shape = "linear"
  # Of the steps: those before the peak, and those after the way back.
  config.optim.cycle.rise = 0.425
  config.optim.cycle.anneal = 0.15
  # The peak over the first and over the last rate.
  config.optim.cycle.start_ratio = 10.0
  config.optim.cycle.end_ratio = 1000.0
  # The momentum at the ends and at the peak.
  config.optim.cycle.momenta = (0.95, 0.85)
  config.optim.cycle.frozen = ()
  config.optim.cycle.rates = {"early": 1e-3, "late": 1e-2, "head": 1e-1}

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
  # What the channels show; None: what they show in training.
  config.eval.bands = config_dict.placeholder(tuple)
  # latest or best (least validation RMSE).
  config.eval.checkpoint = "latest"
  # Beside the network: mean, forest, boosting, mass-metallicity relation.
  config.eval.baselines = True
  config.eval.bootstrap_draws = 1000

  config.update_from_flattened_dict(VARIANTS[variant])
  return config
