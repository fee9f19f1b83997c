"""Catalogue of mock star-forming galaxies with known metallicities.

`render.py` turns its rows into images. Ten thousand rows take a second, so
colours, shapes and metallicities can be tested without images.
"""

from collections.abc import Mapping

from astropy import cosmology
import numpy as np

# Mass-metallicity relation of 203,599 SDSS DR17 star-forming galaxies (BPT
# class 1): MPA-JHU lgm_tot_p50 and oh_p50 (Tremonti et al. 2004 scale) in bins
# of 0.15 dex, from DuhoKim/NebulaMind (MIT). The columns are bin centre, count,
# and the median, 16th and 84th percentile of 12 + log(O/H).
MASS_METALLICITY = np.array(
  [
    [8.075, 682, 8.2256, 8.0897, 8.6064],
    [8.225, 1012, 8.2669, 8.1208, 8.6144],
    [8.375, 1411, 8.2975, 8.1450, 8.6148],
    [8.525, 2112, 8.3593, 8.1808, 8.6115],
    [8.675, 2959, 8.4102, 8.2402, 8.6288],
    [8.825, 4180, 8.4779, 8.2980, 8.6673],
    [8.975, 5498, 8.5732, 8.3570, 8.7066],
    [9.125, 7143, 8.6122, 8.4185, 8.7519],
    [9.275, 8986, 8.6706, 8.4983, 8.8150],
    [9.425, 11221, 8.7218, 8.5859, 8.8670],
    [9.575, 13815, 8.7925, 8.6488, 8.9250],
    [9.725, 16331, 8.8450, 8.7023, 8.9643],
    [9.875, 18452, 8.8926, 8.7609, 9.0060],
    [10.025, 19673, 8.9488, 8.8192, 9.0500],
    [10.175, 20185, 8.9897, 8.8636, 9.0716],
    [10.325, 19480, 9.0119, 8.9142, 9.1006],
    [10.475, 17155, 9.0500, 8.9500, 9.1161],
    [10.625, 13717, 9.0682, 8.9761, 9.1332],
    [10.775, 9566, 9.0891, 8.9909, 9.1500],
    [10.925, 5679, 9.0982, 9.0069, 9.1645],
    [11.075, 2840, 9.1091, 9.0152, 9.1839],
    [11.225, 1095, 9.1100, 9.0151, 9.1893],
  ]
)

# Measurement error of the label in dex: oh_p50 = oh_true + N(0, LABEL_NOISE).
# No model's RMSE against oh_p50 can be smaller.
LABEL_NOISE = 0.03

# Mock objids start above every real SDSS objID (which start with 1237) and
# stay below 2**63.
OBJID_BASE = 9_000_000_000_000_000_000
_OBJIDS_PER_SEED = 10**9
_SEED_MAX = 200_000_000

# Scalar features of each example, besides objid and oh_p50.
FEATURES = {
  "petroR90_r": "Radius of 90 % of the Petrosian flux in r [arcsec]",
  "modelMag_g": "Apparent magnitude in g, with its error [mag]",
  "modelMag_r": "Apparent magnitude in r, with its error [mag]",
  "modelMag_i": "Apparent magnitude in i, with its error [mag]",
  "z": "Redshift",
  "lgm_tot_p50": "Stellar mass [log10 of solar masses]",
  "sfr_tot_p50": "Star-formation rate [log10 of solar masses per year]",
  "oh_true": "Noiseless gas-phase metallicity 12 + log(O/H) [dex]",
  "d4000_n": "Strength of the 4000 Angstrom break: the stars' age",
  "dust_av": "Dust attenuation in V along the line of sight [mag]",
  "inclination": "Inclination of the disc, 0 is face-on [deg]",
  "bulge_fraction": "Fraction of the r-band light in the bulge",
  "knot_fraction": "Fraction of the disc's r-band light in star-forming knots",
}

# Properties for a network to learn, on scales that suit it.
DERIVED = {
  "log_r90": "log10 of petroR90_r in arcsec",
  "log_z": "log10 of the redshift",
  "colour_gr": "Measured g - r [mag]",
  "colour_ri": "Measured r - i [mag]",
  "cos_inclination": "Cosine of the inclination",
}

# Standard normal and uniform numbers of a galaxy, in the order of drawing.
_NORMALS = (
  "metal",
  "burst",
  "age",
  "dust",
  "bulge",
  "knots",
  "size",
  "colour_gr",
  "colour_ri",
  "error_g",
  "error_r",
  "error_i",
  "error_oh",
)
_UNIFORMS = ("mass", "cosine", "volume")

