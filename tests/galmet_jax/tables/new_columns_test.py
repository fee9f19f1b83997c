from astropy.io.votable import ucd
import numpy as np
import pytest

from galmet_jax.baselines import image_features
from galmet_jax.tables import new_columns
from tests.galmet_jax.tables import predicted
from tfds_sdss import columns as catalog_columns


def test_each_ucd_is_in_the_vocabulary():
  columns = predicted.make_columns()
  for target in ("lgm_tot_p50", "sfr_tot_p50", "z", "colour"):
    columns += new_columns.for_target(
      target, "", dict.fromkeys(new_columns.OF_TARGET, np.zeros(1))
    )
  for column in columns:
    assert not column.ucd or ucd.check_ucd(
      column.ucd, check_controlled_vocabulary=True
    )
    assert column.description.isascii()
    assert len(column.description) <= 68


@pytest.mark.parametrize(
  ("target", "word"),
  [
    ("oh_p50", "phys.abund.Z"),
    ("logOH", "phys.abund.Z"),
    ("gas_metallicity", "phys.abund.Z"),
    ("lgm_tot_p50", "phys.mass"),
    ("log_mass", "phys.mass"),
    ("stellarMass", "phys.mass"),
    ("sfr_tot_p50", "phys.SFR"),
    ("z", "src.redshift"),
  ],
)
def test_the_ucd_follows_from_the_target(target, word):
  value, error = new_columns.for_target(
    target, "dex", {"pred_err": [1.0], "pred": [1.0]}
  )
  assert (value.name, error.name) == (f"{target}_pred", f"{target}_pred_err")
  assert value.ucd == f"{word};meta.modelled"
  assert error.ucd == f"stat.error;{word}"
  assert value.values.dtype == np.float32


@pytest.mark.parametrize("target", ["petroMag_r", "ssfr", "d4000", "colour"])
def test_an_unknown_target_has_no_ucd(target):
  value, error = new_columns.for_target(
    target, "", {"pred": [1.0], "pred_err": [1.0]}
  )
  assert (value.ucd, error.ucd) == ("", "stat.error")


def test_differences_of_logarithms_have_no_reference():
  unit = catalog_columns.BY_NAME["lgm_tot_p50"].unit
  columns = new_columns.for_target(
    "lgm_tot_p50", unit, dict.fromkeys(new_columns.OF_TARGET, np.zeros(1))
  )
  assert {column.name: column.unit for column in columns} == {
    f"lgm_tot_p50_{name}": "dex" if name.endswith(("err", "std")) else unit
    for name in new_columns.OF_TARGET
  }


def test_an_unknown_name_is_refused():
  with pytest.raises(ValueError, match="p50"):
    new_columns.for_target("oh_p50", "dex", {"p50": [1.0]})


def test_descriptions_of_features_fit_the_formats():
  values = np.zeros((2, len(image_features.FEATURES)))
  for column in new_columns.for_features(values):
    assert column.description.isascii()
    assert len(column.description) <= 68
    assert column.name.startswith("image_")
