"""The mean of a Gaussian process and a support vector machine."""

from collections.abc import Mapping
import dataclasses
from typing import Any

import numpy as np
from scipy.spatial import distance
from sklearn import svm

from galmet_jax.baselines import gaussian_process
from galmet_jax.baselines import image_features

# Chosen on 400 galaxies with labels of a standard deviation of 0.2 dex; C and
# epsilon are relative to it.
_SVR = {"C": 5.0, "epsilon": 0.25, "gamma": 0.21 / len(image_features.FEATURES)}


@dataclasses.dataclass(frozen=True)
class GpSvr:
  """A fitted model of one target.

  Attributes:
    limits: quantiles 1 and 99 % of the F training features, `[2, F]`. A merger
      or a bad image has extreme values, which are clipped.
    mean: of the clipped features, `[F]`.
    width: their standard deviation, `[F]`; infinite for constant features.
    process: the Gaussian process.
    support: the K support vectors, `[K, F]`.
    coefficients: of the support vectors, `[K]`.
    intercept: of the support vector machine, with the mean label.
    gamma: of its radial kernel.
  """

  limits: np.ndarray
  mean: np.ndarray
  width: np.ndarray
  process: gaussian_process.Model
  support: np.ndarray
  coefficients: np.ndarray
  intercept: float
  gamma: float

  @classmethod
  def fit(cls, features: np.ndarray, labels: np.ndarray, seed: int) -> "GpSvr":
    """Fits both.

    Args:
      features: of the training galaxies, `[M, F]`.
      labels: theirs, `[M]`, NaN where unknown.
      seed: see `gaussian_process.fit`.
    """
    known = np.isfinite(labels)
    features, labels = features[known], labels[known].astype(np.float64)
    limits = np.quantile(features, (0.01, 0.99), axis=0)
    clipped = np.clip(features, *limits)
    mean, width = clipped.mean(0), clipped.std(0)
    # A feature without scatter is a difference of roundings.
    width = np.where(width > 1e-9, width, np.inf)
    x = (clipped - mean) / width
    centre, spread = labels.mean(), labels.std() or 1.0
    machine = svm.SVR(**_SVR).fit(x, (labels - centre) / spread)
    return cls(
      limits,
      mean,
      width,
      gaussian_process.fit(x, labels, image_features.GROUPS, seed),
      machine.support_vectors_,
      spread * machine.dual_coef_[0],
      float(centre + spread * machine.intercept_[0]),
      _SVR["gamma"],
    )

  def predict(self, features: np.ndarray) -> np.ndarray:
    """Predicts galaxies with features `[N, F]`, `[N]`."""
    x = (np.clip(features, *self.limits) - self.mean) / self.width
    squares = distance.cdist(x, self.support, "sqeuclidean")
    by_machine = np.exp(-self.gamma * squares) @ self.coefficients
    return (self.process.predict(x) + by_machine + self.intercept) / 2

  def as_arrays(self) -> dict[str, np.ndarray]:
    """Returns all numbers, by name."""
    process = self.process._asdict()
    kernel = process.pop("parameters")._asdict()
    own = {
      field.name: getattr(self, field.name)
      for field in dataclasses.fields(self)
      if field.name != "process"
    }
    own |= {f"process.{name}": value for name, value in process.items()}
    own |= {f"kernel.{name}": value for name, value in kernel.items()}
    return {name: np.asarray(value) for name, value in own.items()}

  @classmethod
  def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "GpSvr":
    """Inverts `as_arrays`."""
    parts: dict[str, dict[str, Any]] = {"": {}, "process": {}, "kernel": {}}
    for name, value in arrays.items():
      part, _, field = name.rpartition(".")
      parts[part][field] = value
    kernel = gaussian_process.Parameters(**parts["kernel"])
    process = gaussian_process.Model(parameters=kernel, **parts["process"])
    return cls(process=process, **parts[""])
