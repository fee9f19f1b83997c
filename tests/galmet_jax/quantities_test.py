"""Names, units and digits of targets."""

import pytest

from galmet_jax import quantities
from tfds_sdss import columns
from tfds_sdss import sample_info


def describe(name, unit):
  column = columns.Column(name, "", unit, "", (0, 1))
  info = sample_info.Info(name, (column,), 32, pixel_scale=0.4)
  (found,) = quantities.of(info, (name,))
  return found


@pytest.mark.parametrize(
  ("name", "unit", "label", "difference"),
  [
    ("oh_p50", "dex", "12 + log(O/H)", "dex"),
    ("oh_p16", "dex", "oh_p16 [dex]", "dex"),
    ("lgm", "dex(solMass)", "lgm [dex(solMass)]", "dex"),
    ("r", "mag(AB)", "r [mag(AB)]", "mag"),
    ("z", "", "z", ""),
    ("mass", "1e+10 solMass", "mass [1e+10 solMass]", "1e+10 solMass"),
  ],
)
def test_label_and_unit_of_errors(name, unit, label, difference):
  found = describe(name, unit)
  assert (found.label, found.unit) == (label, difference)


def test_a_unit_is_no_formula_in_a_figure():
  assert describe("x", "$a$").axis == r"x [\$a\$]"


def test_unit_of_several_targets():
  one, other = describe("a", "dex"), describe("b", "dex(solMass)")
  assert quantities.common_unit((one, other)) == "dex"
  assert quantities.common_unit((one, describe("z", ""))) == ""


@pytest.mark.parametrize(
  ("error", "text"),
  [
    (0.0874, "0.0874"),
    (0, "0.0000"),
    (float("nan"), "nan"),
    (2e-6, "2.000e-06"),
    (3.1e10, "3.100e+10"),
  ],
)
def test_digits_fit_the_error(error, text):
  assert format(error, quantities.digits(error)) == text


def test_errors_may_be_unknown():
  assert quantities.digits(None) == ".4f"
