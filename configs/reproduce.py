"""The paper's table: every system of Wu & Boada (2019) on the same galaxies.

  python main.py --config=configs/reproduce.py --workdir=W --mode=reproduce

Trains, one after another, the systems below on SDSS (`dr17`), skips what is
done, and writes paper_table.md, paper_table.csv and figures/. At the paper's
rate, 430 images a second on a P100, the images of all epochs make some twelve
hours, most of them for the 70 epochs of one cycle, the 5 folds and the seven
resolutions; that is arithmetic, since nobody has run it on that sample yet.
configs/reproduce_mock.py and configs/reproduce_demo500.py are the same on
samples that take minutes.
"""

from typing import Any

import ml_collections

from configs import resnet34

SIDES = (64, 32, 16, 8, 4, 2, 1)


def get_config() -> ml_collections.ConfigDict:
  """Returns the config."""
  config = resnet34.get_config("as_published")
  config.eval.splits = ("test",)
  # The table has them once for all.
  config.eval.baselines = False
  config.reproduce = systems(
    runs=(
      "gri",
      "r_band",
      "grayscale_test",
      *(f"resolution_{side}" for side in SIDES),
      "multi_target",
      "as_intended",
      "wu2020",
      "shuffled_labels",
      "one_cycle",
    ),
    ensembles=("ensemble",),
  )
  return config


def systems(
  runs: tuple[str, ...],
  ensembles: tuple[str, ...],
  **changes: dict[str, Any],
) -> ml_collections.ConfigDict:
  """Makes the block `reproduce`.

  Args:
    runs: systems that are one network each, in order. A name that is a variant
      of configs/resnet34.py changes what the variant changes, resolution_N the
      resolution, and any other nothing.
    ensembles: systems that are k networks.
    **changes: what a system changes besides, by the fields' full names.
  """
  block = ml_collections.ConfigDict()
  block.runs = runs
  block.ensembles = ensembles
  block.changes = ml_collections.ConfigDict()
  for name in (*runs, *ensembles):
    fields = dict(resnet34.VARIANTS.get(name, {}))
    if name.startswith("resolution_"):
      fields["data.resolution"] = int(name.removeprefix("resolution_"))
    fields |= changes.get(name, {})
    block.changes[name] = _nested(fields)
  return block


def _nested(fields: dict[str, Any]) -> dict[str, Any]:
  """Makes {"a.b": x} to {"a": {"b": x}}, which a config can hold."""
  tree: dict[str, Any] = {}
  for name, value in fields.items():
    *blocks, field = name.split(".")
    node = tree
    for block in blocks:
      node = node.setdefault(block, {})
    node[field] = value
  return tree
