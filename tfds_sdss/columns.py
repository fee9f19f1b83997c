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
    name: name in the catalogue, in the data set and, except for the two ids,
      in SDSS.
    table: alias of the SDSS table in the query of `fetch/skyserver.py`.
    unit: unit in astropy's notation; empty if dimensionless.
    dtype: NumPy type that keeps all digits of SDSS.
  """

  name: str
  table: str
  unit: str
  description: str
  dtype: type[np.number] = np.float32


def _with_error(
  name: str, error_name: str, table: str, unit: str, description: str
) -> tuple[Column, Column]:
  return (
    Column(name, table, unit, description),
    Column(error_name, table, unit, f"Error of {name}"),
  )


COLUMNS = (
  Column("objid", "G", "", "SDSS objID of the photometric object", np.int64),
  Column("specobjid", "I", "", "SDSS specObjID of the spectrum", np.int64),
  Column("ra", "G", "deg", "Right ascension, J2000", np.float64),
  Column("dec", "G", "deg", "Declination, J2000", np.float64),
  Column("z", "S", "", "Redshift"),
  Column("zErr", "S", "", "Error of the redshift"),
  *_with_error("velDisp", "velDispErr", "S", "km / s", "Velocity dispersion"),
  *(
    column
    for band in "ugriz"
    for column in _with_error(
      f"modelMag_{band}",
      f"modelMagErr_{band}",
      "G",
      "mag",
      f"Model magnitude in {band}, not corrected for Galactic extinction",
    )
  ),
  Column("petroMag_r", "G", "mag", "Petrosian magnitude in r"),
  Column(
    "petroR50_r", "G", "arcsec", "Radius of 50 % of the Petrosian flux in r"
  ),
  Column(
    "petroR90_r", "G", "arcsec", "Radius of 90 % of the Petrosian flux in r"
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
    )
  ),
  *_with_error(
    "d4000", "d4000_err", "X", "", "Strength of the 4000 Angstrom break"
  ),
  Column(
    "bptclass",
    "E",
    "",
    "Class in the BPT diagram: -1 none, 1 star-forming, 2 the same at low "
    "signal-to-noise, 3 composite, 4 AGN, 5 LINER at low signal-to-noise",
    np.int32,
  ),
  *(
    Column(
      f"oh_p{percentile.replace('.', 'p')}",
      "E",
      "dex",
      f"12 + log(O/H), percentile {percentile} of the posterior "
      "(Tremonti et al. 2004)",
    )
    for percentile in ("2.5", "16", "50", "84", "97.5")
  ),
  Column(
    "lgm_tot_p50",
    "E",
    "dex(solMass)",
    "Stellar mass, log10 of solar masses, median of the posterior",
  ),
  Column(
    "sfr_tot_p50",
    "E",
    "dex(solMass / yr)",
    "Star-formation rate, log10 of solar masses per year, median",
  ),
)
BY_NAME = {column.name: column for column in COLUMNS}

# Columns of the Zenodo sample. Some may be absent, because the columns of its
# file are undocumented.
ZENODO = (
  "objid",
  "ra",
  "dec",
  "z",
  "nii_6584_flux",
  "nii_6584_flux_err",
  "h_alpha_flux",
  "h_alpha_flux_err",
  "oiii_5007_flux",
  "oiii_5007_flux_err",
  "h_beta_flux",
  "h_beta_flux_err",
  "oh_p50",
  "lgm_tot_p50",
  "sfr_tot_p50",
)

# Columns that this project adds.
DERIVED = {
  "sky_group": "Least objid among the galaxies within 2 arcsec",
  "image_sha256": "SHA-256 of the image as it was fetched",
  "black_fraction": "Fraction of the image's pixels that are exactly black",
  "split": "train, validation or test, by a hash of sky_group",
  "fold": "0 to 9, by another hash of sky_group",
}
