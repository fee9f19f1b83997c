"""ResNet-34 on 128×128 gri images: the recipes of Wu & Boada (2019).

  python main.py --config=configs/resnet34.py            # as_published
  python main.py --config=configs/resnet34.py:VARIANT

Training starts from ImageNet weights, which are downloaded once (87 MB); an
empty value, --config.model.pretrained=, starts from random weights.

The table gives the RMSE in dex that the authors report for 20,466 SDSS test
galaxies, and their training time: ten epochs took 25-30 minutes on a P100, at
about 430 images a second. Nobody has run these configs on that sample yet;
configs/reproduce.py runs most of them.

  as_published   0.085  25-30 min     one rate of 0.1 for all layers, as in the
                                      authors' runs
  as_intended    -      25-30 min     rates of 0.001, 0.01 and 0.1 from stem to
                                      head, as in the paper's text
  one_cycle      0.083  10 h (text)   70 epochs of one cycle, no frozen layers
  r_band         0.159  25-30 min     the r band alone, without TTA
  grayscale_test 0.220  25-30 min     trained on gri, tested on r, without TTA
  multi_target   0.084  25-30 min     percentiles of O/H, and the stellar mass
                                      (0.218); missing labels are masked
  resolution     0.089  below 30 min  64 pixels; --config.data.resolution=32,
                                      16, 8, 4, 2, 1: 0.093, 0.105, 0.113,
                                      0.129, 0.159, 0.161
  five_views     -      5 x as long   five views of each image in a batch, as in
                                      the paper's text
  wu2020         0.086  14 min        xresnet34, Ranger, 7 epochs from random
                                      weights (Wu 2020; validation RMSE)

Three controls that must fail show that no information leaks:

  shuffled_labels  R² of 0: training labels are permuted among galaxies
  shuffled_pixels  no better than colours: pixels are permuted in each image
  blank_images     the training mean: all images are black
"""

from typing import Any

import ml_collections
from ml_collections import config_dict

_PHASES = ("head_only", "all_constant", "all_sgdr")

