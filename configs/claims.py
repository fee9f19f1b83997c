"""The claims of the paper's draft, each tested by a change of one thing.

  python main.py --config=configs/claims.py:mock --mode=reproduce
  python main.py --config=configs/claims.py:demo500 --mode=reproduce
  python main.py --config=configs/claims.py:dr17 --mode=reproduce  # on a GPU

Writes claims.md. `gri` is the base: one cosine cycle from random weights, of
all layers at one rate, with BatchNorm, without dropout. It takes ten epochs on
dr17, 6 on mock, 30 on demo500. Every system is trained with three seeds.

The samples mock and demo500 have a small network on 32 pixels, and AdamW; batch
and rate were chosen on validation. `pretrained` starts there from a network
that has learned other properties of mock_pretrain's synthetic galaxies; on
dr17, from ImageNet weights. Nobody has run dr17 yet.
"""

from typing import Any

import ml_collections

from configs import demo500
from configs import mock_pretrain
from configs import quickstart
from configs import reproduce
from configs import reproduce_mock
from configs import resnet34

_GROUPS = ("early", "late", "head")
# Epochs of the base.
_EPOCHS = {"mock": 6, "demo500": 30, "dr17": 10}


def get_config(sample: str = "mock") -> ml_collections.ConfigDict:
  """Returns the config for mock, demo500 or dr17."""
  if sample not in _EPOCHS:
    raise ValueError(
      f"sample {sample!r}; expected one of {', '.join(_EPOCHS)}."
    )
  if sample == "dr17":
    config = resnet34.get_config()
    start = config.model.pretrained
    config.model.pretrained = ""
    config.model.dropout_rates = (0.0, 0.0)
    config.optim.phases = ("all_sgdr",)
    config.optim.all_sgdr.cycles = 1
    config.eval.tta = "dihedral"
    config.eval.splits = ("test",)
    config.eval.baselines = False
    config.eval.figures = False
    sources = {}
  else:
    small = {"mock": quickstart, "demo500": demo500}[sample]
    config = reproduce_mock.small(small.get_config())
    config.data.resolution = 32
    config.train.batch_size = 32
    rate = {"mock": 3e-3, "demo500": 1e-3}[sample]
    config.optim.all_sgdr.rates = dict.fromkeys(_GROUPS, rate)
    start = "system:properties"
    sources = {"properties": _PROPERTIES}
  config.optim.all_sgdr.cycle_len = _EPOCHS[sample]
  # demo500 has 256 galaxies to train on.
  batches = (16, 128, 256 if sample == "demo500" else 512)
  changes = {**sources, **_systems(config, start, batches)}
  runs = tuple(name for name in changes if name not in sources)
  config.reproduce = reproduce.select_systems(
    runs=runs, ensembles=(), sources=tuple(sources), seeds=3, **changes
  )
  return config


# A network that learns all properties of mock_pretrain's galaxies but O/H.
_PROPERTIES: dict[str, Any] = {
  "data.name": "sdss_metallicity/mock_pretrain",
  # It is rendered, not read from a folder.
  "data.manual_dir": None,
  "data.targets": mock_pretrain.TARGETS[1:],
  "optim.loss": "relative_mse",
  "optim.all_sgdr.cycle_len": 2,
  "train.batch_size": 64,
  "eval.tta": "none",
}


def _systems(
  config: ml_collections.ConfigDict, start: str, batches: tuple[int, ...]
) -> dict[str, dict[str, Any]]:
  """Returns the changed fields of each system."""
  rate = config.optim.all_sgdr.rates.head
  batch = config.train.batch_size
  epochs = config.optim.all_sgdr.cycle_len
  pretrained = {"model.pretrained": start}
  # The draft's rates: 0.01, 0.1 and 1 times that of the head.
  by_group = {
    f"optim.all_sgdr.rates.{group}": factor * rate
    for group, factor in zip(_GROUPS, (0.01, 0.1, 1.0), strict=True)
  }
  dropout = {"model.dropout_rates": (0.25, 0.5)}
  symmetries = {
    "augment.max_zoom": 1.0,
    "augment.max_rotation": 0.0,
    "augment.lighting": 0.0,
  }
  return {
    "gri": {},
    "r_band": {**reproduce.SYSTEMS["r_band"], "eval.tta": config.eval.tta},
    "no_augmentation": {**symmetries, "augment.symmetries": False},
    "symmetries_only": symmetries,
    # About as many views in all as the base.
    "five_views": {
      "train.views_per_image": 5,
      "optim.all_sgdr.cycle_len": epochs // 5,
    },
    "one_test_view": {"eval.tta": "none"},
    "random_test_views": {"eval.tta": "random"},
    "dropout": dropout,
    "frozen_norm": {"model.batch_norm": "frozen"},
    "frozen_norm_dropout": {**dropout, "model.batch_norm": "frozen"},
    **{
      f"batch_{number}{suffix}": {
        "train.batch_size": number,
        **_rates("all_sgdr", rate * factor(number / batch)),
      }
      for suffix, factor in (("", lambda _: 1.0), ("_scaled", lambda x: x**0.5))
      for number in batches
    },
    **_schedules(rate, cycle=max(1, epochs // 7)),
    "rates_by_group": by_group,
    "pretrained": pretrained,
    "pretrained_rates_by_group": {**pretrained, **by_group},
    "pretrained_head_first": {
      **pretrained,
      "optim.phases": ("head_only", "all_sgdr"),
      "optim.head_only.epochs": epochs // 5,
      "optim.all_sgdr.cycle_len": epochs - epochs // 5,
      **_rates("head_only", rate),
    },
    "resnet10": {"model.stage_sizes": (1, 1, 1, 1)},
    "resnet18": {"model.stage_sizes": (2, 2, 2, 2)},
    "resnet34": {"model.stage_sizes": (3, 4, 6, 3)},
    "resnet50": {
      "model.stage_sizes": (3, 4, 6, 3),
      "model.block": "bottleneck",
    },
    **{
      f"{name}_epochs": {"optim.all_sgdr.cycle_len": int(factor * epochs)}
      for name, factor in (("half", 0.5), ("double", 2), ("fourfold", 4))
    },
    "mse_loss": {"optim.loss": "mse"},
    "huber_loss": {"optim.loss": "huber"},
  }


def _schedules(rate: float, cycle: int) -> dict[str, dict[str, Any]]:
  # The draft's cycles of 1, 2 and 4 epochs.
  epochs = 7 * cycle
  return {
    "restarts": {
      "optim.all_sgdr.cycles": 3,
      "optim.all_sgdr.cycle_len": cycle,
    },
    "one_cosine": {"optim.all_sgdr.cycle_len": epochs},
    "constant_rate": {
      "optim.phases": ("all_constant",),
      "optim.all_constant.epochs": epochs,
      **_rates("all_constant", rate),
    },
    "fast_cycle": {
      "optim.phases": ("cycle",),
      "optim.cycle.epochs": epochs,
      **_rates("cycle", rate),
    },
  }


def _rates(phase: str, rate: float) -> dict[str, float]:
  return {f"optim.{phase}.rates.{group}": rate for group in _GROUPS}
