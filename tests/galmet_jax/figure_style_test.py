"""Figures do not depend on the user's settings, and never end a run."""

import matplotlib
from matplotlib import figure
import pandas as pd
import pytest

from galmet_jax import figure_style
from galmet_jax import plots
from tfds_sdss import signals

TABLE = pd.DataFrame(
  {"rate": [0.1, 0.2], "loss": [2.0, 1.0], "smoothed": [2.0, 1.5]}
)


def draw(path):
  with figure_style.optional(path):
    plots.lr_find(path, TABLE, 0.01)
  return path.read_bytes()


def test_figures_are_drawn_with_the_settings_of_matplotlib(tmp_path, capsys):
  expected = draw(tmp_path / "a.png")
  theirs = {
    "text.usetex": True,
    "font.family": ["no such font"],
    "axes.facecolor": "black",
    "savefig.format": "pdf",
    "savefig.transparent": True,
  }
  with matplotlib.rc_context(theirs):
    assert draw(tmp_path / "b.png") == expected
    assert matplotlib.rcParams["text.usetex"]
  assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
  "error", [RuntimeError("no TeX\nfound"), OSError(28, "No space left")]
)
def test_figure_that_fails_costs_one_line(tmp_path, capsys, monkeypatch, error):
  def fail(*args, **kwargs):
    raise error

  path = tmp_path / "a.png"
  monkeypatch.setattr(figure.Figure, "savefig", fail)
  with figure_style.optional(path):
    plots.lr_find(path, TABLE, 0.01)
  out = capsys.readouterr().out
  assert out.startswith(f"{path} is not drawn ({type(error).__name__}: ")
  assert out.count("\n") == 1
  assert not list(tmp_path.iterdir())


def test_no_figure_is_begun_after_a_signal(tmp_path, monkeypatch):
  monkeypatch.setattr(signals, "_received", 15)
  with pytest.raises(signals.Stopped):
    draw(tmp_path / "a.png")
  assert not list(tmp_path.iterdir())
