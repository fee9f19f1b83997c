"""Rates and borders against the formulas of the recipe."""

import jax
import numpy as np
import pytest

from configs import resnet34
from galmet_jax import schedules

STEPS = 40  # an epoch


def values(rate, steps):
  """Evaluates a schedule as the compiled step does."""
  return np.asarray(jax.jit(jax.vmap(rate))(np.asarray(steps, np.int32)))


@pytest.fixture
def config():
  return resnet34.get_config().optim


@pytest.fixture
def phases(config):
  return schedules.make_phases(config, STEPS)


def test_phases_lie_end_to_end(phases):
  assert [(p.name, p.start, p.end) for p in phases] == [
    ("head_only", 0, 2 * STEPS),
    ("all_constant", 2 * STEPS, 3 * STEPS),
    ("all_sgdr", 3 * STEPS, 10 * STEPS),
  ]
  assert [p.frozen for p in phases] == [("early", "late"), (), ()]
  assert [set(p.rates) for p in phases] == [
    {"head"},
    {"early", "late", "head"},
    {"early", "late", "head"},
  ]


def test_constant(phases):
  for phase in phases[:2]:
    for rate in phase.rates.values():
      assert float(rate(0)) == float(rate(phase.end)) == 0.1


def test_sgdr_is_a_cosine_with_restarts(phases):
  found = values(phases[2].rates["early"], range(7 * STEPS))
  expected = []
  for epochs in (1, 2, 4):
    position = np.arange(epochs * STEPS) / (epochs * STEPS)
    expected.append(0.1 * (0.5 + 0.5 * np.cos(np.pi * position)))
  expected = np.concatenate(expected)
  # A twentieth of the first cycle: two steps at a hundredth.
  expected[:2] = 0.001
  np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-7)


def test_sgdr_at_known_steps():
  rate = schedules.sgdr(0.8, [20, 40, 80], 0.05)
  steps = [0, 1, 10, 19, 20, 30, 40, 59, 60, 100, 139]
  expected = [
    0.008,  # the slow start: one step
    0.8 * np.cos(np.pi / 40) ** 2,
    0.4,
    0.8 * np.sin(np.pi / 40) ** 2,
    0.8,  # the first restart
    0.8 * np.cos(np.pi / 8) ** 2,
    0.4,
    0.8 * np.sin(np.pi / 80) ** 2,
    0.8,  # the second restart
    0.4,
    0.8 * np.sin(np.pi / 160) ** 2,
  ]
  np.testing.assert_allclose(values(rate, steps), expected, rtol=1e-4)


def test_slow_start_of_zero_starts_at_the_peak():
  assert float(schedules.sgdr(0.1, [20], 0.0)(0)) == pytest.approx(0.1)


@pytest.mark.parametrize("first", [20, 30, 61])
@pytest.mark.parametrize("slow_start", [0.05, 0.1, 0.3])
def test_recorded_rate_is_the_one_applied(first, slow_start):
  rate = schedules.sgdr(0.1, [first, 2 * first], slow_start)
  recorded = [float(rate(step)) for step in range(3 * first)]
  applied = values(rate, range(3 * first))
  np.testing.assert_allclose(applied, recorded, rtol=1e-3, atol=1e-7)


def test_as_intended_has_a_rate_for_each_group():
  config = resnet34.get_config("as_intended").optim
  for phase in schedules.make_phases(config, STEPS):
    for group, rate in phase.rates.items():
      peak = {"early": 1e-3, "late": 1e-2, "head": 1e-1}[group]
      # Step 2 is past the slow start and still near the peak.
      assert float(rate(2)) == pytest.approx(peak, rel=0.01)


def test_phase_at_borders(phases):
  names = [
    schedules.phase_at(phases, step).name
    for step in (0, 79, 80, 119, 120, 399, 400, 1000)
  ]
  assert names == ["head_only"] * 2 + ["all_constant"] * 2 + ["all_sgdr"] * 4


def test_unknown_schedule(config):
  config.all_constant.schedule = "cosine"
  with pytest.raises(
    ValueError, match=r"all_constant.schedule is 'cosine'; expected constant"
  ):
    schedules.make_phases(config, STEPS)


def test_unknown_group_is_named(config):
  config.head_only.frozen = ("earli", "late")
  with pytest.raises(ValueError, match=r"head_only .*'earli'.*\['early', "):
    schedules.make_phases(config, STEPS)


def test_rate_of_unknown_group(config):
  config.all_sgdr.rates = {"early": 1, "late": 1, "head": 1, "tail": 1}
  with pytest.raises(ValueError, match=r"all_sgdr speaks of .*'tail'"):
    schedules.make_phases(config, STEPS)


def test_missing_rate(config):
  config.all_sgdr.rates = {"early": 0.1, "head": 0.1}
  with pytest.raises(ValueError, match=r"all_sgdr .*expected a rate for each"):
    schedules.make_phases(config, STEPS)