_MEDIAN_MASS = 10.056  # log10 of solar masses, of the paper's sample
_PHOTOMETRIC_ERROR = 0.02  # mag
_MAGNITUDE_LIMIT = 17.77  # r, of the SDSS main galaxy sample
_Z_MIN = 0.02
# Attenuation in g, r and i relative to V (Cardelli et al. 1989, R_V = 3.1).
_ATTENUATION = (1.20, 0.85, 0.65)

_COSMOLOGY = cosmology.FlatLambdaCDM(H0=70.0, Om0=0.3)
# Table from which the redshift at a distance modulus is interpolated.
_Z_TABLE = np.linspace(0.001, 0.5, 500)
_MODULUS_TABLE = _COSMOLOGY.distmod(_Z_TABLE).to_value("mag")


def draw(seed: int, indices: np.ndarray) -> dict[str, np.ndarray]:
  """Draws catalogue rows.

  Args:
    seed: number of the catalogue.
    indices: indices of galaxies, int [N]. A row depends only on (seed, index).

  Returns:
    Columns [N]: objid (int64), oh_p50 and FEATURES (float64), and
    `magnitudes` [N, 3], the noiseless g, r, i from which the image is rendered.

  Raises:
    ValueError: if the objids of this seed would not fit into int64.
  """
  if not 0 <= seed <= _SEED_MAX:
    raise ValueError(f"expected a seed from 0 to {_SEED_MAX}, found {seed}")
  drawn = _draw_numbers(seed, indices)
  lgm = np.interp(drawn["mass"], *_mass_cdf())
  oh_true = _metallicity(lgm, drawn["metal"])

  # The fundamental metallicity relation: at fixed mass, galaxies that form more
  # stars contain fewer metals (Mannucci et al. 2010).
  burst = -0.45 * drawn["metal"] + np.sqrt(1 - 0.45**2) * drawn["burst"]
  x = lgm - _MEDIAN_MASS
  age = 0.75 * x / 0.55 - 0.45 * burst + 0.5 * drawn["age"]
  cosine = drawn["cosine"] ** 0.75  # of the inclination
  # The path through the dust grows with the inclination.
  dust_av = (
    0.30 * 10 ** (0.2 * x + 0.2 * drawn["dust"]) / (0.3 + 0.7 * cosine) ** 0.6
  )
  colour_gr, colour_ri = _colours(drawn, age, oh_true, dust_av)
  z, magnitude_r = _redshift(drawn["volume"], lgm, colour_gr)
  magnitudes = np.stack(
    [magnitude_r + colour_gr, magnitude_r, magnitude_r - colour_ri], axis=-1
  )
  errors = np.stack([drawn[f"error_{band}"] for band in "gri"], axis=-1)
  measured = magnitudes + _PHOTOMETRIC_ERROR * errors
  objid = OBJID_BASE + seed * _OBJIDS_PER_SEED + np.asarray(indices, np.int64)
  return {
    "objid": objid,
    "oh_p50": oh_true + LABEL_NOISE * drawn["error_oh"],
    "petroR90_r": _radius(drawn, x, z),
    "modelMag_g": measured[:, 0],
    "modelMag_r": measured[:, 1],
    "modelMag_i": measured[:, 2],
    "z": z,
    "lgm_tot_p50": lgm,
    "sfr_tot_p50": 0.17 + 0.77 * x + 0.30 * burst,
    "oh_true": oh_true,
    "d4000_n": 1.32 + 0.10 * age,
    "dust_av": dust_av,
    "inclination": np.degrees(np.arccos(cosine)),
    # The coefficients of the fractions and the colours are not measurements.
    # They are tuned so that a forest reaches the paper's RMSE on magnitudes
    # alone and its network's RMSE on all visible properties.
    "bulge_fraction": _logistic(
      -1.7
      + 1.0 * x
      - 0.3 * burst
      + 0.45 * drawn["metal"]
      + 0.45 * drawn["bulge"]
    ),
    "knot_fraction": 0.30
    * _logistic(
      -0.9
      - 1.0 * x
      + 0.3 * burst
      - 0.45 * drawn["metal"]
      + 0.5 * drawn["knots"]
    ),
    "magnitudes": magnitudes,
  }


def derive(row: Mapping[str, float]) -> dict[str, float]:
  """Returns the columns of DERIVED for a row with FEATURES."""
  g, r, i = (row[f"modelMag_{band}"] for band in "gri")
  return {
    "log_r90": np.log10(row["petroR90_r"]),
    "log_z": np.log10(row["z"]),
    "colour_gr": g - r,
    "colour_ri": r - i,
    "cos_inclination": np.cos(np.radians(row["inclination"])),
  }


