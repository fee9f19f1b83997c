"""Trains and evaluates: python main.py --config=configs/quickstart.py."""

from collections.abc import Iterator
import contextlib
import pathlib
import sys

from absl import app
from absl import flags
from absl import logging
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
  ["train", "evaluate", "lr_find", "ensemble", "reproduce", "export"],
  "train goes on where it was interrupted; evaluate reads the checkpoint "
  "again; lr_find tries learning rates and changes nothing; ensemble trains a "
  "network for each fold; reproduce trains and tabulates all systems of the "
  "paper; export writes the weights for PyTorch.",
)
_DISTRIBUTED = flags.DEFINE_bool(
  "distributed",
  False,
  "Train in several processes, which SLURM, Open MPI, Kubernetes or a Cloud "
  "TPU has started, all with the same flags. Each must find the same data set "
  "in --config.data.data_dir. --workdir should be on a disk that all share: "
  "the first process of the next start may be on another host.",
)
_COORDINATOR = flags.DEFINE_string(
  "coordinator",
  None,
  "Instead of --distributed, where nothing tells the processes of each other: "
  "HOST:PORT of the first, the same in all. The port must be free.",
)
_NUM_PROCESSES = flags.DEFINE_integer(
  "num_processes", None, "With --coordinator: how many processes there are."
)
_PROCESS_ID = flags.DEFINE_integer(
  "process_id", None, "With --coordinator: which one this is, from 0."
)


def parse_flags(argv: list[str]) -> list[str]:
  """Parses the flags; a config that does not load is told in a line."""
  try:
    rest = app.parse_flags_with_usage(argv)
    if _CONFIG.value is not None:
      # A file that is not there is reported when it is first looked into.
      _CONFIG.value.lock()
    return rest
  except (AttributeError, OSError) as error:
    # ml_collections raises the one for a field that does not exist ("did you
    # mean"), the other for a file that does not.
    reason: BaseException = error
    while reason.args and isinstance(reason.args[0], BaseException):
      reason = reason.args[0]
    sys.exit(f"error: {' '.join(str(reason.args[0]).split())}")


def main(argv: list[str]) -> None:
  """Hands over to one function per mode."""
  if len(argv) > 1:
    raise app.UsageError(f"expected flags only, found {argv[1:]}.")
  # Orbax tells of every file it writes.
  logging.set_verbosity(logging.WARNING)
  # Only now: --help and a mistyped flag must not wait for JAX. With several
  # processes nothing may use it before they have joined.
  from galmet_jax.devices import processes

  with _told_in_a_line():
    processes.join(
      _DISTRIBUTED.value,
      _COORDINATOR.value,
      _NUM_PROCESSES.value,
      _PROCESS_ID.value,
    )
  with processes.exit_together(), _told_in_a_line():
    _run()


def _run() -> None:
  from galmet_jax import ensemble
  from galmet_jax import export
  from galmet_jax import lr_find
  from galmet_jax import report
  from galmet_jax import train
  from galmet_jax.paper import reproduce

  modes = {
    "train": train.train_and_evaluate,
    "evaluate": report.evaluate_only,
    "lr_find": lr_find.find,
    "ensemble": ensemble.train_and_evaluate,
    "reproduce": reproduce.reproduce,
    "export": export.export,
  }
  modes[_MODE.value](_CONFIG.value, pathlib.Path(_WORKDIR.value))


@contextlib.contextmanager
def _told_in_a_line() -> Iterator[None]:
  """What a user can mend is said in a line, not in a traceback."""
  try:
    yield
  except (ValueError, OSError, FloatingPointError) as error:
    if not type(error).__module__.startswith(("galmet_jax", "tfds_sdss")):
      raise
    sys.exit(f"error: {error}")


if __name__ == "__main__":
  flags.mark_flag_as_required("config")
  app.run(main, flags_parser=parse_flags)
