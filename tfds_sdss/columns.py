"""The catalogue's columns: one table for the query, the files and the features.

Sources: the schema of SDSS (SpecObj, PhotoObj and the galSpec tables of the
MPA-JHU group); Wu & Boada (2019) for which of them are asked for.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Column(NamedTuple):
  """One column.

  Attributes:
    name: in the catalogue, in the data set and, but for the two ids, in SDSS.
    table: alias of the SDSS table in the query of fetch/skyserver.py.
    dtype: NumPy type that keeps every digit SDSS sends.
    unit: in astropy's spelling, empty for a number without one.
    description: what it is.
  """

  name: str
  table: str
  dtype: type[np.number]
  unit: str
  description: str


_FLUX_UNIT = "1e-17 erg / (s cm2)"


def _magnitudes() -> list[Column]:
  columns = []
  for band in "ugriz":
    columns += [
      Column(
        f"modelMag_{band}",
        "G",
        np.float32,
        "mag",
        f"Model magnitude in {band}, not corrected for Galactic extinction",
      ),
      Column(
        f"modelMagErr_{band}",
        "G",
        np.float32,
        "mag",
        f"Error of modelMag_{band}",
      ),
    ]
  return columns


def _line_fluxes() -> list[Column]:
  columns = []
  for line, name in (
    ("nii_6584", "[N II] 6584"),
    ("h_alpha", "H alpha"),
    ("oiii_5007", "[O III] 5007"),
    ("h_beta", "H beta"),
    ("h_delta", "H delta"),
  ):
    columns += [
      Column(
        f"{line}_flux",
        "L",
        np.float32,
        _FLUX_UNIT,
        f"Flux of {name}, from a Gaussian fit above the continuum",
      ),
      Column(
        f"{line}_flux_err",
        "L",
        np.float32,
        _FLUX_UNIT,
        f"Error of {line}_flux",
      ),
    ]
  return columns


def _abundances() -> list[Column]:
  return [
    Column(
      f"oh_p{percentile.replace('.', 'p')}",
      "E",
      np.float32,
      "dex",
      f"12 + log(O/H), percentile {percentile} of the posterior "
      "(Tremonti et al. 2004)",
    )
    for percentile in ("2.5", "16", "50", "84", "97.5")
  ]


COLUMNS = (
  Column("objid", "G", np.int64, "", "SDSS objID of the photometric object"),
  Column("specobjid", "I", np.int64, "", "SDSS specObjID of the spectrum"),
  Column("ra", "G", np.float64, "deg", "Right ascension, J2000"),
  Column("dec", "G", np.float64, "deg", "Declination, J2000"),
  Column("z", "S", np.float32, "", "Redshift"),
  Column("zErr", "S", np.float32, "", "Error of the redshift"),
  Column("velDisp", "S", np.float32, "km / s", "Velocity dispersion"),
  Column("velDispErr", "S", np.float32, "km / s", "Error of velDisp"),
  *_magnitudes(),
  Column("petroMag_r", "G", np.float32, "mag", "Petrosian magnitude in r"),
  Column(
    "petroR50_r",
    "G",
    np.float32,
    "arcsec",
    "Radius of 50 % of the Petrosian flux in r",
  ),
  Column(
    "petroR90_r",
    "G",
    np.float32,
    "arcsec",
    "Radius of 90 % of the Petrosian flux in r",
  ),
  *_line_fluxes(),
  Column("d4000", "X", np.float32, "", "Strength of the 4000 Angstrom break"),
  Column("d4000_err", "X", np.float32, "", "Error of d4000"),
  Column(
    "bptclass",
    "E",
    np.int32,
    "",
    "Class in the BPT diagram: -1 none, 1 star-forming, 2 the same at low "
    "signal-to-noise, 3 composite, 4 AGN, 5 LINER at low signal-to-noise",
  ),
  *_abundances(),
  Column(
    "lgm_tot_p50",
    "E",
    np.float32,
    "dex(solMass)",
    "Stellar mass, log10 of solar masses, median of the posterior",
  ),
  Column(
    "sfr_tot_p50",
    "E",
    np.float32,
    "dex(solMass / yr)",
    "Star-formation rate, log10 of solar masses per year, median",
  ),
)
BY_NAME = {column.name: column for column in COLUMNS}

# What the sample on Zenodo may have of them; its own list is not documented.
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

# What this project adds to a catalogue.
DERIVED = {
  "sky_group": "Least objid among the galaxies within 2 arcsec",
  "image_sha256": "SHA-256 of the image as it was fetched",
  "black_fraction": "Fraction of the image's pixels that are exactly black",
  "split": "train, validation or test, by a hash of sky_group",
  "fold": "0 to 9, by another hash of sky_group",
}