def _draw_numbers(seed: int, indices: np.ndarray) -> dict[str, np.ndarray]:
  """Returns the independent random numbers of each galaxy, [N] each."""
  drawn = np.empty((len(_NORMALS) + len(_UNIFORMS), len(indices)))
  for column, index in enumerate(indices):
    rng = np.random.default_rng((seed, int(index)))
    drawn[: len(_NORMALS), column] = rng.standard_normal(len(_NORMALS))
    drawn[len(_NORMALS) :, column] = rng.random(len(_UNIFORMS))
  return dict(zip(_NORMALS + _UNIFORMS, drawn, strict=True))


def _mass_cdf() -> tuple[np.ndarray, np.ndarray]:
  """Returns cumulative fractions and the edges of the mass bins."""
  centres, counts = MASS_METALLICITY[:, 0], MASS_METALLICITY[:, 1]
  # The paper's sample has fewer dwarfs than the BPT-selected one. This taper
  # brings the quartiles of the mass to the paper's 9.643, 10.056 and 10.417.
  counts = counts / (1 + np.exp((8.6 - centres) / 0.3))
  edges = np.append(centres - 0.075, centres[-1] + 0.075)
  return np.append(0.0, np.cumsum(counts) / np.sum(counts)), edges


def _metallicity(lgm: np.ndarray, residual: np.ndarray) -> np.ndarray:
  """Returns 12 + log(O/H) at mass lgm, residual in standard deviations."""
  median, low, high = (
    np.interp(lgm, MASS_METALLICITY[:, 0], MASS_METALLICITY[:, k])
    for k in (2, 3, 4)
  )
  spread = np.where(residual < 0, median - low, high - median)
  # The scatter in the table includes the label's error. The labels in the paper
  # span 7.85 to 9.47, so the tails of the normal are clipped.
  spread = np.sqrt(spread**2 - LABEL_NOISE**2)
  return median + spread * np.clip(residual, -2.5, 2.5)


def _colours(
  drawn: dict[str, np.ndarray],
  age: np.ndarray,
  oh_true: np.ndarray,
  dust_av: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns g - r and r - i in mag.

  Metals redden g - r more than r - i, dust reddens both alike: the two colours
  separate metals from dust, but with scatter.
  """
  dust_g, dust_r, dust_i = _ATTENUATION
  colour_gr = (
    0.43 + 0.06 * age + 0.15 * (oh_true - 8.9) + 0.025 * drawn["colour_gr"]
  )
  colour_ri = (
    0.20 + 0.022 * age + 0.06 * (oh_true - 8.9) + 0.035 * drawn["colour_ri"]
  )
  return (
    colour_gr + dust_av * (dust_g - dust_r),
    colour_ri + dust_av * (dust_r - dust_i),
  )


def _redshift(
  volume: np.ndarray, lgm: np.ndarray, colour_gr: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Returns redshifts and apparent r magnitudes.

  Args:
    volume: fraction of the observable volume that is nearer than the galaxy.
    lgm: log10 of the stellar mass in solar masses.
    colour_gr: g - r in mag.
  """
  # Mass-to-light ratio with the slope of Bell et al. (2003). Its zero point is
  # 0.17 dex lower than theirs, to match the paper's quartiles of z.
  absolute_r = 4.65 - 2.5 * (lgm + 0.63 - 1.097 * colour_gr)
  # Galaxies fill the volume in which they are brighter than the spectroscopic
  # limit.
  z_limit = np.interp(_MAGNITUDE_LIMIT - absolute_r, _MODULUS_TABLE, _Z_TABLE)
  z_limit = np.maximum(z_limit, 1.2 * _Z_MIN)
  z = np.cbrt(_Z_MIN**3 + (z_limit**3 - _Z_MIN**3) * volume)
  return z, absolute_r + _COSMOLOGY.distmod(z).to_value("mag")


def _radius(
  drawn: dict[str, np.ndarray], x: np.ndarray, z: np.ndarray
) -> np.ndarray:
  """Returns petroR90_r in arcsec at log10 mass x above the median.

  The size-mass relation resembles that of late types in Shen et al. (2003); it
  is tuned to the surface brightness of real cutouts.
  """
  r90_kpc = 10 ** (
    0.88 + 0.23 * x + 0.08 * drawn["size"] - 0.03 * drawn["metal"]
  )
  arcsec_per_kpc = _COSMOLOGY.arcsec_per_kpc_proper(z).to_value("arcsec / kpc")
  return np.clip(r90_kpc * arcsec_per_kpc, 2.5, 25.0)


def _logistic(x: np.ndarray) -> np.ndarray:
  return 1 / (1 + np.exp(-x))
