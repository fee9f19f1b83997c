"""Starts a run from the weights of another (`model.pretrained=run:RUNDIR`).

The latest checkpoint of RUNDIR is read, and verified by its manifest. Stem,
stages and head are taken, of the last layer the part for the targets that both
networks have. The part for others is new, as at the start of any run.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import pathlib
from typing import Any

from astropy import coordinates
from astropy import units
from flax import traverse_util
import jax.numpy as jnp
import ml_collections
import numpy as np

from galmet_jax import checkpoints
from galmet_jax import errors
from galmet_jax import workdir as workdir_lib
from galmet_jax.calibration import calibration
from galmet_jax.data import galaxies
from galmet_jax.devices import processes
from galmet_jax.disk_errors import DamagedError
from galmet_jax.train_state import TrainState
from tfds_sdss import files

PREFIX = "run:"
_FLAG = "--config.model.pretrained"
# Fields of the `model` block that determine the network's weights.
_SHAPES: dict[str, tuple[str, ...]] = {
  "resnet": ("network", "stage_sizes", "block", "width", "head_width"),
  "small": ("network", "stage_sizes", "block", "width", "head_width"),
  "xresnet": ("network", "stage_sizes", "width"),
}
_LAST = ("params", "head", "dense2")
_SAME_PLACE = 2 * units.arcsec


@dataclasses.dataclass(frozen=True)
class _Source:
  """The checkpoint to start from."""

  folder: pathlib.Path
  config: Mapping[str, Any]
  step: int
  store: checkpoints.Checkpoints

  @property
  def place(self) -> str:
    """Where it is, for error messages."""
    return f"{_FLAG}={PREFIX}{self.folder}"


def is_run(source: str) -> bool:
  """Whether a value of `model.pretrained` names a run."""
  return source.startswith(PREFIX)


def digest(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  *,
  read_only: bool = False,
) -> str | None:
  """Returns the SHA-256 of the weights that a run starts from.

  A run that has its own checkpoints needs the other one no longer, which may be
  deleted, or left on another machine.

  Args:
    config: the whole config.
    workdir: directory of the run.
    read_only: whether the run is not trained further.

  Returns:
    The digest, the same in all processes; None if `model.pretrained` names no
    run.

  Raises:
    NoCheckpointError: if there is no such run, or it is not trained.
    ConfigError: if it is an ensemble, or has another network.
    DamagedFileError, CheckpointError: if it is damaged or cannot be read.
  """
  if not is_run(config.model.pretrained):
    return None

  def find() -> str:
    stored = workdir_lib.stored_first_weights(workdir)
    if stored and read_only:
      return stored
    try:
      source = _find(config)
    except errors.NoCheckpointError:
      if stored:
        return stored
      raise
    found = _read(source, source.store.digests_of_variables)
    return files.digest(dict(sorted(found.items())))

  found = processes.on_first(find) or "00" * 32
  array = np.frombuffer(bytes.fromhex(found), np.uint8)
  return processes.broadcast_arrays(array, array).tobytes().hex()


def load(
  config: ml_collections.ConfigDict,
  state: TrainState,
  data: Mapping[str, galaxies.Split],
) -> TrainState:
  """Replaces the weights of a new network; prints what is taken.

  Args:
    config: the whole config; `model.pretrained` names a run.
    state: state of a new network.
    data: the splits, by name. A galaxy of the other run's training makes an
      evaluation too good: their number is printed.

  Raises:
    As `digest`.
  """
  own = traverse_util.flatten_dict(state.variables)

  def read() -> dict:
    source = _find(config)
    tree = _read(source, source.store.read_variables)
    found = traverse_util.flatten_dict(tree)
    theirs, ours = (
      tuple(x) for x in (source.config["data"]["targets"], config.data.targets)
    )
    if theirs != ours:
      for path in [path for path in own if path[:3] == _LAST]:
        found[path] = _columns_of_targets(found[path], theirs, own[path], ours)
    _check_shapes(source, found, own)
    taken = f"all layers, since the targets are the same ({', '.join(ours)})"
    if theirs != ours:
      shared = [name for name in ours if name in theirs]
      taken = (
        f"all layers but the last: the targets are {', '.join(ours)}, there "
        f"{', '.join(theirs)}"
      )
      if shared:
        taken = f"all layers, of the last the part of {', '.join(shared)}"
    print(f"Starts from step {source.step} of {source.folder}: {taken}.")
    _report_seen(source.folder, data)
    return found

  flat = processes.broadcast_arrays(processes.on_first(read), own)
  variables = traverse_util.unflatten_dict(
    {path: jnp.asarray(array) for path, array in flat.items()}
  )
  return dataclasses.replace(state, **variables)


def _columns_of_targets(
  found: np.ndarray,
  theirs: Sequence[str],
  own: np.ndarray,
  ours: Sequence[str],
) -> np.ndarray:
  """Replaces the columns of targets that both networks have."""
  result = np.array(own)
  for i, name in enumerate(ours):
    if name in theirs:
      result[..., i] = found[..., theirs.index(name)]
  return result


def _find(config: ml_collections.ConfigDict) -> _Source:
  source = config.model.pretrained
  folder = files.local_path(source.removeprefix(PREFIX), _FLAG)
  place = f"{_FLAG}={PREFIX}{folder}"
  if (folder / "fold_0").is_dir():
    raise errors.ConfigError(
      f"{place}: expected a run, found an ensemble. Name one of its members, "
      f"such as {PREFIX}{folder / 'fold_0'}."
    )
  store = checkpoints.Checkpoints(
    folder / "checkpoints" / "latest", keep=2, read_only=True
  )
  steps = store.steps()
  if not steps:
    found = "no such folder"
    if folder.is_dir():
      found = f"no checkpoint in {folder / 'checkpoints' / 'latest'}"
    raise errors.NoCheckpointError(
      f"{place}: expected the --workdir of a trained run, found {found}. Train "
      f"it first: python main.py --config=... --workdir={folder}"
    )
  try:
    found_config = workdir_lib.read_config(folder)
  except FileNotFoundError:
    raise errors.ConfigError(
      f"{place}: expected config.json beside the checkpoints, found none. "
      "Repeat the command that trained the run: it writes the file."
    ) from None
  _check_network(place, found_config["model"], config.model)
  return _Source(folder, found_config, steps[-1], store)


def _check_network(
  place: str, theirs: Mapping[str, Any], ours: ml_collections.ConfigDict
) -> None:
  differing = {
    name: (theirs.get(name), list(x) if isinstance(x, tuple) else x)
    for name in _SHAPES[ours.network]
    for x in (ours[name],)
  }
  differing = {name: (a, b) for name, (a, b) in differing.items() if a != b}
  if not differing:
    return
  found = ", ".join(
    f"model.{name} {a} (here {b})" for name, (a, b) in differing.items()
  )
  flags = " ".join(
    f"--config.model.{name}={_as_flag(a)}" for name, (a, _) in differing.items()
  )
  raise errors.ConfigError(
    f"{place}: expected the same network, found {found}. Add {flags}"
  )


def _as_flag(value: Any) -> str:
  if isinstance(value, list):
    return f'"({",".join(map(str, value))})"'
  return str(value)


def _read(source: _Source, read: Any) -> Any:
  """Reads the source's step; a damaged one is an error on one line."""
  try:
    return read(source.step)
  except DamagedError as error:
    raise errors.CheckpointError(
      f"{source.place}: step {source.step} is damaged ({error}). Repeat the "
      "command that trained the run, which resumes from the step before, or "
      "restore the folder from a copy."
    ) from None


