"""Images of positions on the sky, from the service of the training set."""

import pathlib

import numpy as np

from galmet_jax import errors
from galmet_jax.predict import inputs
from galmet_jax.predict.flags import Flag
from galmet_jax.predict_flags import Request
from tfds_sdss import sample_info
from tfds_sdss.fetch import cutouts
from tfds_sdss.fetch import positions
from tfds_sdss.fetch import skyserver

_FLAGS = {
  positions.OK: 0,
  positions.BAD_POSITION: Flag.BAD_POSITION,
  positions.NO_RADIUS: Flag.NO_RADIUS,
  positions.OUTSIDE: Flag.OUTSIDE,
  positions.SERVICE: Flag.SERVICE,
}


def fetch(
  rows: inputs.Rows,
  info: sample_info.Info,
  request: Request,
  folder: pathlib.Path,
) -> None:
  """Fetches the images of all rows; fills in files, flags and extra columns.

  Args:
    rows: galaxies with positions.
    info: the images that the network was trained on.
    request: the service, and the e-mail address for its operators.
    folder: of the images, which are not fetched twice.

  Raises:
    ConfigError: if the network was trained on other images than the service's.
    FetchError: if the service cannot be reached.
  """
  found = positions.fetch(
    rows.positions[:, 0],
    rows.positions[:, 1],
    rows.radius,
    folder,
    source=request.fetch,
    size=info.image_size,
    field=_field(info),
    contact=request.contact,
    base_url=request.base_url,
  )
  rows.files = [str(path.absolute()) if path else "" for path in found.paths]
  rows.flags |= np.array([_FLAGS[x] for x in found.status.tolist()], np.int32)
  rows.flags |= np.where(found.doubtful, Flag.MATCH_DOUBTFUL, 0).astype(
    np.int32
  )
  rows.extra = {
    "sdss_objid": found.objid,
    "match_sep": found.separation,
    "petroR90_r_used": found.radius,
  }
  # They are looked up among the training galaxies.
  rows.ids = np.where(found.objid > 0, found.objid, rows.ids)


def _field(info: sample_info.Info) -> str:
  """Returns the field of view of the images, as the fetcher names it."""
  fixed = 2 * cutouts.FIXED_RADIUS / cutouts.SDSS_PIXEL / skyserver.SIZE
  if info.image_size == skyserver.SIZE and info.bands == ("i", "r", "g"):
    if info.field_r90 == sample_info.FIELD_R90:
      return "petro"
    if info.pixel_scale and abs(info.pixel_scale / fixed - 1) < 0.01:
      return "fixed"
  raise errors.ConfigError(
    f"--fetch: the network was trained on images with {info.describe_images()}"
    ", which SkyServer does not make. Give the images: --images=FOLDER."
  )
