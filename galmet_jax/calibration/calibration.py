"""What a trained run knows about its own errors; stored beside its results.

calibration.json and calibration.npz hold numbers only, and are bound to a
checkpoint and its views by digests.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import hashlib
import io
import pathlib
from typing import Any

import numpy as np

from galmet_jax import errors
from galmet_jax.baselines.gp_svr import GpSvr
from galmet_jax.calibration import conformal
from galmet_jax.calibration import outliers
from tfds_sdss import files

_JSON, _NPZ = "calibration.json", "calibration.npz"
_REMEDY = "Write it again: python main.py --mode=evaluate with the run's flags."
# Probabilities of the intervals in tables, and the names of their bounds.
INTERVALS = {0.68: ("p16", "p84"), 0.95: ("p2p5", "p97p5")}
# Share of the training labels within `Target.label_range`, percent.
_RANGE = (0.5, 99.5)
# 0.01 arcsec per unit: positions fit into 32 bits.
_PER_DEGREE = 360_000


@dataclasses.dataclass(frozen=True)
class Target:
  """Calibration of one target.

  Attributes:
    name: name of the target.
    residuals: of the calibration galaxies.
    label_range: percentiles 0.5 and 99.5 of the training labels.
    line: (a, b) of the least-squares line predicted = a + b · true over the
      calibration galaxies; b is below one if predictions shrink to the mean.
  """

  name: str
  residuals: conformal.Residuals
  label_range: tuple[float, float]
  line: tuple[float, float]

  @classmethod
  def fit(
    cls,
    name: str,
    predicted: np.ndarray,
    true: np.ndarray,
    training_labels: np.ndarray,
  ) -> "Target":
    """Fits the known labels of n calibration galaxies, `[n]` each."""
    known = np.isfinite(true)
    predicted, true = predicted[known].astype(np.float64), true[known]
    low, high = np.nanpercentile(training_labels, _RANGE)
    centred = true - true.mean(dtype=np.float64) if len(true) else true
    variance = float((centred**2).sum())
    slope = float(centred @ predicted) / variance if variance else np.nan
    mean = predicted.mean() if len(true) else np.nan
    intercept = float(mean - slope * np.mean(true)) if variance else np.nan
    return cls(
      name,
      conformal.Residuals.fit(predicted, true),
      (float(low), float(high)),
      (intercept, slope),
    )

  def unshrink(self, predicted: np.ndarray) -> np.ndarray:
    """Inverts the line: the slope of the result on the true values is one."""
    a, b = self.line
    return (predicted - a) / b


@dataclasses.dataclass(frozen=True)
class Training:
  """The galaxies that trained the network.

  Attributes:
    objid: their objIDs, sorted, int64 `[N]`.
    position: ra and dec in units of 0.01 arcsec, int32 `[N, 2]`; `[0, 2]` if
      the data set has no positions.
  """

  objid: np.ndarray
  position: np.ndarray

  @classmethod
  def of(
    cls, objid: np.ndarray, columns: Mapping[str, np.ndarray]
  ) -> "Training":
    """Collects the galaxies of a split, `[N]` each."""
    position = np.empty((0, 2))
    if {"ra", "dec"} <= set(columns):
      position = np.stack([columns["ra"], columns["dec"]], 1)
      position = position[np.isfinite(position).all(1)]
    scaled = np.rint(position.astype(np.float64) * _PER_DEGREE)
    return cls(np.sort(objid), scaled.astype(np.int32))

  @classmethod
  def join(cls, parts: Sequence["Training"]) -> "Training":
    """Returns the galaxies of all parts."""
    objid = np.unique(np.concatenate([part.objid for part in parts]))
    position = np.concatenate([part.position for part in parts])
    return cls(objid, np.unique(position, axis=0))

  @property
  def degrees(self) -> np.ndarray:
    """Positions, float64 `[N, 2]`, degrees."""
    return self.position / _PER_DEGREE


@dataclasses.dataclass(frozen=True)
class Calibration:
  """The calibration of a run or an ensemble.

  Attributes:
    facts: what it is bound to, as JSON; see `of_run.calibrate`.
    targets: one for each target.
    images: distribution of the training images.
    training: the training galaxies.
    feature_models: models on image features, one for each member and target,
      in this order; empty unless predictions depend on them
      (`eval.gp_svr_weight`).
  """

  facts: Mapping[str, Any]
  targets: tuple[Target, ...]
  images: outliers.ImageModel
  training: Training
  feature_models: tuple[GpSvr, ...] = ()

  def save(self, folder: pathlib.Path) -> None:
    """Writes calibration.npz, then calibration.json with its digest."""
    arrays = {
      **_flatten("images", self.images),
      **_flatten("training", self.training),
    }
    for i, target in enumerate(self.targets):
      arrays |= _flatten(f"target_{i}", target.residuals)
    for i, model in enumerate(self.feature_models):
      found = model.as_arrays()
      arrays |= {f"features_{i}/{name}": x for name, x in found.items()}
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    data = file.getvalue()
    content = {
      **self.facts,
      "targets": [
        {
          "name": target.name,
          "label_range": list(target.label_range),
          "line": [float(x) if np.isfinite(x) else None for x in target.line],
        }
        for target in self.targets
      ],
      "feature_models": len(self.feature_models),
      "arrays": hashlib.sha256(data).hexdigest(),
    }
    files.write_atomically(folder / _NPZ, data)
    files.write_json(folder / _JSON, content)

  @classmethod
  def load(cls, folder: pathlib.Path) -> "Calibration":
    """Reads the calibration in a folder.

    Raises:
      ConfigError: if there is none.
      DamagedFileError: if it is damaged, or the two files are not of one
        evaluation.
    """
    try:
      content = files.read_json(folder / _JSON, _REMEDY, needs_digest=True)
      data = (folder / _NPZ).read_bytes()
    except FileNotFoundError as error:
      raise errors.ConfigError(
        f"{folder}: expected {_JSON} and {_NPZ}, which every evaluation "
        f"writes; found no {pathlib.Path(error.filename).name}. {_REMEDY}"
      ) from error
    if hashlib.sha256(data).hexdigest() != content.pop("arrays", None):
      raise files.DamagedFileError(
        f"{folder / _NPZ} is damaged: expected the SHA-256 in {_JSON}. "
        f"{_REMEDY}"
      )
    try:
      return cls._parse(content, data)
    # As another version wrote them; NumPy's errors have no common class.
    except Exception as error:
      raise files.DamagedFileError(
        f"{folder / _JSON} and {_NPZ} do not have the expected content: "
        f"{type(error).__name__} {error}. {_REMEDY}"
      ) from error

  @classmethod
  def _parse(cls, content: dict[str, Any], data: bytes) -> "Calibration":
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
      arrays = dict(archive)
    targets = [
      Target(
        target["name"],
        conformal.Residuals(**_part(arrays, f"target_{i}")),
        _pair(target["label_range"]),
        _pair(target["line"]),
      )
      for i, target in enumerate(content.pop("targets"))
    ]
    # Earlier versions had none.
    number = content.pop("feature_models", 0)
    return cls(
      content,
      tuple(targets),
      outliers.ImageModel(**_part(arrays, "images")),
      Training(**_part(arrays, "training")),
      tuple(
        GpSvr.of_arrays(_part(arrays, f"features_{i}")) for i in range(number)
      ),
    )


def _pair(values: Sequence[float | None]) -> tuple[float, float]:
  first, second = (np.nan if x is None else float(x) for x in values)
  return first, second


def _flatten(name: str, fields: Any) -> dict[str, np.ndarray]:
  return {f"{name}/{key}": x for key, x in dataclasses.asdict(fields).items()}


def _part(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
  return {
    key.removeprefix(f"{name}/"): x
    for key, x in arrays.items()
    if key.startswith(f"{name}/")
  }
