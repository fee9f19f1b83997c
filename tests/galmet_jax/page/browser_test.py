"""Tests of the page in Chromium, without a network."""

from collections.abc import Callable
from collections.abc import Iterator
import csv
import dataclasses
import io
import shutil

import numpy as np
from PIL import Image
from playwright import sync_api
import pytest

from galmet_jax.page import page as page_lib
from galmet_jax.page import sprites
from tests.galmet_jax.page import galaxies

_SWITCHES = ["--no-sandbox", "--use-gl=swiftshader", "--disable-dev-shm-usage"]
# Positions of a plot's points in the window.
_POINTS = """
column => {
  const found = [];
  const walk = view => {
    if (view.model.type == "Figure") { found.push(view); }
    for (const child of view.child_views || []) { walk(child); }
  };
  for (const view of Bokeh.index) { walk(view); }
  const view = found.find(
    x => x.model.renderers.some(r => r.glyph.y && r.glyph.y.field == column));
  const renderer = view.model.renderers[0];
  const data = renderer.data_source.data;
  const box = view.el.getBoundingClientRect();
  const x = data[renderer.glyph.x.field], y = data[renderer.glyph.y.field];
  return Array.from(data.id).map((id, i) => [
    box.left + view.frame.x_scale.compute(x[i]),
    box.top + view.frame.y_scale.compute(y[i])]);
}
"""
_STATE = """
() => {
  for (const model of Bokeh.documents[0]._all_models.values()) {
    if (model.type == "ColumnDataSource" && model.data.id) {
      return {selected: model.selected.indices, ids: Array.from(model.data.id)};
    }
  }
}
"""
_TOOLTIP = """
() => {
  const all = root => [...root.querySelectorAll("*")].flatMap(
    x => x.shadowRoot ? [x, ...all(x.shadowRoot)] : [x]);
  const tooltips = all(document).filter(
    x => x.classList.contains("bk-Tooltip") && x.getClientRects().length);
  if (!tooltips.length) { return null; }
  const inside = all(tooltips[0].shadowRoot);
  const picture = inside.find(x => x.style && x.style.backgroundImage);
  if (!picture) { return null; }
  const box = picture.getBoundingClientRect();
  return {text: inside.map(x => x.children.length ? "" : x.textContent),
    box: {x: box.x, y: box.y, width: box.width, height: box.height}};
}
"""