# {variant: {full name of a field: its value}}
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
  # The authors crop at random within 144 pixels of 0.262 arcsec; we crop the
  # centre.
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
  # Seed of weight initialization, data order, augmentation and dropout.
  config.seed = 0
  # Cache of compiled programs; None: ~/.cache/galmet_jax, empty: no cache.
  config.cache_dir = config_dict.placeholder(str)

  config.data = ml_collections.ConfigDict()
  config.data.name = "sdss_metallicity/dr17"
  # Folder of the TFDS data sets; None: TFDS's default.
  config.data.data_dir = config_dict.placeholder(str)
  # The unpacked archive of demo500, used instead of a download.
  config.data.manual_dir = config_dict.placeholder(str)
  config.data.targets = ("oh_p50",)
  # Side of the central square that is the network's input, pixels.
  config.data.crop = 128
  # Side after averaging pixels, a divisor of crop; None: crop.
  config.data.resolution = config_dict.placeholder(int)
  # Bands of the three channels.
  config.data.bands = ("i", "r", "g")
  # Validation fold, 0 to num_folds - 1; None: the data set's own split.
  config.data.fold = config_dict.placeholder(int)
  # Number of folds of training and validation galaxies; see --mode=ensemble.
  config.data.num_folds = 5
  # Number of training galaxies (smaller sets are nested); None: all.
  config.data.num_train = config_dict.placeholder(int)
  # Memory that holds the images: device, host, or auto (device if they fit).
  config.data.placement = "auto"
  # none, shuffled_labels, shuffled_pixels or blank_images.
  config.data.control = "none"

  config.model = ml_collections.ConfigDict()
  # resnet; small, with a stem for few pixels (galmet_jax/models/small.py); or
  # xresnet, which ignores block, head_width and dropout_rates.
  config.model.network = "resnet"
  # Number of blocks in each stage.
  config.model.stage_sizes = (3, 4, 6, 3)
  # basic or bottleneck.
  config.model.block = "basic"
  # Channels of the first stage.
  config.model.width = 64
  config.model.head_width = 512
  config.model.dropout_rates = (0.25, 0.5)
  # Type of the activations; parameters and statistics are float32.
  config.model.dtype = "bfloat16"
  # Statistics in training: of the whole batch (global), of each device's part
  # (per_device), or the running ones, which then stay as they are (frozen).
  config.model.batch_norm = "global"
  # FILE.safetensors, FILE.pth, timm:NAME or run:WORKDIR; empty: random weights.
  config.model.pretrained = "timm:resnet34.tv_in1k"
  # Whether the untrained network predicts the mean training label.
  config.model.start_at_mean = False

  config.augment = ml_collections.ConfigDict()
  config.augment.max_zoom = 1.1
  config.augment.zoom_probability = 0.75
  # Degrees.
  config.augment.max_rotation = 10.0
  config.augment.rotation_probability = 0.75
  # Whether a view is one of the square's eight symmetries, at random.
  config.augment.symmetries = True
  # Largest change of brightness and of contrast.
  config.augment.lighting = 0.05

  config.optim = ml_collections.ConfigDict()
  # rmse, mse, huber, or relative_mse: errors are divided by the standard
  # deviation of each target's labels.
  config.optim.loss = "rmse"
  config.optim.huber_delta = 0.1
  # sgd, adamw or ranger.
  config.optim.optimizer = "sgd"
  config.optim.momentum = 0.9
  config.optim.weight_decay = 0.0
  # Layer groups: each of the network's modules is in one.
  config.optim.groups = ml_collections.ConfigDict()
  config.optim.groups.early = ("stem", "stage1", "stage2")
  config.optim.groups.late = ("stage3", "stage4")
  config.optim.groups.head = ("head",)

  # Phases, in order: names of the blocks below. Each starts a new optimizer.
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
  # Three cycles, of 1, 2 and 4 epochs.
  config.optim.all_sgdr.cycles = 3
  config.optim.all_sgdr.cycle_len = 1
  config.optim.all_sgdr.cycle_mult = 2
  # Fraction of the first cycle that runs at a hundredth of the rate.
  config.optim.all_sgdr.slow_start = 0.05
  config.optim.all_sgdr.frozen = ()
  config.optim.all_sgdr.rates = rates

  config.optim.cycle = ml_collections.ConfigDict()
  config.optim.cycle.schedule = "one_cycle"
  config.optim.cycle.epochs = 70
  # linear (fastai 0.7) or cosine (fastai 2).
  config.optim.cycle.shape = "linear"
  # Fraction of steps before the peak.
  config.optim.cycle.rise = 0.425
  # Fraction of steps of the final decay, after the descent from the peak.
  config.optim.cycle.anneal = 0.15
  # Peak rate divided by the first rate.
  config.optim.cycle.start_ratio = 10.0
  # Peak rate divided by the last rate.
  config.optim.cycle.end_ratio = 1000.0
  # Momentum at the ends and at the peak.
  config.optim.cycle.momenta = (0.95, 0.85)
  config.optim.cycle.frozen = ()
  config.optim.cycle.rates = {"early": 1e-3, "late": 1e-2, "head": 1e-1}

  config.train = ml_collections.ConfigDict()
  config.train.batch_size = 64
  config.train.views_per_image = 1
  config.train.log_every_steps = 50
  # A checkpoint is also saved at the end of training.
  config.train.checkpoint_every_steps = 1000

  config.eval = ml_collections.ConfigDict()
  config.eval.batch_size = 256
  config.eval.splits = ("validation", "test")
  # none, random (plain + 4 random views, as in the paper) or dihedral (8).
  config.eval.tta = "random"
  # Bands of the channels in the report; None: as in training.
  config.eval.bands = config_dict.placeholder(tuple)
  # latest, or best (least validation RMSE).
  config.eval.checkpoint = "latest"
  # Weight of galmet_jax/baselines/gp_svr.py in the predictions, from 0 to 1;
  # the network has the rest. For up to 5,000 training galaxies.
  config.eval.gp_svr_weight = 0.0
  # Whether to fit the methods of galmet_jax/baselines/ as well.
  config.eval.baselines = True
  # Whether to draw the figures of a run.
  config.eval.figures = True
  config.eval.bootstrap_draws = 1000

  config.update_from_flattened_dict(VARIANTS[variant])
  return config


def small_recipe(config: ml_collections.ConfigDict) -> None:
  """Changes a config to a recipe for few images on a CPU.

  The recipe is one cosine cycle of AdamW without dropout. Weights are random at
  the start, so no layers are frozen, and the network first predicts the mean
  label.
  """
  # R90 is 25 pixels, so the galaxy fits, and a step takes half as long.
  config.data.crop = 96
  # XLA's CPU backend has no fast bfloat16.
  config.model.dtype = "float32"
  config.model.pretrained = ""
  config.model.dropout_rates = (0.0, 0.0)
  config.model.start_at_mean = True
  config.optim.optimizer = "adamw"
  config.optim.weight_decay = 0.01
  config.optim.phases = ("all_sgdr",)
  config.optim.all_sgdr.cycles = 1
  config.optim.all_sgdr.rates = {"early": 1e-3, "late": 1e-3, "head": 1e-3}
  config.train.batch_size = 16
  config.train.log_every_steps = 5
  config.train.checkpoint_every_steps = 80
  config.eval.batch_size = 32
