"""Rates and phase boundaries against the formulas of the recipe."""

import jax
import numpy as np
import pytest

from configs import resnet34
from galmet_jax import optimizers
from galmet_jax import schedules

STEPS = 40  # steps per epoch


def values(rate, steps):
  """Evaluates a schedule as the compiled step does."""
  return np.asarray(jax.jit(jax.vmap(rate))(np.asarray(steps, np.int32)))


@pytest.fixture
def config():
  return resnet34.get_config().optim


@pytest.fixture
def phases(config):
  return optimizers.make_phases(config, STEPS)


def test_phases_follow_each_other(phases):
  assert [(p.name, p.start, p.end) for p in phases] == [
    ("head_only", 0, 2 * STEPS),
    ("all_constant", 2 * STEPS, 3 * STEPS),
    ("all_sgdr", 3 * STEPS, 10 * STEPS),
  ]
  assert [p.frozen for p in phases] == [
    ("stem", "stage1", "stage2", "stage3", "stage4"),
    (),
    (),
  ]
  assert [set(p.rates) for p in phases] == [
    {"head"},
    {"early", "late", "head"},
    {"early", "late", "head"},
  ]


def test_constant_rate(phases):
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
  # The slow start takes a twentieth of the first cycle, two steps.
  expected[:2] = 0.001
  np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-7)


def test_slow_start_of_zero_starts_at_the_peak():
  assert float(schedules.sgdr(0.1, [20], 0.0)(0)) == pytest.approx(0.1)


@pytest.mark.parametrize("first", [20, 30, 61])
@pytest.mark.parametrize("slow_start", [0.05, 0.1, 0.3])
def test_recorded_rates_equal_the_applied_rates(first, slow_start):
  rate = schedules.sgdr(0.1, [first, 2 * first], slow_start)
  recorded = [float(rate(step)) for step in range(3 * first)]
  applied = values(rate, range(3 * first))
  np.testing.assert_allclose(applied, recorded, rtol=1e-3, atol=1e-7)


def test_as_intended_has_a_rate_for_each_group():
  config = resnet34.get_config("as_intended").optim
  for phase in optimizers.make_phases(config, STEPS):
    for group, rate in phase.rates.items():
      peak = {"early": 1e-3, "late": 1e-2, "head": 1e-1}[group]
      # Step 2 is past the slow start and still near the peak.
      assert float(rate(2)) == pytest.approx(peak, rel=0.01)


def test_phase_at_boundaries(phases):
  names = [
    optimizers.phase_at(phases, step).name
    for step in (0, 79, 80, 119, 120, 399, 400, 1000)
  ]
  assert names == ["head_only"] * 2 + ["all_constant"] * 2 + ["all_sgdr"] * 4


def test_unknown_schedule_is_refused(config):
  config.all_constant.schedule = "cosine"
  with pytest.raises(
    ValueError, match=r"all_constant.schedule is 'cosine'; expected constant"
  ):
    optimizers.make_phases(config, STEPS)


def fastai_07(step, steps, peak, momenta):
  """Smith's cycle with use_clr_beta=(10, 15, 0.95, 0.85), by its formulas."""
  half = int(steps * 0.85 / 2)
  high, low = momenta
  if step > 2 * half:
    done = (step - 2 * half) / (steps - 2 * half)
    return peak / 10 * (1 - 0.99 * done), high
  part = step / half if step <= half else 2 - step / half
  return peak / 10 * (1 + 9 * part), high - part * (high - low)


def test_one_cycle_matches_fastai():
  config = resnet34.get_config("one_cycle").optim
  epoch = 40  # 85 % of 70 epochs is an even number of steps
  (phase,) = optimizers.make_phases(config, epoch)
  assert (phase.start, phase.end, phase.frozen) == (0, 70 * epoch, ())
  steps = np.arange(0, phase.end, 7)
  for group, peak in (("early", 1e-3), ("late", 1e-2), ("head", 1e-1)):
    expected = [fastai_07(s, phase.end, peak, (0.95, 0.85)) for s in steps]
    rates, momenta = np.transpose(expected)
    found = values(phase.rates[group], steps)
    np.testing.assert_allclose(found, rates, rtol=1e-4, atol=1e-7)
    momentum = schedules.one_cycle_momentum(phase.end, config.cycle)
    np.testing.assert_allclose(values(momentum, steps), momenta, 1e-5)
  # The next step would run at a thousandth of the peak.
  assert 1e-4 < float(phase.rates["head"](phase.end - 1)) < 1.3e-4


def test_one_cycle_matches_its_cosines():
  config = resnet34.get_config("wu2020").optim
  epoch = 40
  (phase,) = optimizers.make_phases(config, epoch)
  total, top = 7 * epoch, 7 * epoch // 4

  def half_cosine(start, end, part):
    return end + (start - end) * (1 + np.cos(np.pi * part)) / 2

  steps = np.arange(total)
  rising, part = steps < top, (steps - top) / (total - top)
  rates = np.where(
    rising,
    half_cosine(0.01 / 25, 0.01, steps / top),
    half_cosine(0.01, 0.01 / 1e5, part),
  )
  momenta = np.where(
    rising,
    half_cosine(0.95, 0.85, steps / top),
    half_cosine(0.85, 0.95, part),
  )
  for group in ("early", "late", "head"):
    found = values(phase.rates[group], steps)
    np.testing.assert_allclose(found, rates, rtol=1e-3, atol=1e-8)
  momentum = schedules.one_cycle_momentum(total, config[phase.name])
  np.testing.assert_allclose(values(momentum, steps), momenta, 1e-5)


@pytest.mark.parametrize(
  ("field", "value"), [("shape", "round"), ("rise", 0.0), ("anneal", 0.6)]
)
def test_impossible_cycle_is_refused(field, value):
  config = resnet34.get_config("one_cycle").optim
  config.cycle[field] = value
  with pytest.raises(ValueError, match=r"one_cycle has .*expected linear or c"):
    optimizers.make_phases(config, STEPS)


@pytest.mark.parametrize(
  ("rise", "anneal", "is_possible"),
  [(0.1, 0.1, True), (0.5, 0.5, False), (0.0, 0.1, False), (0.1, 0.0, True)],
)
def test_each_part_of_a_cycle_has_a_step(rise, anneal, is_possible):
  config = resnet34.get_config("one_cycle").optim.cycle
  config.rise, config.anneal = rise, anneal
  if is_possible:
    rate = schedules.one_cycle(1.0, 10, config)
    assert float(rate(1)) == pytest.approx(1.0)
  else:
    with pytest.raises(ValueError, match="one step for each part"):
      schedules.one_cycle(1.0, 10, config)


def test_unknown_frozen_group_is_refused(config):
  config.head_only.frozen = ("earli", "late")
  with pytest.raises(ValueError, match=r"head_only .*'earli'.*\['early', "):
    optimizers.make_phases(config, STEPS)


def test_rate_of_unknown_group_is_refused(config):
  config.all_sgdr.rates = {"early": 1, "late": 1, "head": 1, "tail": 1}
  with pytest.raises(ValueError, match=r"all_sgdr names .*'tail'"):
    optimizers.make_phases(config, STEPS)


def test_missing_rate_is_refused(config):
  config.all_sgdr.rates = {"early": 0.1, "head": 0.1}
  with pytest.raises(ValueError, match=r"all_sgdr .*expected a rate for each"):
    optimizers.make_phases(config, STEPS)
