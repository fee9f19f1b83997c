"""The paper's table: every system of Wu & Boada (2019) on the same galaxies.

  python main.py --config=configs/reproduce.py --workdir=W --mode=reproduce

Trains the systems below on SDSS (`dr17`), one after another, skips finished
ones, and writes paper_table.md, paper_table.csv and figures/. At the paper's
430 images a second on a P100, training takes about twelve hours, most of them
for the 70 epochs of one cycle, the 5 folds and the seven resolutions. This is
an estimate: the config has not been run on the full sample yet.
configs/reproduce_mock.py and configs/reproduce_demo500.py do the same for small
samples, in minutes.
"""

from typing import Any

from flax import traverse_util
import ml_collections

from configs import resnet34

SIDES = (64, 32, 16, 8, 4, 2, 1)
# The fields that a system changes, by full name.
SYSTEMS: dict[str, dict[str, Any]] = {
  **resnet34.VARIANTS,
  "gri": {},
  "ensemble": {},
  **{f"resolution_{side}": {"data.resolution": side} for side in SIDES},
}


def get_config() -> ml_collections.ConfigDict:
  """Returns the config."""
  config = resnet34.get_config("as_published")
  config.eval.splits = ("test",)
  # They are made once, for the table.
  config.eval.baselines = False
  config.eval.figures = False
  config.reproduce = select_systems(
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


def select_systems(
  runs: tuple[str, ...],
  ensembles: tuple[str, ...],
  *,
  sources: tuple[str, ...] = (),
  seeds: int = 1,
  **changes: dict[str, Any],
) -> ml_collections.ConfigDict:
  """Returns the block `reproduce`.

  Args:
    runs: systems that are one network each, in training order.
    ensembles: systems that are k networks each.
    sources: systems that only give their weights to others, trained first.
    seeds: number of seeds with which sources and runs are trained.
    **changes: changes by system, in addition to those in SYSTEMS, if any.

  Raises:
    KeyError: if a system is neither in SYSTEMS nor in `changes`.
  """
  block = ml_collections.ConfigDict(
    {
      "sources": sources,
      "runs": runs,
      "ensembles": ensembles,
      "seeds": seeds,
      "changes": {},
    }
  )
  for name in (*sources, *runs, *ensembles):
    known = SYSTEMS if name in SYSTEMS else changes
    fields = {**known[name], **changes.get(name, {})}
    block.changes[name] = traverse_util.unflatten_dict(fields, sep=".")
  return block
