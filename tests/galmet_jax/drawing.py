"""Checks that every figure must pass."""

import itertools

from matplotlib import figure
from matplotlib import text
import numpy as np
from PIL import Image


def watch(monkeypatch):
  """Records the saved figures and the extent in pixels of each text."""
  figures, extents = [], {}
  draw, savefig = text.Text.draw, figure.Figure.savefig

  def draw_and_measure(self, renderer, *args, **kwargs):
    draw(self, renderer, *args, **kwargs)
    if self.get_visible() and self.get_text():
      extents[self] = self.get_window_extent(renderer)

  def save_and_record(self, *args, **kwargs):
    figures.append(self)
    savefig(self, *args, **kwargs)

  monkeypatch.setattr(text.Text, "draw", draw_and_measure)
  monkeypatch.setattr(figure.Figure, "savefig", save_and_record)
  return figures, extents


def check(path, watched, size, dpi=300):
  """Checks size in inches, ink, empty margins, and that no texts overlap.

  Returns the figure and its texts.
  """
  figures, extents = watched
  with Image.open(path) as png:
    assert png.format == "PNG"
    np.testing.assert_allclose(png.info["dpi"], dpi, atol=0.1)
    np.testing.assert_allclose(np.divide(png.size, dpi), size, atol=0.3)
    ink = np.asarray(png.convert("L")) < 200
  assert ink.mean() > 0.003
  margin = dpi // 18
  for edge in (ink[:margin], ink[-margin:], ink[:, :margin], ink[:, -margin:]):
    assert not edge.any()
  for one, other in itertools.combinations(extents, 2):
    assert not extents[one].overlaps(extents[other]), (one, other)
  (fig,) = figures
  return fig, [one.get_text() for one in extents]


def lines(panel):
  """Returns the lines of a panel by label."""
  return {line.get_label(): line for line in panel.get_lines()}
