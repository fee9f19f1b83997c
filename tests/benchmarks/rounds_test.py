"""Sides take turns, and are compared within a turn."""

import pytest

from benchmarks import rounds
from benchmarks import torch_side


def test_rounds_alternate(monkeypatch):
  monkeypatch.setattr(rounds, "_REST_S", 0)
  calls = []

  def side(name, seconds):
    def run(number):
      calls.append((name, number))
      return number * seconds

    return run

  def broken(number):
    raise torch_side.TorchError("no compiler")

  sides = {"a": side("a", 0.5), "broken": broken, "b": side("b", 0.9)}
  seconds, failed = rounds.alternate(sides, 2, on_cpu=True)
  assert seconds == {"a": [0.5, 0.5], "b": [pytest.approx(0.9)] * 2}
  assert failed == {"broken": "no compiler"}
  # Two seconds a round, and before them a step that is not counted.
  turn = [("a", 1), ("a", 4), ("b", 1), ("b", 3)]
  assert calls == [("a", 1)] * 2 + [("b", 1)] * 2 + turn + turn
  calls.clear()
  rounds.alternate(sides, 1, on_cpu=False)
  assert calls[4:] == [("a", 1), ("a", 20), ("b", 1), ("b", 20)]


def test_ratio_is_of_rounds():
  # The machine was slow in the second round, for both.
  assert rounds.ratio([1, 10, 2], [2, 30, 5]) == (2.5, (2, 3))
