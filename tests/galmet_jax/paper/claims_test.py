import pathlib

import numpy as np
import pytest

from configs import claims as claims_config
from galmet_jax import config_checks
from galmet_jax.paper import claims
from galmet_jax.paper import systems

RUNS = pathlib.Path("w") / "runs"
RNG = np.random.default_rng(0)
TRUE = RNG.normal(9, 0.2, 2_000)


def predict(error, seeds=3, between_seeds=0.0):
  """Predictions whose RMSE is `error`, with a scatter between seeds."""
  noise = np.random.default_rng(1).normal(0, 1, len(TRUE))
  noise /= np.sqrt(np.mean(noise**2))
  scales = error + between_seeds * np.linspace(-1, 1, seeds)
  return TRUE + scales[:, None] * noise


def test_verdicts():
  predicted = {
    "gri": predict(0.1),
    "half_epochs": predict(0.12),
    "double_epochs": predict(0.1),
    "fourfold_epochs": predict(0.11),
  }
  rows = claims.compare(TRUE, predicted, 300, 0)
  assert list(zip(rows["first"], rows["second"], strict=True)) == [
    ("half_epochs", "gri"),
    ("gri", "double_epochs"),
    ("double_epochs", "fourfold_epochs"),
  ]
  assert list(rows.second_is) == ["better", "not told apart", "worse"]
  np.testing.assert_allclose(rows.difference, [-0.02, 0, 0.01], atol=1e-9)
  np.testing.assert_allclose(rows.per_cent, [-100 / 6, 0, 10], atol=1e-6)


def test_scatter_of_seeds_widens_the_interval():
  """0.11 and 0.10 cannot be told apart by seeds that scatter by 0.01."""
  quiet, noisy = (
    claims.compare(
      TRUE,
      {"gri": predict(0.1), "huber_loss": predict(0.11, between_seeds=x)},
      4_000,
      0,
    ).iloc[0]
    for x in (0.0, 0.01)
  )
  assert quiet.second_is == "better"
  assert noisy.second_is == "not told apart"
  # Student's t with 4 degrees of freedom: 2.776 at 97.5 %.
  half = 2.776 * np.sqrt(np.var([0.1, 0.11, 0.12], ddof=1) / 3)
  assert (noisy.high - noisy.low) / 2 == pytest.approx(half, rel=0.1)


def test_page_shows_each_claim_once():
  predicted = {"gri": predict(0.1), "mse_loss": predict(0.2)}
  predicted |= {"huber_loss": predict(0.1)}
  page = claims.to_markdown(
    "mock", claims.compare(TRUE, predicted, 50, 0), ["A remark."]
  )
  assert page.startswith("# Claims of the draft: mock\n")
  assert page.count("The loss is the RMSE (2)") == 1
  assert "| mse loss | gri | 0.2000, 0.1000 | -0.1000 (" in page
  assert "| -50 | better |" in page
  assert "| -0 | not told apart |" in page or "| +0 | not told apart |" in page
  assert page.endswith("A remark.\n")


@pytest.mark.parametrize("sample", ["mock", "demo500", "dr17"])
def test_every_claim_is_trained(sample):
  config = claims_config.get_config(sample)
  configs = systems.configs_of(config, RUNS)
  for name, system in configs.items():
    try:
      config_checks.check(system)
    except Exception as error:
      raise AssertionError(name) from error
  pairs = [pair for claim in claims.CLAIMS for pair in claim.pairs]
  needed = {name for pair in pairs for name in pair} | {"r_band"}
  # The largest batch is what the sample allows.
  largest = 512 if sample == "demo500" else 256
  needed -= {f"batch_{largest}", f"batch_{largest}_scaled"}
  assert needed == set(config.reproduce.runs)
  assert len(configs) == 3 * len(
    {*config.reproduce.runs, *config.reproduce.sources}
  )
  for first, second in pairs:
    if {first, second} <= needed:
      assert configs[first] != configs[second]


def test_seeds_start_from_their_own_source():
  config = claims_config.get_config("demo500")
  config.data.manual_dir = "demo400"
  configs = systems.configs_of(config, RUNS)
  assert configs["gri"].data.manual_dir == "demo400"
  assert configs["properties"].data.manual_dir is None
  assert configs["pretrained_seed_2"].seed == configs["gri"].seed + 2
  source = configs["pretrained_seed_2"].model.pretrained
  assert source == f"run:{RUNS / 'properties_seed_2'}"
  names = list(configs)
  assert names.index("properties_seed_2") < names.index("pretrained_seed_2")
