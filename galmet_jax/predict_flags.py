"""Flags of `--mode=predict`; light to import, for main.py."""

import dataclasses

from absl import flags

_INPUT = flags.DEFINE_string(
  "input",
  None,
  "a table (CSV, ECSV, FITS, VOTable, Parquet), a folder of "
  "images, or tfds:NAME:SPLIT.",
)
_OUTPUT = flags.DEFINE_string(
  "output",
  None,
  "the table to write; its suffix gives the format.",
)
_IMAGES = flags.DEFINE_string("images", "", "folder of the images of a table.")
_COLUMNS = flags.DEFINE_string(
  "columns",
  "",
  "ROLE=COLUMN, separated by commas; roles are id, image, ra, dec "
  "and radius (petroR90_r, arcsec).",
)
_PREFIX = flags.DEFINE_string(
  "prefix", "", "start of the names of the new columns."
)
_UNSHRINK = flags.DEFINE_bool(
  "unshrink",
  False,
  "add predictions whose slope on the true values is one.",
)
_FEATURES = flags.DEFINE_bool(
  "features", False, "add ring colours, shape and noise of the images."
)
_PAGE = flags.DEFINE_string(
  "page", "", "also write a page of the galaxies to this HTML file."
)
_FETCH = flags.DEFINE_enum(
  "fetch",
  None,
  ["dr17", "dr14"],
  "fetch the images of the positions from SkyServer.",
)
_CONTACT = flags.DEFINE_string(
  "contact", "", "With --fetch: your e-mail address, for its operators."
)
_BASE_URL = flags.DEFINE_string(
  "base_url", None, "With --fetch: address of SkyServer, if it has moved."
)
_DATA_DIR = flags.DEFINE_string(
  "data_dir", None, "data directory of --input=tfds:."
)
_BEAM_RUNNER = flags.DEFINE_string(
  "beam_runner",
  None,
  "Apache Beam's runner, on several machines.",
)
_BEAM_OPTIONS = flags.DEFINE_string(
  "beam_options", None, "options of Beam, NAME=VALUE,..."
)


@dataclasses.dataclass(frozen=True)
class Request:
  """What to predict; the flags of the same names describe it."""

  input: str
  output: str
  images: str = ""
  columns: str = ""
  prefix: str = ""
  unshrink: bool = False
  features: bool = False
  page: str = ""
  fetch: str = ""
  contact: str = ""
  base_url: str | None = None
  data_dir: str | None = None
  beam_runner: str | None = None
  beam_options: str | None = None


def check(workdir: str | None) -> None:
  """Raises flags.Error if a flag is missing."""
  for name, value in (
    ("workdir", workdir),
    ("input", _INPUT.value),
    ("output", _OUTPUT.value),
  ):
    if not value:
      raise flags.Error(
        f"flag --{name} is missing; expected --mode=predict --workdir=RUN "
        "--input=TABLE --output=TABLE"
      )
  if _FETCH.value and not _CONTACT.value:
    raise flags.Error(
      "flag --contact is missing; --fetch needs your e-mail address, for the "
      "operators of the service"
    )


def request() -> Request:
  """Returns the values of the flags."""
  return Request(
    input=_INPUT.value or "",
    output=_OUTPUT.value or "",
    images=_IMAGES.value,
    columns=_COLUMNS.value,
    prefix=_PREFIX.value,
    unshrink=_UNSHRINK.value,
    features=_FEATURES.value,
    page=_PAGE.value,
    fetch=_FETCH.value or "",
    contact=_CONTACT.value,
    base_url=_BASE_URL.value,
    data_dir=_DATA_DIR.value,
    beam_runner=_BEAM_RUNNER.value,
    beam_options=_BEAM_OPTIONS.value,
  )
