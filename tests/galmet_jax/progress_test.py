"""Progress bars in log files."""

import time

import pytest

from galmet_jax import progress


@pytest.fixture
def clock(monkeypatch):
  """The time, in a list that a test changes."""
  now = [0.0]
  monkeypatch.setattr(time, "monotonic", lambda: now[0])
  return now


def test_log_file_gets_a_plain_line_per_minute(clock, capsys):
  with progress.bar(total=1000, desc="evaluate", mininterval=0) as bar:
    for number in range(1000):
      clock[0] += 0.5
      bar.set_postfix_str(f"loss {number}")
      bar.update()
  err = capsys.readouterr().err
  lines = err.splitlines()
  assert len(lines) == 8  # in 500 seconds
  assert "\r" not in err
  assert lines[0].startswith("evaluate:  12%|119/1000 [")
  assert "loss 119" in lines[0]


def test_short_work_prints_nothing(clock, capsys):
  with progress.bar(total=10) as bar:
    bar.update(10)
  assert capsys.readouterr().err == ""


def test_bar_that_is_disabled_prints_nothing(clock, capsys):
  with progress.bar(total=10, disable=True) as bar:
    clock[0] = 1000.0
    bar.update(10)
  assert capsys.readouterr().err == ""
