"""Positions on the sky become images, flags and columns."""

import dataclasses

from astropy.table import Table
import numpy as np
import pytest

from galmet_jax import errors
from galmet_jax.predict import command
from galmet_jax.predict import positions
from galmet_jax.predict.flags import Flag
from galmet_jax.predict_flags import Request
from tfds_sdss import sample_info
from tfds_sdss.errors import DataError
from tfds_sdss.fetch import positions as service
from tfds_sdss.own import user_tables


@pytest.fixture
def asked(mine, monkeypatch):
  """What the fetcher was asked for; it has images of the first two rows."""
  calls = []

  def fetch(ra, dec, radius, folder, **options):
    calls.append((ra, dec, radius, options))
    images = sorted((mine / "images").iterdir())[:2]
    return service.Cutouts(
      paths=[*images, None, None, None, None],
      status=np.array([0, 0, *range(1, 5)]),
      objid=np.array([7, 8, 0, 0, 0, 0]),
      separation=np.array([0.2, 1.5, *[np.nan] * 4], np.float32),
      doubtful=np.array([False, True, *[False] * 4]),
      radius=np.array([5, 6, *[np.nan] * 4], np.float32),
    )

  monkeypatch.setattr(service, "fetch", fetch)
  return calls


def write(folder, **columns):
  path = folder / "positions.ecsv"
  table = Table({"ra": np.arange(6.0), "dec": np.zeros(6), **columns})
  table.write(path, overwrite=True)
  return str(path)


def test_positions_are_fetched_and_flagged(run, mine, asked):
  path = command.predict(
    run,
    Request(
      input=write(mine, petroR90_r=np.full(6, 4.0)),
      output=str(mine / "out.ecsv"),
      fetch="dr17",
      contact="me@example.org",
    ),
  )
  ((ra, dec, radius, options),) = asked
  assert ra.tolist() == list(range(6))
  assert dec.tolist() == [0] * 6
  assert radius.tolist() == [4] * 6
  assert options == {
    "source": "dr17",
    "size": 128,
    "field": "petro",
    "contact": "me@example.org",
    "base_url": None,
  }
  table = user_tables.read(path)
  known = Flag.OOD | Flag.EXTRAPOLATES
  flags = table["flags"].data & ~known
  assert flags.tolist() == [
    *(0, Flag.MATCH_DOUBTFUL),
    *(Flag.BAD_POSITION, Flag.NO_RADIUS, Flag.OUTSIDE, Flag.SERVICE),
  ]
  assert table["sdss_objid"].tolist() == [7, 8, 0, 0, 0, 0]
  predicted = np.ma.filled(table["oh_p50_pred"], np.nan)
  assert np.isfinite(predicted).tolist() == [True] * 2 + [False] * 4


@pytest.mark.parametrize(
  ("columns", "match"),
  [
    ({"petroR90_r": np.full(6, 90.0)}, "probably pixels"),
    ({"ra": ["12:30:00"] * 6}, r"row 1.*degrees"),
  ],
)
def test_bad_positions_are_one_line(run, mine, asked, columns, match):
  request = Request(
    input=write(mine, **columns),
    output=str(mine / "out.ecsv"),
    fetch="dr17",
    contact="me@example.org",
  )
  with pytest.raises(DataError, match=match):
    command.predict(run, request)
  assert not asked


def test_images_that_the_service_does_not_make_are_refused():
  info = sample_info.Info(label="oh_p50", columns=(), image_size=128)
  for changes, field in (
    ({"field_r90": 5.05}, "petro"),
    ({"pixel_scale": 0.296}, "fixed"),
  ):
    assert positions._field(dataclasses.replace(info, **changes)) == field
  for changes in (
    {"field_r90": 4.0},
    {"pixel_scale": 0.262},
    {"field_r90": 5.05, "bands": ("g", "r", "i")},
    {"field_r90": 5.05, "image_size": 160},
  ):
    with pytest.raises(errors.ConfigError, match="--images=FOLDER"):
      positions._field(dataclasses.replace(info, **changes))
