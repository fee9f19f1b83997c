"""Conformal p-values of images: whether a network may be trusted with one."""

import dataclasses

import numpy as np
from sklearn import covariance

_FOLDS = 5


@dataclasses.dataclass(frozen=True)
class ImageModel:
  """The distribution of the image statistics of galaxies like the training's.

  Attributes:
    mean: mean of the D statistics, float64 `[D]`.
    precision: inverse of their covariance, float64 `[D, D]`.
    scores: squared Mahalanobis distances of the N galaxies, each relative to a
      fit without it, sorted, float64 `[N]`.
  """

  mean: np.ndarray
  precision: np.ndarray
  scores: np.ndarray

  @classmethod
  def fit(cls, statistics: np.ndarray) -> "ImageModel":
    """Fits statistics `[N, D]` with the shrinkage of Ledoit & Wolf (2004).

    The images need not be outside training: no network has seen the statistics.
    Five folds give each galaxy a distance from a fit without it.
    """
    number = len(statistics)
    fold = np.arange(number) % _FOLDS
    scores = np.empty(number)
    for held_out in range(_FOLDS):
      here = fold == held_out
      if here.any():
        rest = statistics[~here] if not here.all() else statistics
        scores[here] = _distance(statistics[here], *_fit(rest))
    return cls(*_fit(statistics), np.sort(scores))

  @property
  def level(self) -> float:
    """p-value at and below which an image is flagged.

    A p-value of 1 % needs more than the images of a small training set.
    """
    return 0.01 if len(self.scores) >= 1_000 else 0.03

  def p_values(self, statistics: np.ndarray) -> np.ndarray:
    """Returns (1 + number of scores ≥ the image's) / (N + 1), `[M]`."""
    distance = _distance(statistics, self.mean, self.precision)
    below = np.searchsorted(self.scores, distance, side="left")
    return (1 + len(self.scores) - below) / (1 + len(self.scores))


def _fit(statistics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  # In units of each statistic's scatter: the shrinkage is towards a multiple
  # of the identity.
  scale = np.maximum(statistics.std(0), 1e-6)
  fitted = covariance.LedoitWolf().fit(statistics / scale)
  precision = fitted.precision_ / np.outer(scale, scale)
  return fitted.location_ * scale, precision


def _distance(
  statistics: np.ndarray, mean: np.ndarray, precision: np.ndarray
) -> np.ndarray:
  centred = statistics - mean
  return ((centred @ precision) * centred).sum(1)
