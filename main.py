"""Trains and evaluates: python main.py --config=configs/quickstart.py."""

from collections.abc import Iterator
import contextlib
import pathlib
import re
import signal
import sys
import traceback

if __name__ == "__main__":
  # Until signals are handled, Ctrl-C must not print a traceback of the imports.
  if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from absl import app
from absl import flags
from absl import logging
from ml_collections import config_flags

from galmet_jax import errors
from galmet_jax import predict_flags
from tfds_sdss import files
from tfds_sdss import output
from tfds_sdss import signals

_CONFIG = config_flags.DEFINE_config_file(
  "config",
  None,
  "File of the config, and its variant after a colon: "
  "configs/resnet34.py:as_published. --config.BLOCK.FIELD=VALUE changes a "
  "field.",
)
_WORKDIR = flags.DEFINE_string(
  "workdir",
  None,
  "Directory of the run's files. Default: runs/CONFIG or runs/CONFIG_VARIANT, "
  "followed by _ensemble in that mode.",
)
_MODE = flags.DEFINE_enum(
  "mode",
  "train",
  [
    *("train", "evaluate", "predict", "lr_find", "ensemble", "reproduce"),
    "export",
  ],
  "train: train, or resume an interrupted run, then evaluate. evaluate: "
  "evaluate the checkpoint again. predict: predict --input with the run in "
  "--workdir, without --config. lr_find: try learning rates. ensemble: train "
  "one network per fold. reproduce: train and tabulate all systems of the "
  "paper. export: write the network for other programs.",
)
_DISTRIBUTED = flags.DEFINE_bool(
  "distributed",
  False,
  "Train in the processes that SLURM, Open MPI, Kubernetes or a Cloud TPU has "
  "started, all with the same flags. Each reads the data set from "
  "--config.data.data_dir. Put --workdir on a disk that all hosts share.",
)
_COORDINATOR = flags.DEFINE_string(
  "coordinator",
  None,
  "Instead of --distributed, without a cluster: HOST:PORT of the first "
  "process, with a free port, the same in all processes.",
)
_NUM_PROCESSES = flags.DEFINE_integer(
  "num_processes", None, "With --coordinator: number of processes."
)
_PROCESS_ID = flags.DEFINE_integer(
  "process_id", None, "With --coordinator: index of this process, from 0."
)

_USAGE = (
  "Example: python main.py --config=configs/quickstart.py "
  "--config.train.batch_size=32. All flags: python main.py --help"
)


def parse_flags(argv: list[str]) -> list[str]:
  """Parses the flags; reports errors on one line, with an example."""
  try:
    # ml_collections takes None for a text, or refuses it.
    nones = [x for x in argv if re.fullmatch(r"--config\.[\w.]+=None", x)]
    rest = flags.FLAGS([x for x in argv if x not in nones])
    if len(rest) > 1:
      raise flags.Error(f"expected flags only, found {' '.join(rest[1:])}")
    if _MODE.value == "predict":
      predict_flags.check(_WORKDIR.value)
      return rest
    if _CONFIG.value is None:
      raise flags.Error("flag --config is missing")
    # ml_collections reports a missing file here, on the first access.
    if not hasattr(_CONFIG.value, "lock"):
      found = type(_CONFIG.value).__name__
      raise flags.Error(
        f"flag --config: expected get_config to return a ConfigDict, found "
        f"{found}"
      )
    _CONFIG.value.lock()
    for flag in nones:
      name = flag.removeprefix("--config.").removesuffix("=None")
      _CONFIG.value.update_from_flattened_dict({name: None})
    return rest
  # A config is a program, which may raise anything.
  except Exception as error:
    problem = " ".join(_problem(error, argv).split())
    problem = problem.replace(" ?", "?").replace("' Did", "'. Did")
    end = "" if problem.endswith((".", "?")) else "."
    sys.exit(f"error: {problem}{end} {_USAGE}")


