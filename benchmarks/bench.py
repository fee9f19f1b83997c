"""What the sections of `benchmarks.train` share."""

import dataclasses
import json
import sys

import jax
import ml_collections


@dataclasses.dataclass(frozen=True)
class Bench:
  """What the sections share.

  Attributes:
    config: the recipe, with the default batch.
    mesh: of one device.
    quick: fewer figures and rounds.
    torch_python: the Python that was named for PyTorch, or None.
  """

  config: ml_collections.ConfigDict
  mesh: jax.sharding.Mesh
  quick: bool
  torch_python: str | None

  @property
  def device(self) -> jax.Device:
    """The device."""
    return self.mesh.devices.flat[0]

  @property
  def on_cpu(self) -> bool:
    """Whether it is a CPU."""
    return self.device.platform == "cpu"

  @property
  def rounds(self) -> int:
    """How many rounds to time."""
    return 5 if self.quick else 9

  def report(
    self,
    name: str,
    value: float | None,
    unit: str,
    config: ml_collections.ConfigDict | None = None,
    **more,
  ) -> None:
    """Prints one figure.

    Args:
      name: of the figure.
      value: None where there is none; `more` then tells the reason.
      unit: of the value.
      config: tells batch and views; None: the default.
      **more: further facts, such as `ratio_to_torch`.
    """
    config = config or self.config
    facts = {
      "name": name,
      "device": self.device.device_kind,
      "dtype": config.model.dtype,
      "batch": config.train.batch_size,
      "views": config.train.views_per_image,
      "value": _rounded(value),
      "unit": unit,
      "ratio_to_torch": None,
      **{key: _rounded(each) for key, each in more.items()},
    }
    print(json.dumps(facts), flush=True)


def _rounded(value):
  """Leaves five digits of a float, or of each of a sequence."""
  if isinstance(value, tuple):
    return [_rounded(each) for each in value]
  return float(f"{value:.5g}") if isinstance(value, float) else value


def say(text: str) -> None:
  """Tells on standard error what goes on."""
  print(text, file=sys.stderr, flush=True)
