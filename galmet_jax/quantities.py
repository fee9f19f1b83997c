"""Names, units and digits of the targets, for tables and figures."""

from collections.abc import Sequence
import dataclasses
import re

import numpy as np

from tfds_sdss import sample_info


@dataclasses.dataclass(frozen=True)
class Quantity:
  """A target.

  Attributes:
    name: column of the data set, such as `oh_p50`.
    label: name and unit, for an axis.
    unit: unit of differences, such as errors; empty without one.
  """

  name: str
  label: str
  unit: str

  @property
  def axis(self) -> str:
    """The label for Matplotlib, which takes `$` for the start of a formula."""
    return self.label.replace("$", r"\$")


def of(info: sample_info.Info, targets: Sequence[str]) -> tuple[Quantity, ...]:
  """Returns the targets of a data set.

  Args:
    info: description of the data set.
    targets: names of columns.
  """
  found = []
  for name in targets:
    unit = " ".join(info.by_name[name].unit.split())
    label = f"{name} [{unit}]" if unit else name
    if name == "oh_p50":
      label = "12 + log(O/H)"
    found.append(Quantity(name, label, unit_of_difference(unit)))
  return tuple(found)


def unit_of_difference(unit: str) -> str:
  """Returns the unit of differences of values: logarithms lose the reference.

  Args:
    unit: in astropy's notation, such as `dex(solMass)`.
  """
  return re.sub(r"^(dex|mag)\(.*\)$", r"\1", unit)


def common_unit(found: Sequence[Quantity]) -> str:
  """Returns the unit of differences of all targets; empty if they differ."""
  units = {quantity.unit for quantity in found}
  return units.pop() if len(units) == 1 else ""


def digits(scale: float | None) -> str:
  """Returns the format of errors of a size, such as an RMSE.

  Args:
    scale: the size; may be None or not finite.
  """
  if not scale or not np.isfinite(scale) or 1e-3 <= scale < 1e4:
    return ".4f"
  return ".3e"
