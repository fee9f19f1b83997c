"""Trains and evaluates: python main.py --config=configs/quickstart.py."""

import pathlib
import sys

from absl import app
from absl import flags
from ml_collections import config_flags

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "The run, e.g. configs/resnet34.py:as_published."
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Where the files of a run go.", required=True
)
_MODE = flags.DEFINE_enum(
  "mode",
  "train",
  ["train", "evaluate", "lr_find"],
  "train goes on where it was interrupted; evaluate reads the checkpoint "
  "again; lr_find tries learning rates and changes nothing.",
)


def main(argv: list[str]) -> None:
  """Hands over to one function per mode."""
  if len(argv) > 1:
    raise app.UsageError(f"expected flags only, found {argv[1:]}.")
  # Only now: --help and a mistyped flag must not wait for them.
  from galmet_jax import lr_find
  from galmet_jax import report
  from galmet_jax import train

  config, workdir = _CONFIG.value, pathlib.Path(_WORKDIR.value)
  try:
    if _MODE.value == "train":
      train.train_and_evaluate(config, workdir)
    elif _MODE.value == "evaluate":
      report.evaluate_only(config, workdir)
    else:
      lr_find.find(config, workdir)
  except (ValueError, OSError, FloatingPointError) as error:
    # What a user can mend is said in a line, not in a traceback.
    if not type(error).__module__.startswith(("galmet_jax", "tfds_sdss")):
      raise
    sys.exit(f"error: {error}")


if __name__ == "__main__":
  flags.mark_flag_as_required("config")
  app.run(main)
