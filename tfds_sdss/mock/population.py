"""Catalogue of mock star-forming galaxies: every latent and every truth.

Only mock.py draws pictures; here ten thousand galaxies cost a second, so that
what a colour or a shape can say about the metallicity is quickly measured.
"""

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
# No model's RMSE against oh_p50 can fall below it.
LABEL_NOISE = 0.03

# Mock objids start above every real SDSS objID (which start with 1237) and
# stay below 2**63.
OBJID_BASE = 9_000_000_000_000_000_000
_OBJIDS_PER_SEED = 10**9
_SEED_MAX = 200_000_000

# The scalars that each example carries beside image, objid and oh_p50.
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

_NUM_NORMALS = 13
_NUM_UNIFORMS = 3
_PHOTOMETRIC_ERROR = 0.02  # mag
_MAGNITUDE_LIMIT = 17.77  # r, of the SDSS main galaxy sample
_Z_MIN = 0.02
# Attenuation over that in V, for g, r and i (Cardelli et al. 1989, R_V = 3.1).
_ATTENUATION = (1.20, 0.85, 0.65)


def _mass_cdf() -> tuple[np.ndarray, np.ndarray]:
  """Returns the mass bins' edges and the cumulative fraction at each."""
  centres, counts = MASS_METALLICITY[:, 0], MASS_METALLICITY[:, 1]
  # The paper's sample has fewer dwarfs than the BPT-selected one: this taper
  # brings the quartiles of the mass to its 9.643, 10.056 and 10.417.
  counts = counts / (1 + np.exp((8.6 - centres) / 0.3))
  edges = np.append(centres - 0.075, centres[-1] + 0.075)
  return edges, np.append(0.0, np.cumsum(counts) / np.sum(counts))


def _distances() -> tuple[np.ndarray, np.ndarray]:
  """Returns redshifts and their comoving distances in Mpc.

  Flat universe, H0 = 70 km/s/Mpc, Omega_m = 0.3.
  """
  z = np.linspace(0.0, 0.5, 501)
  speed = 299_792.458 / 70.0 / np.sqrt(0.3 * (1 + z) ** 3 + 0.7)
  steps = 0.5 * (speed[1:] + speed[:-1]) * np.diff(z)
  return z, np.append(0.0, np.cumsum(steps))


_MASS_EDGES, _MASS_CDF = _mass_cdf()
_Z_TABLE, _DISTANCE_TABLE = _distances()
_MODULUS_TABLE = 25 + 5 * np.log10(
  np.maximum((1 + _Z_TABLE) * _DISTANCE_TABLE, 1e-6)
)


def _metallicity(lgm: np.ndarray, residual: np.ndarray) -> np.ndarray:
  """Returns 12 + log(O/H) at mass lgm, residual in standard deviations."""
  median, low, high = (
    np.interp(lgm, MASS_METALLICITY[:, 0], MASS_METALLICITY[:, k])
    for k in (2, 3, 4)
  )
  spread = np.where(residual < 0, median - low, high - median)
  # The table's scatter already holds the label's error; and its range has
  # ends (7.85 to 9.47 in the paper), where a normal's tails have none.
  spread = np.sqrt(spread**2 - LABEL_NOISE**2)
  return median + spread * np.clip(residual, -2.5, 2.5)


def _logistic(x: np.ndarray) -> np.ndarray:
  return 1 / (1 + np.exp(-x))


