import pathlib

import pytest

from configs import reproduce
from configs import reproduce_demo500
from configs import reproduce_mock
from galmet_jax import errors
from galmet_jax.paper import systems

RUNS = pathlib.Path("runs")


def test_unknown_source_is_refused():
  config = reproduce_mock.get_config()
  config.reproduce = reproduce.select_systems(
    ("gri", "late"), (), late={"model.pretrained": "system:gri"}
  )
  with pytest.raises(errors.ConfigError, match="starts from gri; expected one"):
    systems.configs_of(config, RUNS)


@pytest.mark.parametrize(
  "module", [reproduce, reproduce_mock, reproduce_demo500]
)
def test_shipped_configs_have_distinct_systems(module):
  config = module.get_config()
  assert {"gri", "r_band", "one_cycle"} < set(config.reproduce.runs)
  assert config.reproduce.ensembles == ("ensemble",)
  configs = systems.configs_of(config, RUNS)
  common = configs["gri"].to_json()
  assert common == systems.common_config(config).to_json()
  for name in set(configs) - {"gri"}:
    assert configs[name].to_json() != common
