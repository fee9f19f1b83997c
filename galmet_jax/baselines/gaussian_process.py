"""Gaussian process regression whose kernel weighs groups of features.

k(x, x') = s exp(-½ Σ_g w_g D_g) + Σ_g v_g x_g · x'_g / n_g + 0.01, where D_g is
the mean squared difference of the n_g features in group g: a smooth function of
all groups, and a linear one of each. The parameters maximise the marginal
likelihood (Rasmussen & Williams 2006, section 5.4.1) times weak priors. The
kernels of scikit-learn have one length for all features, or one for each.
"""

from collections.abc import Callable
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import linalg
from scipy import optimize

_OFFSET = 0.01
# Least variance of the noise, relative to that of the labels.
_LEAST_NOISE = 1e-3
# Limits of the logarithms of parameters.
_RANGE = 9.0
# Memory and time grow as the square and the cube of the number of galaxies.
_MAX_TO_OPTIMISE = 1_000


class Parameters(NamedTuple):
  """Parameters of the kernel, for standardised labels.

  Attributes:
    smooth: w of each group.
    linear: v of each group.
    amplitude: s.
    noise: variance of the labels' noise.
  """

  smooth: np.ndarray
  linear: np.ndarray
  amplitude: float
  noise: float

  @classmethod
  def of(cls, logarithms: np.ndarray) -> "Parameters":
    """Returns the parameters with these logarithms, in order."""
    values = np.exp(logarithms)
    number = (len(values) - 2) // 2
    return cls(
      values[:number], values[number : 2 * number], values[-2], values[-1]
    )


class Model(NamedTuple):
  """A fitted process.

  Attributes:
    parameters: of the kernel.
    groups: group of each feature, `[F]`.
    features: of the training galaxies, `[M, F]`.
    weights: K⁻¹ y, `[M]`.
    mean: of the training labels.
    width: standard deviation of the training labels.
  """

  parameters: Parameters
  groups: np.ndarray
  features: np.ndarray
  weights: np.ndarray
  mean: float
  width: float

  def predict(self, features: np.ndarray) -> np.ndarray:
    """Returns the mean of the process at features `[N, F]`, `[N]`."""
    kernel = _kernel(self.parameters, self.groups, features, self.features)
    return self.mean + self.width * (kernel @ self.weights)


def fit(
  features: np.ndarray, labels: np.ndarray, groups: Sequence[int], seed: int
) -> Model:
  """Fits a process.

  Args:
    features: standardised, `[M, F]`.
    labels: `[M]`.
    groups: index of the group of each feature, from 0.
    seed: selects the galaxies that determine the parameters, above 1,000.
  """
  group = np.asarray(groups)
  mean, width = float(labels.mean()), float(labels.std()) or 1.0
  y = (labels - mean) / width
  chosen = np.arange(len(y))
  if len(y) > _MAX_TO_OPTIMISE:
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(y), _MAX_TO_OPTIMISE, replace=False))
  parameters = _maximise(features[chosen], y[chosen], group)
  covariance = _kernel(parameters, group, features, features)
  covariance[np.diag_indices(len(y))] += parameters.noise + _LEAST_NOISE
  weights = linalg.solve(covariance, y, assume_a="pos")
  return Model(parameters, group, features, weights, mean, width)


def _kernel(
  parameters: Parameters, group: np.ndarray, a: np.ndarray, b: np.ndarray
) -> np.ndarray:
  size = np.bincount(group)[group]
  scale = np.sqrt(parameters.smooth[group] / size)
  linear = (a * (parameters.linear[group] / size)) @ b.T
  distance = _squared_distances(a * scale, b * scale)
  return parameters.amplitude * np.exp(-distance / 2) + linear + _OFFSET


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  square = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
  return np.maximum(square, 0)


def _maximise(x: np.ndarray, y: np.ndarray, group: np.ndarray) -> Parameters:
  """Returns the parameters of the greatest posterior probability."""
  found = optimize.minimize(
    make_loss(x, y, group),
    _prior(len(np.bincount(group)))[0],
    jac=True,
    method="L-BFGS-B",
    bounds=[(-_RANGE, _RANGE)] * (2 * len(np.bincount(group)) + 2),
    options={"maxiter": 60},
  )
  return Parameters.of(found.x)


def _prior(number: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns means and widths of the logarithms of parameters."""
  repeats = [number, number, 1, 1]
  return (
    np.repeat([np.log(0.15), -3.5, 0.0, np.log(0.3)], repeats),
    np.repeat([2.0, 2.0, 1.0, 1.0], repeats),
  )


def make_loss(
  x: np.ndarray, y: np.ndarray, group: np.ndarray
) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
  """Returns the negative logarithm of the posterior, and its gradient.

  Args:
    x: features `[M, F]`.
    y: labels `[M]` of mean 0.
    group: index of the group of each feature.

  Returns:
    A function of the logarithms of the parameters, which leaves out constants.
  """
  sizes = np.bincount(group)
  parts = [x[:, group == g] / np.sqrt(n) for g, n in enumerate(sizes)]
  distances = np.stack([_squared_distances(part, part) for part in parts])
  products = np.stack([part @ part.T for part in parts])
  centres, widths = _prior(len(sizes))

  def loss(logarithms: np.ndarray) -> tuple[float, np.ndarray]:
    w, v, amplitude, noise = Parameters.of(logarithms)
    smooth = amplitude * np.exp(-np.tensordot(w, distances, 1) / 2)
    covariance = smooth + np.tensordot(v, products, 1) + _OFFSET
    covariance[np.diag_indices(len(y))] += noise + _LEAST_NOISE
    factor = linalg.cholesky(covariance, lower=True)
    inverse = linalg.cho_solve((factor, True), np.eye(len(y)))
    weights = inverse @ y
    # Half the derivative with respect to the covariance (eq. 5.9).
    slope = (inverse - np.outer(weights, weights)) / 2
    from_prior = (logarithms - centres) / widths
    value = y @ weights / 2 + np.log(np.diag(factor)).sum()
    gradient = [
      *(-w / 2 * np.tensordot(distances, slope * smooth, 2)),
      *(v * np.tensordot(products, slope, 2)),
      np.vdot(slope, smooth),
      noise * np.trace(slope),
    ]
    return value + (from_prior**2).sum() / 2, gradient + from_prior / widths

  return loss
