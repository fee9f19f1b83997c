"""The growth benchmark: measurements and slopes."""

import pytest

from benchmarks import growth


def test_slopes_use_the_three_largest_samples():
  def figures(name, values):
    return [
      {"placement": "host", "name": name, "galaxies": n, "value": value}
      for n, value in values.items()
    ]

  lines = growth.slopes(
    [
      # The smallest sample, an outlier, is ignored; the order does not matter.
      *figures("place", {1: 9.0, 90: 0.9, 10: 0.1, 30: 0.3}),
      *figures("step", {10: 2.0, 90: 2.0}),
      *figures("evaluate", {10: 2.0}),
    ]
  )
  assert [(x["name"], x["placement"]) for x in lines] == [
    ("place_slope", "host"),
    ("step_slope", "host"),
  ]
  assert [x["value"] for x in lines] == pytest.approx([1, 0], abs=1e-9)


def test_measure_reports_all_figures(monkeypatch):
  monkeypatch.setattr(growth, "_SIDE", 16)
  monkeypatch.setattr(growth, "_STEPS", 1)
  monkeypatch.setattr(growth, "_REPEATS", 1)
  figures = growth.measure(130, "host")
  names = [figure["name"] for figure in figures]
  assert names == ["place", "step", "evaluate", "peak_memory"]
  for figure in figures:
    assert figure["value"] > 0
    assert (figure["galaxies"], figure["placement"]) == (130, "host")
