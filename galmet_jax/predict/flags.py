"""Bits that say why a prediction is absent, or may not be trusted."""

import enum

import numpy as np

from galmet_jax.calibration.calibration import Calibration


class Flag(enum.IntFlag):
  """Flags of a galaxy; the prediction is NaN with one of the first seven."""

  NO_IMAGE = 1
  BAD_IMAGE = 2
  BAD_POSITION = 4
  NO_RADIUS = 8
  OUTSIDE = 16
  SERVICE = 32
  BLACK = 64
  OOD = 128
  EXTRAPOLATES = 256
  MATCH_DOUBTFUL = 512
  IN_TRAINING = 1024
  DUPLICATE = 2048


# Flags without a prediction.
NO_VALUE = Flag(127)

MEANINGS = {
  Flag.NO_IMAGE: "no image",
  Flag.BAD_IMAGE: "no RGB image of the network's size",
  Flag.BAD_POSITION: "no position on the sky",
  Flag.NO_RADIUS: "no radius, which sets the field of view",
  Flag.OUTSIDE: "outside the survey, or no galaxy there",
  Flag.SERVICE: "the service failed; try again",
  Flag.BLACK: "more than half of the image is black",
  Flag.OOD: "an image unlike those of the training",
  Flag.EXTRAPOLATES: "beyond the labels of the training",
  Flag.MATCH_DOUBTFUL: "more than 1 arcsec away, or two galaxies",
  Flag.IN_TRAINING: "trained the network",
  Flag.DUPLICATE: "another row has the same id or image",
}


def of_predictions(
  calibration: Calibration, p: np.ndarray, predicted: np.ndarray
) -> np.ndarray:
  """Returns the flags of images and predictions unlike those of the training.

  Args:
    calibration: of the run or the ensemble.
    p: p-values of the images `[N]`; NaN where there is no image.
    predicted: predictions of T targets `[N, T]`.

  Returns:
    OOD and EXTRAPOLATES, int32 `[N]`.
  """
  flags = np.where(p <= calibration.images.level, Flag.OOD, 0)
  for target, values in zip(calibration.targets, predicted.T, strict=False):
    low, high = target.label_range
    beyond = (values < low) | (values > high)
    flags |= np.where(beyond, Flag.EXTRAPOLATES, 0)
  return flags.astype(np.int32)


def describe(flags: np.ndarray, details: dict[int, str]) -> np.ndarray:
  """Returns the meanings of flags as text `[N]`; empty for 0.

  Args:
    flags: sums of bits, int `[N]`.
    details: by row, what was found instead of an image.
  """
  texts = {
    value: "; ".join(text for flag, text in MEANINGS.items() if flag & value)
    for value in np.unique(flags).tolist()
  }
  found = np.array([texts[value] for value in flags.tolist()], object)
  for row, detail in details.items():
    found[row] = f"{found[row]} ({detail})"
  return found.astype(str)