def _check_shapes(source: _Source, found: Mapping, own: Mapping) -> None:
  lines = [
    f"{'/'.join(path)}: expected {a}, found {b}"
    for path in sorted({*own, *found})
    for a, b in [
      tuple(x[path].shape if path in x else None for x in (own, found))
    ]
    if a != b
  ]
  if lines:
    raise errors.ConfigError(
      f"{source.place}: expected the weights of this network, found "
      f"{len(lines)} others: {'; '.join(lines[:3])}. Name another run."
    )


def _report_seen(
  folder: pathlib.Path, data: Mapping[str, galaxies.Split]
) -> None:
  """Prints how many galaxies of the evaluation the other run trained on."""
  try:
    training = calibration.Calibration.load(folder).training
  except (errors.ConfigError, files.DamagedFileError):
    return  # an older run has no list
  for name in ("validation", "test"):
    seen = count_seen(data[name], training)
    if seen:
      print(
        f"{seen} of {len(data[name])} {name} galaxies are among those that "
        f"{folder} was trained on: errors on them are too small."
      )


def count_seen(split: galaxies.Split, training: calibration.Training) -> int:
  """Counts galaxies that are in a training sample, by objid or position."""
  seen = np.isin(split.objid, training.objid)
  if {"ra", "dec"} <= set(split.columns) and len(training.position):
    position = np.stack([split.columns["ra"], split.columns["dec"]], 1)
    known = np.flatnonzero(np.isfinite(position).all(1))
    if len(known):
      own, others = (
        coordinates.SkyCoord(*x.astype(np.float64).T, unit="deg")
        for x in (position[known], training.degrees)
      )
      _, distance, _ = own.match_to_catalog_sky(others)
      seen[known] |= distance < _SAME_PLACE
  return int(seen.sum())
