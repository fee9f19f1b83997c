"""The quickstart config, shrunk to train in seconds."""

from collections.abc import Iterator
import contextlib
import pathlib

import ml_collections
import pytest

from configs import quickstart
from galmet_jax import figure_style
from galmet_jax import report_page

# Used as flags of main.py and in a config.
FIELDS = {
  "model.stage_sizes": (1, 1, 1, 1),
  "model.width": 8,
  "model.head_width": 16,
  "optim.all_sgdr.cycle_len": 3,
  "train.batch_size": 16,
  "train.log_every_steps": 2,
  "train.checkpoint_every_steps": 3,
  "eval.batch_size": 8,
  "eval.bootstrap_draws": 50,
  # They take longer than the network.
  "eval.baselines": False,
}


def config(data_dir: pathlib.Path, **changes) -> ml_collections.ConfigDict:
  """Returns the shrunk config; changes are `block__field=value`."""
  shrunk = quickstart.get_config()
  shrunk.update_from_flattened_dict(FIELDS)
  shrunk.data.data_dir = str(data_dir)
  shrunk.update_from_flattened_dict(
    {name.replace("__", "."): value for name, value in changes.items()}
  )
  return shrunk


@contextlib.contextmanager
def without_figures(of: str = "") -> Iterator[None]:
  """Writes neither figures nor pages, half of the time of a shrunk run.

  Args:
    of: part of the paths of those that are not written.
  """
  save, write = figure_style.save, report_page.write

  def save_others(fig, path, *args, **options):
    if of not in str(path):
      save(fig, path, *args, **options)

  def write_others(folder, *args):
    if of not in str(folder):
      write(folder, *args)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(figure_style, "save", save_others)
    patch.setattr(report_page, "write", write_others)
    yield


def flags(data_dir: pathlib.Path, workdir: pathlib.Path) -> list[str]:
  """Returns main.py's command line for the shrunk config."""
  return [
    "--config=configs/quickstart.py",
    f"--workdir={workdir}",
    f"--config.data.data_dir={data_dir}",
    *(f"--config.{name}={value}" for name, value in FIELDS.items()),
  ]
