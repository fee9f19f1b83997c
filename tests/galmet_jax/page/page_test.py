"""Tests of the page without a browser."""

import base64
import html
import io
import re

import numpy as np
from PIL import Image

from galmet_jax.page import page
from galmet_jax.page import sprites
from galmet_jax.page import widgets
from tests.galmet_jax.page import galaxies


def test_thumbnails_lie_where_the_page_looks_for_them():
  number = 1030
  images = galaxies.images(number)
  thumbnails = sprites.shrink(images)
  found = sprites.sheets(lambda rows: images[rows], np.arange(number))
  sheets = [_decode(uri) for uri in found]
  places = sprites.place(number)
  assert len(sheets) == 2
  for i in (0, 31, 32, 1023, 1024, number - 1):
    left, top = -places["left"][i], -places["top"][i]
    found = sheets[places["sheet"][i]][top : top + 64, left : left + 64]
    assert galaxies.psnr(found, thumbnails[i]) >= 30
    assert galaxies.psnr(found, thumbnails[(i + 1) % number]) < 30


def test_an_image_shrinks_to_the_means_of_its_squares():
  # Pillow rounds after the rows and after the columns.
  image = galaxies.images(1)
  means = image[0].reshape(64, 2, 64, 2, 3).mean((1, 3))
  np.testing.assert_allclose(sprites.shrink(image)[0], means, atol=1)


def test_page_loads_nothing_and_holds_text_as_text(tmp_path):
  path = tmp_path / "page.html"
  page.write(path, galaxies.content(20))
  text = path.read_text(encoding="utf-8")
  assert "<title>&lt;mock&gt; galaxies</title>" in text
  assert galaxies.HOSTILE not in text
  assert html.escape(galaxies.HOSTILE) not in text.split("<body>")[0]
  policy = re.search(r'Security-Policy" content="([^"]*)"', text)[1]
  assert policy.startswith("default-src 'none';")
  assert "http" not in policy
  # Without the text of scripts.
  tags = re.sub(r"(<script\b[^>]*>).*?</script>", r"\1", text, flags=re.DOTALL)
  assert not re.search(r"\b(src|href)=", tags)


def test_page_is_the_same_after_other_pages(tmp_path):
  first, other, second = (tmp_path / f"{name}.html" for name in "abc")
  page.write(first, galaxies.content(20))
  page.write(other, galaxies.content(21))
  page.write(second, galaxies.content(20))
  assert first.read_bytes() == second.read_bytes() != other.read_bytes()


def test_too_many_galaxies_are_a_seeded_sample(tmp_path, monkeypatch):
  monkeypatch.setattr(page, "MAX_GALAXIES", 5)
  texts = []
  for name, seed in (("a", 0), ("b", 0), ("c", 1)):
    path = tmp_path / f"{name}.html"
    page.write(path, galaxies.content(20), seed)
    texts.append(path.read_text(encoding="utf-8"))
  assert "shows 5 of 20 galaxies, chosen at random with seed 0." in texts[0]
  ids = [sorted(re.findall(r"12376\d{5}", text)) for text in texts]
  assert ids[0] == ids[1] != ids[2]
  assert 4 <= len(set(ids[0])) <= 5


def test_flags_to_choose_from_are_those_of_the_galaxies():
  columns, target = _columns(4)
  texts = ["", "no image (found text)", "no image (found 3 px); an outlier", ""]
  columns["flags"] = np.array(texts, object)
  parts = widgets.explorer(columns, target, {})
  assert parts["flags"].options == ["all", "none", "an outlier", "no image"]


def test_galaxies_with_masses_have_plots_of_them():
  columns, target = _columns(4)
  columns["mass"] = np.array([9.0, 10.0, np.nan, 11.0])
  curve = np.array([[9.0, 11.0], [8.6, 9.1]])
  parts = widgets.explorer(columns, target, {}, curve)
  axes = [
    (dots.glyph.x, dots.glyph.y)
    for i in range(4)
    for dots in parts[f"plot_{i}"].renderers[:1]
  ]
  assert axes == [
    ("true", "pred"),
    ("pred", "residual"),
    ("mass", "pred"),
    ("mass", "residual"),
  ]
  (line,) = parts["plot_2"].renderers[1:]
  found = line.data_source.data
  np.testing.assert_array_equal([found["x"], found["y"]], curve)


def _columns(number: int):
  """Returns the columns of a page, and its target."""
  content = galaxies.content(number)
  columns = {
    name: content.galaxies[name].to_numpy() for name in content.galaxies
  }
  return columns | sprites.place(number), content.target


def _decode(uri: str) -> np.ndarray:
  data = base64.b64decode(uri.removeprefix("data:image/webp;base64,"))
  return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