_RANGE = """
() => {
  for (const model of Bokeh.documents[0]._all_models.values()) {
    if (model.type == "RangeSlider") { return model.value; }
  }
}
"""
# What has the focus, in words.
_FOCUSED = """
() => {
  let found = document.activeElement;
  while (found.shadowRoot?.activeElement) {
    found = found.shadowRoot.activeElement;
  }
  if (found.classList.contains("noUi-handle")) { return "handle of a range"; }
  const label = found.labels?.[0]?.textContent ?? found.textContent;
  return found.tagName == "BODY" ? "BODY" : label;
}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
  """Chromium of the system."""
  program = shutil.which("chromium")
  if program is None:
    pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
  with sync_api.sync_playwright() as playwright:
    found = playwright.chromium.launch(executable_path=program, args=_SWITCHES)
    yield found
    found.close()


@pytest.fixture
def open_page(browser, tmp_path) -> Iterator[Callable]:
  """Opens a page of galaxies; at the end nothing went wrong in it."""
  messages, failures, requests = [], [], []

  def open_(content: page_lib.Content, **options) -> sync_api.Page:
    path = tmp_path / "page.html"
    page_lib.write(path, content)
    size = {"width": 1200, "height": 1000}
    context = browser.new_context(
      **{"viewport": size, "offline": True, **options}
    )
    tab = context.new_page()
    # Playwright refuses built-in functions.
    tab.on("console", lambda message: messages.append(message))
    tab.on("pageerror", lambda error: failures.append(error))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(path.as_uri())
    tab.wait_for_function(
      "window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].is_idle"
    )
    return tab

  yield open_
  assert not failures
  texts = [x.text for x in messages if x.type in ("warning", "error")]
  # Reading the pixels of a drawing on the GPU is slow; only tests do it.
  assert [text for text in texts if "GPU stall" not in text] == []
  assert {url.partition(":")[0] for url in requests} <= {"file", "data", "blob"}


def test_hovering_shows_the_galaxy(open_page):
  content = galaxies.content(20)
  tab = open_page(content)
  thumbnails = sprites.shrink(galaxies.images(20))
  points = tab.evaluate(_POINTS, "pred")
  for i, name in enumerate(content.galaxies["id"]):
    tab.mouse.move(5, 5)
    tab.mouse.move(*points[i])
    tab.wait_for_function(f"({_TOOLTIP})() !== null")
    tooltip = tab.evaluate(_TOOLTIP)
    assert name in tooltip["text"]
    seen = _decode(tab.screenshot(clip=tooltip["box"]))
    assert galaxies.psnr(seen, thumbnails[i]) >= 30
  assert tab.title() == content.title


def test_search_selects_and_the_selection_downloads(open_page):
  content = galaxies.content(20)
  tab = open_page(content)
  tab.get_by_placeholder("part of an id").fill("0000")
  assert _selected(tab) == [
    name for name in content.galaxies["id"] if "0000" in name
  ]
  tab.get_by_placeholder("part of an id").fill("<img src")
  assert _selected(tab) == [galaxies.HOSTILE]
  with tab.expect_download() as download:
    tab.get_by_role("button", name="Download").click()
  with open(download.value.path(), encoding="utf-8", newline="") as file:
    rows = list(csv.DictReader(file))
  row = content.galaxies.iloc[-1]
  assert [found["id"] for found in rows] == [galaxies.HOSTILE]
  assert float(rows[0]["pred"]) == row["pred"]
  assert float(rows[0]["residual"]) == pytest.approx(row["pred"] - row["true"])
  assert tab.title() == content.title


def test_table_shows_the_image_of_a_selected_galaxy(open_page):
  tab = open_page(galaxies.content(20))
  tab.get_by_placeholder("part of an id").fill("00017")
  cell = tab.locator(".slick-cell div").first
  sync_api.expect(cell).to_be_visible()
  seen = _decode(cell.screenshot())
  thumbnail = sprites.shrink(galaxies.images(20))[17]
  assert galaxies.psnr(seen[:64], thumbnail) >= 30


def test_keys_reach_every_control(open_page):
  content = galaxies.content(20)
  tab = open_page(content)
  reached = []
  while "BODY" not in reached:
    tab.keyboard.press("Tab")
    reached.append(tab.evaluate(_FOCUSED))
  for name in ("Search an id", "Flags", "Split", "Download the selection"):
    assert any(name in text for text in reached), name
  assert reached.count("handle of a range") == 2
  tab.get_by_label("Search an id").focus()
  tab.keyboard.press("Tab")
  tab.keyboard.press("Tab")
  # The lower end of the range.
  for _ in range(3):
    tab.keyboard.press("ArrowRight")
  low = float(tab.evaluate(_RANGE)[0])
  predicted = content.galaxies["pred"]
  _expect_shown(tab, (predicted >= low).sum())
  assert low > predicted.min()


def test_lasso_in_one_plot_selects_in_both_and_in_the_table(open_page):
  content = galaxies.content(20)
  tab = open_page(content)
  x, y = tab.evaluate(_POINTS, "residual")[7]
  tab.mouse.move(x - 4, y - 4)
  tab.mouse.down()
  for dx, dy in ((4, -4), (4, 4), (-4, 4), (-4, -4)):
    tab.mouse.move(x + dx, y + dy, steps=4)
  tab.mouse.up()
  name = content.galaxies["id"][7]
  assert _selected(tab) == [name]
  sync_api.expect(tab.locator(".slick-cell", has_text=name)).to_be_visible()


def test_filters_count_the_galaxies_that_are_shown(open_page):
  content = galaxies.content(20)
  tab = open_page(content)
  frame = content.galaxies
  tab.get_by_label("Split").select_option("test")
  _expect_shown(tab, (frame["split"] == "test").sum())
  tab.get_by_label("Flags").select_option("none")
  rest = frame[(frame["split"] == "test") & (frame["flags"] == "")]
  _expect_shown(tab, len(rest))


def test_another_system_replaces_the_predictions(open_page):
  content = galaxies.content(20)
  table = content.galaxies
  table["gri"], table["forest"] = table["pred"], 8.9
  systems = {"gri": "CNN", "forest": "random forest"}
  tab = open_page(dataclasses.replace(content, systems=systems))
  tab.get_by_label("System").select_option("random forest")
  tab.mouse.move(5, 5)
  tab.mouse.move(*tab.evaluate(_POINTS, "pred")[3])
  tab.wait_for_function(f"({_TOOLTIP})() !== null")
  text = tab.evaluate(_TOOLTIP)["text"]
  difference = 8.9 - table["true"][3]
  assert "predicted 8.900" in text
  assert f"true {table['true'][3]:.3f}, difference {difference:.3f}" in text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_follows_the_colour_scheme(open_page, scheme):
  tab = open_page(galaxies.content(20, has_truth=False), color_scheme=scheme)
  corner = _decode(tab.screenshot())[2, 2]
  assert (corner.mean() > 128) == (scheme == "light")


def test_page_fits_a_phone(open_page):
  phone = {"width": 390, "height": 844}
  tab = open_page(galaxies.content(20), viewport=phone)
  assert tab.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_range_applies_to_another_system(open_page):
  content = galaxies.content(20)
  table = content.galaxies
  table["gri"], table["forest"] = table["pred"], table["pred"][::-1] + 0.5
  systems = {"gri": "CNN", "forest": "random forest"}
  tab = open_page(dataclasses.replace(content, systems=systems))
  tab.get_by_label("System").select_option("random forest")
  _expect_shown(tab, 20)
  low = float(tab.evaluate(_RANGE)[0])
  assert low <= table["pred"].min()
  handle = tab.locator(".noUi-handle-upper")
  handle.focus()
  while float(tab.evaluate(_RANGE)[1]) > 9.2:
    tab.keyboard.press("ArrowLeft")
  high = float(tab.evaluate(_RANGE)[1])
  _expect_shown(tab, (table["forest"] <= high).sum())
  tab.get_by_label("System").select_option("CNN")
  _expect_shown(tab, (table["gri"] <= high).sum())


def _decode(png: bytes) -> np.ndarray:
  return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def _selected(tab: sync_api.Page) -> list[str]:
  state = tab.evaluate(_STATE)
  return [state["ids"][i] for i in sorted(state["selected"])]


def _expect_shown(tab: sync_api.Page, number: int) -> None:
  text = f"{number} of 20 galaxies are shown."
  sync_api.expect(tab.get_by_text(text)).to_be_visible()
