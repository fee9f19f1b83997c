"""Columns of the catalogue, shared by the query, the files and the features.

Sources: the SDSS schema (SpecObj, PhotoObj and the MPA-JHU galSpec tables), and
Wu & Boada (2019) for the selection of columns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Column(NamedTuple):
  """One column.

  Attributes:
    name: name in the catalogue, in the data set and, except for the ids, in
      SDSS.
    table: alias of the SDSS table in the query of `fetch/skyserver.py`.
    unit: unit in astropy's notation; empty if dimensionless.
    valid: smallest and largest value of a measurement. SDSS and others mark a
      missing value by one outside, such as -9999, -99 or -1.
    dtype: NumPy type that keeps all digits of SDSS.
  """

  name: str
  table: str
  unit: str
  description: str
  valid: tuple[float, float]
  dtype: type[np.number] = np.float32

  @property
  def missing(self) -> float:
    """Value that marks a missing one: NaN, 0 for ids, -1 for classes."""
    if self.dtype == np.int64:
      return 0
    return -1 if np.issubdtype(self.dtype, np.integer) else np.nan


_ID = (1, 2**63 - 1)
# SDSS's magnitudes are limited to some 25; failed ones are -9999, 99 or 0.
_MAGNITUDE = (1.0, 40.0)
_RADIUS = (0.0, 300.0)
# The grid of models behind oh_p50 spans 7.7 to 9.5 dex.
_OH = (7.0, 10.0)
# The noise of a weak line may be negative.
_FLUX = (-1e6, 1e6)
# Markers of missing values, also in columns whose valid range contains them.
MARKERS = (-99.0, -999.0, -9999.0, -99999.0)


def _with_error(
  name: str,
  error_name: str,
  table: str,
  unit: str,
  description: str,
  valid: tuple[float, float],
) -> tuple[Column, Column]:
  # A negative error stands for a failed measurement.
  largest = max(valid)
  return (
    Column(name, table, unit, description, valid),
    Column(error_name, table, unit, f"Error of {name}", (0.0, largest)),
  )


COLUMNS = (
  Column(
    "objid", "G", "", "SDSS objID of the photometric object", _ID, np.int64
  ),
  Column("specobjid", "I", "", "SDSS specObjID of the spectrum", _ID, np.int64),
  Column("ra", "G", "deg", "Right ascension, J2000", (0.0, 360.0), np.float64),
  Column("dec", "G", "deg", "Declination, J2000", (-90.0, 90.0), np.float64),
  # The limits of SDSS's fits to spectra of galaxies.
  *_with_error("z", "zErr", "S", "", "Redshift", (-0.01, 2.0)),
  *_with_error(
    "velDisp", "velDispErr", "S", "km / s", "Velocity dispersion", (0.0, 2000.0)
  ),
  *(
    column
    for band in "ugriz"
    for column in _with_error(
      f"modelMag_{band}",
      f"modelMagErr_{band}",
      "G",
      "mag",
      f"Model magnitude in {band}, not corrected for Galactic extinction",
      _MAGNITUDE,
    )
  ),
  Column("petroMag_r", "G", "mag", "Petrosian magnitude in r", _MAGNITUDE),
  Column(
    "petroR50_r",
    "G",
    "arcsec",
    "Radius of 50 % of the Petrosian flux in r",
    _RADIUS,
  ),
  Column(
    "petroR90_r",
    "G",
    "arcsec",
    "Radius of 90 % of the Petrosian flux in r",
    _RADIUS,
  ),
  *(
    column
    for name, line in (
      ("nii_6584", "[N II] 6584"),
      ("h_alpha", "H alpha"),
      ("oiii_5007", "[O III] 5007"),
      ("h_beta", "H beta"),
      ("h_delta", "H delta"),
    )
    for column in _with_error(
      f"{name}_flux",
      f"{name}_flux_err",
      "L",
      "1e-17 erg / (s cm2)",
      f"Flux of {line}, from a Gaussian fit above the continuum",
      _FLUX,
    )
  ),
  *_with_error(
    "d4000",
    "d4000_err",
    "X",
    "",
    "Strength of the 4000 Angstrom break",
    (0.0, 100.0),
  ),
  Column(
    "bptclass",
    "E",
    "",
    "Class in the BPT diagram: -1 none, 1 star-forming, 2 the same at low "
    "signal-to-noise, 3 composite, 4 AGN, 5 LINER at low signal-to-noise",
    (-1, 5),
    np.int32,
  ),
  *(
    Column(
      f"oh_p{percentile.replace('.', 'p')}",
      "E",
      "dex",
      f"12 + log(O/H), percentile {percentile} of the posterior "
      "(Tremonti et al. 2004)",
      _OH,
    )
    for percentile in ("2.5", "16", "50", "84", "97.5")
  ),
  Column(
    "lgm_tot_p50",
    "E",
    "dex(solMass)",
    "Stellar mass, log10 of solar masses, median of the posterior",
    (4.0, 14.0),
  ),
  Column(
    "sfr_tot_p50",
    "E",
    "dex(solMass / yr)",
    "Star-formation rate, log10 of solar masses per year, median",
    (-10.0, 5.0),
  ),
)
# Columns of the catalogue on Zenodo that the query does not have.
_ZENODO_ONLY = (
  Column("dr7objid", "", "", "SDSS objID in DR7; 0 if unknown", _ID, np.int64),
  Column(
    "reliable",
    "",
    "",
    "Whether the MPA-JHU values are reliable: 1 yes, 0 no, -1 unknown",
    (0, 1),
    np.int32,
  ),
)
BY_NAME = {column.name: column for column in (*COLUMNS, *_ZENODO_ONLY)}

SKYSERVER = tuple(column.name for column in COLUMNS)
# Columns of the Zenodo sample. Some may be absent from its catalogue.
ZENODO = (
  "objid",
  "dr7objid",
  "specobjid",
  "ra",
  "dec",
  "z",
  "zErr",
  "velDisp",
  "velDispErr",
  *(f"modelMag_{band}" for band in "ugriz"),
  "petroMag_r",
  "petroR50_r",
  "petroR90_r",
  *(
    f"{line}_flux{error}"
    for line in ("nii_6584", "h_alpha", "oiii_5007", "h_beta")
    for error in ("", "_err")
  ),
  "bptclass",
  "reliable",
  "oh_p50",
  "lgm_tot_p50",
  "sfr_tot_p50",
)


def in_range(name: str, values: np.ndarray) -> np.ndarray:
  """Whether values are valid in their column, bool `[N]`; False for NaN.

  Args:
    name: a column in `BY_NAME`.
    values: numbers `[N]`; for a column of integers they must be whole.
  """
  return is_valid(BY_NAME[name], values)


def is_valid(column: Column, values: np.ndarray) -> np.ndarray:
  """Whether values are valid in any column; see `in_range`."""
  low, high = column.valid
  valid = (values >= low) & (values <= high) & ~np.isin(values, MARKERS)
  if np.issubdtype(column.dtype, np.integer):
    valid &= values == np.trunc(values)
  return valid


# Columns that this project adds.
DERIVED = {
  "sky_group": "Least objid among the galaxies within 2 arcsec",
  "image_sha256": "SHA-256 of the image as it was fetched",
  "black_fraction": "Fraction of the image's pixels that are exactly black",
  "split": "train, validation or test, by a hash of sky_group",
  "fold": "0 to 9, by another hash of sky_group",
}
# Further columns of a catalogue of the user.
CUSTOM = {
  "id": "Id in the user's catalogue",
  "image_file": "File of the image, in the folder of images",
}
