import numpy as np
import pandas as pd
import pytest

from tfds_sdss import columns
from tfds_sdss.errors import DataError
from tfds_sdss.fetch import cleaning

FIRST = 1237648704043942146  # beyond 2**53
ARCSEC = 1 / 3600
PERCENTILES = [c.name for c in columns.COLUMNS if c.name.startswith("oh_")]


def rows(*changes: dict) -> pd.DataFrame:
  """Returns text rows, one per dictionary of changes."""
  table = []
  for i, change in enumerate(changes):
    row = {column.name: "1.5" for column in columns.COLUMNS}
    row |= {"objid": str(FIRST + i), "specobjid": str(300000 + i)}
    row |= {"ra": f"{10 + i}", "dec": "1", "bptclass": "1"}
    row |= {"lgm_tot_p50": "10", **dict.fromkeys(PERCENTILES, "8.9")}
    table.append(row | change)
  return pd.DataFrame(table, dtype=str)


def test_clean_sets_types_and_order():
  frame, report = cleaning.clean(rows({"objid": str(FIRST + 5)}, {}))
  assert frame.objid.tolist() == [FIRST + 1, FIRST + 5]
  for column in columns.COLUMNS:
    assert frame[column.name].dtype == column.dtype
  assert frame.sky_group.tolist() == frame.objid.tolist()
  assert report["rows"] == 2
  assert set(report["dropped"].values()) == {0}
  assert report["missing"] == {}
  assert report["sky_pairs"] == 0


def test_missing_values_are_masked_and_counted():
  frame, report = cleaning.clean(
    rows(
      {"lgm_tot_p50": "-9999", "velDisp": "", "zErr": "1E-05"},
      {"lgm_tot_p50": "-9999.0", "bptclass": "-9999"},
      {"sfr_tot_p50": "NaN", "d4000": "inf"},
    )
  )
  assert frame.lgm_tot_p50.isna().tolist() == [True, True, False]
  assert frame.zErr[0] == np.float32(1e-5)
  assert frame.bptclass.tolist() == [1, -1, 1]
  assert report["missing"] == {
    "lgm_tot_p50": 2,
    "velDisp": 1,
    "sfr_tot_p50": 1,
    "d4000": 1,
    "bptclass": 1,
  }


@pytest.mark.parametrize(
  "text",
  [
    *("", " ", "null", "nan", "NaN", "inf", "-inf", "Infinity"),
    *("1e300", "-1e300", "1e39", "1e999", "-99", "-999", "-9999.0", "-99999"),
    *("1_0", "١"),  # float() accepts both
  ],
)
def test_values_that_are_no_measurement_are_missing(text):
  ids = ["objid", "specobjid", "ra", "dec", "oh_p50"]
  names = [name for name in columns.SKYSERVER if name not in ids]
  frame, report = cleaning.clean(rows({}, dict.fromkeys(names, text)))
  assert report["missing"] == dict.fromkeys(names, 1)
  assert frame.bptclass.tolist() == [1, -1]
  for name in names:
    if name != "bptclass":
      assert frame[name].isna().tolist() == [False, True]


@pytest.mark.parametrize(
  ("text", "names"),
  [
    ("-1", ["lgm_tot_p50", "z", "velDispErr", "h_beta_flux_err", "petroR90_r"]),
    ("0", ["lgm_tot_p50", "oh_p16", "modelMag_g"]),
    ("99", ["modelMag_u", "petroMag_r", "sfr_tot_p50", "oh_p84", "z"]),
    ("6", ["bptclass", "oh_p2p5", "sfr_tot_p50"]),
    ("1.5", ["bptclass"]),
    ("-2147483648", ["bptclass", "h_alpha_flux", "velDisp"]),
  ],
)
def test_values_out_of_the_range_of_their_column_are_missing(text, names):
  frame, report = cleaning.clean(rows({}, dict.fromkeys(names, text)))
  assert report["missing"] == dict.fromkeys(names, 1)
  for name in names:
    assert frame[name][1] == -1 if name == "bptclass" else frame[name].isna()[1]


@pytest.mark.parametrize(
  ("name", "text", "value"),
  [
    ("h_alpha_flux", "-98.5", -98.5),  # noise around zero
    ("sfr_tot_p50", "-1", -1),
    ("z", "-0.001", -0.001),
    ("bptclass", "-1", -1),  # SDSS's "unclassifiable"
    ("velDisp", "0", 0),
    ("h_beta_flux_err", " 1.5E+03 ", 1500),
  ],
)
def test_unusual_measurements_are_kept(name, text, value):
  frame, report = cleaning.clean(rows({name: text}))
  assert frame[name][0] == pytest.approx(value)
  assert report["missing"] == {}