def _problem(error: Exception, argv: list[str]) -> str:
  place = _place_in_config(error)
  if place:
    return f"flag --config: {place}: {type(error).__name__}: {error}"
  if isinstance(error, SyntaxError):
    return f"flag --config: expected a Python file, found {error}"
  if isinstance(error, flags.Error):
    # For an error in `get_config` the text is its traceback.
    flag, _, traceback = str(error).partition("Error whilst parsing config")
    reason = traceback.rpartition("Error: ")[2]
    if "takes 0 positional arguments" in reason:
      reason = "this config has no variants; leave out the colon"
    return flag + reason
  cause = error.__cause__ or error
  while cause.args and isinstance(cause.args[0], BaseException):
    cause = cause.args[0]
  if isinstance(error, OSError):
    return f"flag --config: {str(cause).rpartition('] ')[2]}"
  if "has no attribute 'get_config'" in str(error):
    return "flag --config: expected a Python file with get_config(), found none"
  # ml_collections names the field that does not exist, but not its flag.
  message = str(cause.args[0])
  name = re.findall(r"\w+", message)[0]
  flag = next((x for x in argv if name in re.split(r"[.=]", x)), "--config")
  return f"flag {flag}: no field {message}"


def _place_in_config(error: Exception) -> str | None:
  """Returns file and line of the config that raised the error, if one did."""
  if isinstance(error, SyntaxError) and error.filename:
    return f"{error.filename}, line {error.lineno}"
  frames = [
    f"{frame.filename}, line {frame.lineno}"
    for frame in traceback.extract_tb(error.__traceback__)
    if frame.name in ("get_config", "<module>")
    and pathlib.Path(frame.filename) != pathlib.Path(__file__)
  ]
  return frames[-1] if frames else None


def default_workdir() -> pathlib.Path:
  """Returns runs/CONFIG, with the variant and the mode `ensemble`, if given."""
  path = config_flags.get_config_filename(flags.FLAGS["config"])
  file, _, variant = path.partition(":")
  # An ensemble's results would overwrite those of a single run.
  suffix = "ensemble" if _MODE.value == "ensemble" else ""
  parts = (pathlib.Path(file).stem, variant, suffix)
  return pathlib.Path("runs") / "_".join(part for part in parts if part)


def workdir() -> pathlib.Path:
  """Returns the folder of --workdir, or the default.

  Raises:
    PathError: if it is not a local path.
    ConfigError: if the library of the checkpoints cannot use it.
  """
  path = files.local_path(_WORKDIR.value or default_workdir(), "--workdir")
  found = sorted(set(str(path.absolute())) & set("[]*?{}"))
  if found:
    raise errors.ConfigError(
      f"--workdir={path}: expected a path without {' '.join(found)}, which "
      "the checkpoint library takes for a pattern of names. Give another path."
    )
  return path


def main(argv: list[str]) -> None:
  """Runs the mode."""
  del argv
  folder = workdir()
  # Orbax logs every file at INFO.
  logging.set_verbosity(logging.WARNING)
  # Imported late: --help and a mistyped flag must not wait for JAX, and
  # processes must join before anything uses JAX.
  from galmet_jax.devices import cluster
  from galmet_jax.devices import processes

  cluster.join(
    _DISTRIBUTED.value,
    _COORDINATOR.value,
    _NUM_PROCESSES.value,
    _PROCESS_ID.value,
  )
  cluster.start_jax()
  with processes.exit_together(), user_errors_on_one_line():
    _run(folder)


def _run(folder: pathlib.Path) -> None:
  from galmet_jax import ensemble
  from galmet_jax import lr_find
  from galmet_jax import report
  from galmet_jax import train
  from galmet_jax.data import dataset
  from galmet_jax.export import export
  from galmet_jax.paper import reproduce
  from galmet_jax.predict import command

  if _MODE.value == "predict":
    command.predict(folder, predict_flags.request())
    return
  modes = {
    "train": train.train_and_evaluate,
    "evaluate": report.evaluate_only,
    "lr_find": lr_find.find,
    "ensemble": ensemble.train_and_evaluate,
    "reproduce": reproduce.reproduce,
    "export": export.export,
  }
  modes[_MODE.value](dataset.resolve(_CONFIG.value), folder)


@contextlib.contextmanager
def user_errors_on_one_line() -> Iterator[None]:
  """Exits without a traceback on signals and errors that a user can mend."""
  try:
    yield
  except signals.Stopped as stopped:
    print(stopped, file=sys.stderr)
    sys.exit(stopped.exit_status)
  except Exception as error:
    message = errors.describe(error)
    if message is None:
      raise
    sys.exit(f"error: {message}")


if __name__ == "__main__":
  output.make_robust()
  with user_errors_on_one_line(), signals.handled():
    app.run(main, flags_parser=parse_flags)
