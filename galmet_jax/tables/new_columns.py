"""Columns that prediction adds to a table: names, units, UCDs, descriptions."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import re

import numpy as np

from galmet_jax import quantities
from galmet_jax.baselines import image_features

# UCDs of targets by parts of their names. No word stands for oxygen.
_WORDS = {
  r"(12)?(log|lg)?oh|metallicity": "phys.abund.Z",
  r"(log|lg)?m|(log)?(stellar)?mass|(log)?mstar": "phys.mass",
  r"(log|lg)?sfr": "phys.SFR",
  r"z|z?spec|z?phot|redshift": "src.redshift",
}
# Columns for each target: pattern of the UCD, and description. They are NaN
# for a galaxy without a prediction.
OF_TARGET = {
  "pred": ("{};meta.modelled", "Prediction of {}"),
  "pred_err": ("stat.error;{}", "Half of p84 - p16 of {}"),
  **{
    f"pred_{name}": ("stat.percentile;{}", f"{level} % quantile of {{}}")
    for name, level in (
      ("p2p5", "2.5"),
      ("p16", "16"),
      ("p84", "84"),
      ("p97p5", "97.5"),
    )
  },
  "tta_std": ("stat.stdev;{}", "Scatter of {} over views, not an uncertainty"),
  "member_std": (
    "stat.stdev;{}",
    "Scatter of {} over networks, not an uncertainty",
  ),
  "pred_unshrunk": (
    "{};meta.modelled",
    "Linearly calibrated {}, for populations only",
  ),
}
# Columns for each galaxy: type, unit, UCD and description.
OF_GALAXY = {
  "ood_p": (
    np.float32,
    "",
    "stat.probability",
    "Part of the calibration images that are as unusual or more",
  ),
  "flags": (np.int32, "", "meta.code.qual", "Sum of bits; 0: nothing found"),
  "flag_text": (str, "", "meta.note", "Meaning of the bits in flags"),
  "sdss_objid": (
    np.int64,
    "",
    "meta.id.cross",
    "objID of the SDSS galaxy; 0 if none",
  ),
  "match_sep": (
    np.float32,
    "arcsec",
    "pos.angDistance",
    "Distance of the SDSS galaxy from the given position",
  ),
  "petroR90_r_used": (
    np.float32,
    "arcsec",
    "phys.angSize;src",
    "Petrosian radius that sets the field of view",
  ),
}


@dataclasses.dataclass(frozen=True)
class Column:
  """A column that prediction adds.

  Attributes:
    name: name without a prefix.
    values: N values; missing are NaN, the empty text, and 0 for ids.
    unit: in astropy's notation; empty if dimensionless.
    ucd: IVOA's Unified Content Descriptor; empty if none fits.
    description: at most 68 ASCII characters, which fit a FITS card.
  """

  name: str
  values: np.ndarray
  unit: str
  ucd: str
  description: str


def for_target(
  target: str, unit: str, values: Mapping[str, np.ndarray]
) -> list[Column]:
  """Returns the columns of one target, in a fixed order.

  Args:
    target: such as `oh_p50`. Its UCD follows from the name; an unknown target
      has none.
    unit: unit of the target, such as `dex` or `dex(solMass)`.
    values: N numbers by the name after `TARGET_`: pred, pred_err, pred_p2p5,
      pred_p16, pred_p84, pred_p97p5, tta_std, member_std, pred_unshrunk; any
      may be absent.

  Raises:
    ValueError: if a name is unknown.
  """
  _check_known(values, OF_TARGET)
  word = _word(target)
  difference = quantities.unit_of_difference(unit)
  return [
    Column(
      name=f"{target}_{name}",
      values=np.asarray(values[name], np.float32),
      unit=difference if name.endswith(("_err", "_std")) else unit,
      # The primary word of a value is missing without the target's.
      ucd=ucd.format(word).strip(";") if word or "stat" in ucd else "",
      description=description.format(target),
    )
    for name, (ucd, description) in OF_TARGET.items()
    if name in values
  ]


def for_galaxies(values: Mapping[str, np.ndarray]) -> list[Column]:
  """Returns the columns that do not depend on targets, in a fixed order.

  Args:
    values: N values by name: ood_p, flags, flag_text, sdss_objid, match_sep
      and petroR90_r_used; any may be absent.

  Raises:
    ValueError: if a name is unknown.
  """
  _check_known(values, OF_GALAXY)
  return [
    Column(name, np.asarray(values[name], kind), unit, ucd, description)
    for name, (kind, unit, ucd, description) in OF_GALAXY.items()
    if name in values
  ]


def for_features(values: np.ndarray) -> list[Column]:
  """Returns the columns `image_NAME` of the image features `[N, 45]`."""
  return [
    Column(f"image_{name}", column.astype(np.float32), "", "", description)
    for (name, _, description), column in zip(
      image_features.FEATURES, values.T, strict=True
    )
  ]


def _check_known(values: Mapping, known: Mapping) -> None:
  if unknown := sorted(set(values) - set(known)):
    raise ValueError(f"expected some of {list(known)}, found {unknown}")


def _word(target: str) -> str:
  """Returns the UCD of a target; empty if unknown."""
  parts = re.split(r"[^a-z0-9]+", target.lower())
  return next(
    (
      word
      for pattern, word in _WORDS.items()
      if any(re.fullmatch(pattern, part) for part in parts)
    ),
    "",
  )