@pytest.mark.parametrize("text", ["", "0", "null", "5.3481595773494272E+17"])
def test_rows_without_a_spectrums_id_are_kept(text):
  frame, report = cleaning.clean(rows({"specobjid": text}, {"specobjid": text}))
  assert frame.specobjid.tolist() == [0, 0]
  assert report["missing"] == {"specobjid": 2}


@pytest.mark.parametrize(
  ("change", "rule"),
  [
    ({"oh_p50": "-9999"}, "no_oh_p50"),
    ({"oh_p50": ""}, "no_oh_p50"),
    ({"oh_p50": "nan"}, "no_oh_p50"),
    ({"oh_p50": "-99"}, "no_oh_p50"),
    ({"oh_p50": "1_0"}, "no_oh_p50"),
    ({"oh_p50": "6.9"}, "impossible_oh_p50"),
    ({"oh_p50": "1e300"}, "impossible_oh_p50"),
    ({"oh_p50": "inf"}, "impossible_oh_p50"),
    ({"objid": "0"}, "no_objid"),
    ({"ra": ""}, "no_position"),
    ({"dec": "91"}, "no_position"),
    ({"specobjid": "300000"}, "same_spectrum"),
    ({"objid": str(FIRST)}, "same_galaxy"),
  ],
)
def test_dropped_rows_are_counted(change, rule):
  frame, report = cleaning.clean(rows({}, change, {}))
  assert frame.objid.tolist() == [FIRST, FIRST + 2]
  assert {k: v for k, v in report["dropped"].items() if v} == {rule: 1}


def test_other_rows_of_a_galaxy_are_no_loss():
  dropped = {"no_position": 1, "no_oh_p50": 2, "same_galaxy": 3, "no_objid": 0}
  losses, rest = cleaning.divide(dropped, "dr17")
  assert losses == {"no_position": 1, "no_oh_p50": 2}
  assert rest == {"same_galaxy": 3}
  losses, rest = cleaning.divide(dropped, "zenodo")
  assert losses == {"no_position": 1}
  assert rest == {"no_oh_p50": 2, "same_galaxy": 3}


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_better_of_two_spectra_is_kept(order):
  same = {"objid": str(FIRST)}
  text = rows(
    same | {"zErr": "2E-05", "specobjid": "3"},
    same | {"zErr": "1E-05", "specobjid": "5"},
    same | {"zErr": "1E-05", "specobjid": "4"},
  )
  frame, report = cleaning.clean(text.iloc[order])
  assert frame.specobjid.tolist() == [4]
  assert report["dropped"]["same_galaxy"] == 2


def test_sky_groups_are_chains_within_two_arcsec():
  near = {"dec": "60"}
  # At 60 degrees an arcsec of right ascension spans half an arcsec.
  text = rows(
    near | {"ra": f"{100 + 2 * 3.0 * ARCSEC:.8f}"},
    near | {"ra": "100"},
    near | {"ra": f"{100 + 2 * 1.5 * ARCSEC:.8f}"},
    near | {"ra": f"{100 + 2 * 5.2 * ARCSEC:.8f}"},
    # This pair straddles the zero of right ascension.
    {"ra": "359.99999", "dec": "0"},
    {"ra": "0.00001", "dec": "0"},
  )
  frame, report = cleaning.clean(text)
  groups = (frame.sky_group - FIRST).tolist()
  assert groups == [0, 0, 0, 3, 4, 4]
  assert report["sky_pairs"] == 2


@pytest.mark.parametrize("text", ["n/a?", "0x1A", "1,5", "1.5 2.5", "\0"])
def test_text_in_a_number_is_rejected(text):
  with pytest.raises(DataError, match="column z: expected numbers"):
    cleaning.clean(rows({}, {"z": text}))


@pytest.mark.parametrize("text", ["", "1.23766E+18", "x"])
def test_objid_that_is_no_integer_is_rejected(text):
  with pytest.raises(DataError):
    cleaning.clean(rows({}, {"objid": text}))


def test_first_of_equal_rows_is_kept():
  # More rows than an unstable sort leaves in order.
  text = rows(*[{"objid": str(FIRST + i % 2)} for i in range(100)])
  text["oh_p50"] = [f"{8 + i / 100}" for i in range(100)]
  frame, _ = cleaning.clean(text[["objid", "oh_p50"]])
  np.testing.assert_allclose(frame.oh_p50, [8.0, 8.01], rtol=1e-6)


def test_few_columns_are_enough():
  text = rows({}, {"objid": str(FIRST)})[["oh_p50", "objid"]]
  frame, report = cleaning.clean(text)
  assert frame.columns.tolist() == ["objid", "oh_p50", "sky_group"]
  assert report["dropped"]["same_galaxy"] == 1
  with pytest.raises(DataError, match="expected the columns objID"):
    cleaning.clean(text[["objid"]])