def draw(seed: int, indices: np.ndarray) -> dict[str, np.ndarray]:
  """Draws the catalogue rows of some galaxies.

  Args:
    seed: names the catalogue.
    indices: which galaxies, int [N]; a row depends on (seed, index) alone.

  Returns:
    Columns [N]: objid (int64), oh_p50 and FEATURES (float64), and
    `magnitudes` [N, 3], the noiseless g, r, i that the picture is drawn with.

  Raises:
    ValueError: if the objids of this seed would not fit into int64.
  """
  if not 0 <= seed <= _SEED_MAX:
    raise ValueError(f"expected a seed from 0 to {_SEED_MAX}, found {seed}")
  normals = np.empty((len(indices), _NUM_NORMALS))
  uniforms = np.empty((len(indices), _NUM_UNIFORMS))
  for row, index in enumerate(indices):
    rng = np.random.default_rng((seed, int(index)))
    normals[row] = rng.standard_normal(_NUM_NORMALS)
    uniforms[row] = rng.random(_NUM_UNIFORMS)
  metal, burst, age, dust, bulge, knots, size, warm_gr, warm_ri = normals[
    :, :9
  ].T
  photometry, label_error = normals[:, 9:12], normals[:, 12]
  lgm = np.interp(uniforms[:, 0], _MASS_CDF, _MASS_EDGES)
  x = lgm - 10.056
  oh_true = _metallicity(lgm, metal)

  # The fundamental metallicity relation: at a given mass, more star formation
  # goes with less metal (Mannucci et al. 2010).
  burst = -0.45 * metal + np.sqrt(1 - 0.45**2) * burst
  sfr = 0.17 + 0.77 * x + 0.30 * burst
  age = 0.75 * x / 0.55 - 0.45 * burst + 0.5 * age
  d4000 = 1.32 + 0.10 * age

  cosine = uniforms[:, 1] ** 0.75
  inclination = np.degrees(np.arccos(cosine))
  # The path through the dust grows with the inclination.
  dust_av = 0.30 * 10 ** (0.2 * x + 0.2 * dust) / (0.3 + 0.7 * cosine) ** 0.6
  bulge_fraction = _logistic(
    -1.7 + 1.0 * x - 0.3 * burst + 0.45 * metal + 0.45 * bulge
  )
  knot_fraction = 0.30 * _logistic(
    -0.9 - 1.0 * x + 0.3 * burst - 0.45 * metal + 0.5 * knots
  )

  # The coefficients here and above are no measurements: they are tuned so
  # that forests reach the paper's RMSE on gri and its network's on all that
  # shows, and colours scatter as in real pictures.
  # Metals redden a stellar population in g - r more than in r - i, dust both
  # alike, so the two colours part them, but not well.
  colour_gr = 0.43 + 0.06 * age + 0.15 * (oh_true - 8.9)
  colour_ri = 0.20 + 0.022 * age + 0.06 * (oh_true - 8.9)
  colour_gr += 0.025 * warm_gr
  colour_ri += 0.035 * warm_ri
  colour_gr += dust_av * (_ATTENUATION[0] - _ATTENUATION[1])
  colour_ri += dust_av * (_ATTENUATION[1] - _ATTENUATION[2])

  # Mass over light with the slope of Bell et al. (2003); its zero point, 0.17
  # dex lighter than theirs, brings z to the paper's quartiles.
  absolute_r = 4.65 - 2.5 * (lgm + 0.63 - 1.097 * colour_gr)
  # Galaxies fill the volume within which they pass the spectroscopic limit.
  z_limit = np.interp(_MAGNITUDE_LIMIT - absolute_r, _MODULUS_TABLE, _Z_TABLE)
  z_limit = np.maximum(z_limit, 1.2 * _Z_MIN)
  z = np.cbrt(_Z_MIN**3 + (z_limit**3 - _Z_MIN**3) * uniforms[:, 2])
  magnitude_r = absolute_r + np.interp(z, _Z_TABLE, _MODULUS_TABLE)
  magnitudes = np.stack(
    [magnitude_r + colour_gr, magnitude_r, magnitude_r - colour_ri], axis=-1
  )
  measured = magnitudes + _PHOTOMETRIC_ERROR * photometry

  # A size-mass relation like that of late types in Shen et al. (2003), tuned
  # for the surface brightnesses that resemblance.py measures.
  r90_kpc = 10 ** (0.88 + 0.23 * x + 0.08 * size - 0.03 * metal)
  kpc_per_arcsec = np.interp(z, _Z_TABLE, _DISTANCE_TABLE) / (1 + z) / 206.265
  petro_r90 = np.clip(r90_kpc / kpc_per_arcsec, 2.5, 25.0)

  return {
    "objid": OBJID_BASE
    + seed * _OBJIDS_PER_SEED
    + np.asarray(indices, np.int64),
    "oh_p50": oh_true + LABEL_NOISE * label_error,
    "petroR90_r": petro_r90,
    "modelMag_g": measured[:, 0],
    "modelMag_r": measured[:, 1],
    "modelMag_i": measured[:, 2],
    "z": z,
    "lgm_tot_p50": lgm,
    "sfr_tot_p50": sfr,
    "oh_true": oh_true,
    "d4000_n": d4000,
    "dust_av": dust_av,
    "inclination": inclination,
    "bulge_fraction": bulge_fraction,
    "knot_fraction": knot_fraction,
    "magnitudes": magnitudes,
  }
