"""How time and memory grow: what is measured, fitted and drawn."""

import json
import sys

import jax
import numpy as np
import pytest

from benchmarks import bench as benches
from benchmarks import growth
from benchmarks import growth_measures as measures
from benchmarks import steps
from galmet_jax import figure_style
from galmet_jax.data import augment
from galmet_jax.data import batches
from galmet_jax.data import galaxies
from galmet_jax.data import placement
from galmet_jax.devices import sharding


def lines_of(against, name, at, values):
  return [
    {
      "name": name,
      "device": "cpu",
      "dtype": "float32",
      "value": value,
      "unit": "s",
      "against": against,
      "at": size,
    }
    for size, value in zip(at, values, strict=True)
  ]


FIGURES = [
  # The first is not fitted.
  *lines_of("galaxies", "place_s", (1, 10, 40, 160), (9.0, 1.0, 2.0, 4.0)),
  *lines_of("galaxies", "peak_memory", (10, 40), (0.5, 2.0)),
  *lines_of("galaxies", "host_peak_memory", (10, 40), (0.5, 0.5)),
  *lines_of("pixels", "step_ms", (64, 16), (8.0, 2.0)),
  *lines_of("views", "step_ms", (2,), (7.0,)),
]


@pytest.fixture(scope="module")
def bench():
  config = measures.small_config("float32")
  config.train.batch_size = config.eval.batch_size = 8
  mesh = sharding.make_mesh(jax.devices()[:1])
  return benches.Bench(config, mesh, quick=False, torch_python=None)


def printed(capsys):
  return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("power", [0.0, 1.0, 1.7, -2.0])
def test_exponent_is_that_of_the_last_three(power):
  at = np.array([1.0, 10.0, 30.0, 90.0])
  values = 0.3 * at**power
  values[0] = 1e3
  assert growth.exponent(at, values) == pytest.approx(power, abs=1e-12)
  # Of three, the slope of the line nearest to them, not that of the ends.
  values[2] *= np.e
  x, y = np.log(at[1:]), np.log(values[1:])
  slope = np.sum((x - x.mean()) * y) / np.sum((x - x.mean()) ** 2)
  assert growth.exponent(at, values) == pytest.approx(slope, abs=1e-12)


def test_exponents_beside_the_expected_ones():
  fitted = growth.exponents(FIGURES)
  found = [(x["against"], x["name"], x["value"], x["expected"]) for x in fitted]
  assert found == [
    ("galaxies", "place_s_exponent", 0.5, 1),
    ("galaxies", "peak_memory_exponent", 1.0, 1),
    ("galaxies", "host_peak_memory_exponent", 0.0, 1),
    ("pixels", "step_ms_exponent", 1.0, 1),
  ]
  assert fitted[0]["device"] == "cpu"


def test_plot_shows_the_points(tmp_path, monkeypatch):
  drawn = []
  monkeypatch.setattr(figure_style, "save", lambda fig, path: drawn.append(fig))
  growth.draw(tmp_path / "growth.png", FIGURES)
  panels = drawn[0].axes
  assert [panel.get_xlabel() for panel in panels] == [
    "Galaxies",
    "Pixels of an image",
    "Views of each image",
  ]
  for panel in panels:
    assert panel.get_xscale() == panel.get_yscale() == "log"
    assert "dashed" in panel.get_ylabel()
    slope = panel.lines[-1].get_xydata()
    (x, y), (last_x, last_y) = slope
    assert last_x / x == pytest.approx(last_y / y)
  place, memory, on_host = panels[0].lines[:-1]
  np.testing.assert_array_equal(
    place.get_xydata(), [(1, 9), (10, 1), (40, 2), (160, 4)]
  )
  assert place.get_label() == "pack and place, s: 0.50"
  assert (place.get_linestyle(), memory.get_linestyle()) == ("-", "--")
  assert on_host.get_color() == memory.get_color() != place.get_color()
  assert on_host.get_markerfacecolor() == "white"
  # In order of size; one point has no slope.
  np.testing.assert_array_equal(
    panels[1].lines[0].get_xydata(), [(16, 2), (64, 8)]
  )
  assert panels[2].lines[0].get_label() == "step of 4 images, ms"


def test_drawn_from_a_file(tmp_path, monkeypatch, capsys):
  source, plot = tmp_path / "growth.jsonl", tmp_path / "growth.png"
  # Exponents of an earlier call are fitted anew.
  every = [*FIGURES, *growth.exponents(FIGURES)]
  source.write_text("".join(json.dumps(each) + "\n" for each in every))
  monkeypatch.setattr(growth, "measure", None)
  arguments = ["growth", f"--from={source}", f"--plot={plot}"]
  monkeypatch.setattr(sys, "argv", arguments)
  growth.main()
  assert printed(capsys) == growth.exponents(FIGURES)
  width = int.from_bytes(plot.read_bytes()[16:20], "big")
  assert 1100 < width < 1400
  source.write_text("place_s 3\n")
  with pytest.raises(
    SystemExit, match=r"^error: .*python -m benchmarks.growth"
  ):
    growth.main()


def test_measured_in_another_process(tmp_path, monkeypatch, capfd):
  python = tmp_path / "python"
  python.write_text(
    f"#!{sys.executable}\n"
    "import json, sys\n"
    "print(json.dumps(sys.argv[1:]))\n"
    "sys.exit(sys.argv[3] == 'host')\n"
  )
  python.chmod(0o700)
  monkeypatch.setattr(growth.sys, "executable", str(python))
  expected = ["-m", "benchmarks.growth_measures", "device", "10"]
  assert growth.measure("device", "10") == [expected]
  assert json.loads(capfd.readouterr().out) == expected
  with pytest.raises(
    SystemExit, match=r"error: host 10 ended with 1 .*Alone: "
  ):
    growth.measure("host", "10")


def test_all_is_measured_then_fitted(monkeypatch, capsys):
  runs = []

  def measure(section, sizes):
    runs.append((section, sizes))
    return FIGURES if section == "views" else []

  monkeypatch.setattr(growth, "measure", measure)
  monkeypatch.setattr(sys, "argv", ["growth", "--galaxies=100,900"])
  growth.main()
  assert runs[:4] == [
    ("device", "100"),
    ("device", "900"),
    ("host", "100"),
    ("host", "900"),
  ]
  assert {section for section, _ in runs} == set(measures._SECTIONS)
  assert printed(capsys) == growth.exponents(FIGURES)


def test_galaxies_on_the_device(bench, monkeypatch, capsys):
  monkeypatch.setattr(measures, "_SIDE", 16)
  monkeypatch.setattr(measures, "_STEPS", 2)
  # Programs that compile faster.
  monkeypatch.setattr(
    augment, "random_views", lambda key, n, config: augment.plain_views(n)
  )
  measures.measure_device(bench, 20)
  figures = printed(capsys)
  assert [(x["name"], x["unit"]) for x in figures] == [
    ("place_s", "s"),
    ("order_s", "s"),
    ("step_s", "s"),
    ("evaluate_s", "s"),
    ("peak_memory", "GB"),
  ]
  assert {x["name"] for x in figures} < set(growth.SERIES["galaxies"])
  assert {(x["against"], x["at"]) for x in figures} == {("galaxies", 20)}
  assert all(x["value"] > 0 for x in figures)
  # JAX alone takes more than 0.1 GB.
  assert 0.1 < figures[-1]["value"] < 1000


def test_galaxies_on_the_host(bench, monkeypatch, capsys):
  class Training:
    """Notes which galaxies it is given."""

    def __init__(self, config, mesh, data):
      assert isinstance(data, placement.OnHost)
      self.data, self.state = data, None

    def compiled(self, state, images, targets):
      assert images.shape == (8, 16, 16)
      given.append(np.asarray(targets))
      return state, {}

  given: list[np.ndarray] = []
  monkeypatch.setattr(steps, "Training", Training)
  monkeypatch.setattr(measures, "_SIDE", 16)
  monkeypatch.setattr(measures, "_STEPS", 2)
  measures.measure_host(bench, 24)
  # Three times two steps, each after the one before.
  targets = steps.random_split(24, 16).targets
  for step, found in enumerate(given):
    indices = batches.batch_indices(0, step, 24, 8)
    np.testing.assert_array_equal(found, targets[indices])
  assert len(given) == 6
  names = [x["name"] for x in printed(capsys)]
  assert names == ["host_step_s", "host_peak_memory"]
  assert set(names) < set(growth.SERIES["galaxies"])


def test_order_is_of_whole_epochs(bench, monkeypatch):
  asked = []
  monkeypatch.setattr(
    galaxies, "batch_indices", lambda *arguments: asked.append(arguments)
  )
  assert measures._order_seconds(bench, 30) > 0
  # Three steps each; the first epoch has been asked for before.
  assert asked == [(0, step, 30, 8) for step in range(3, 12)]


def test_steps_of_pixels_and_views(bench, monkeypatch, capsys):
  class Training:
    """Each step takes less than the one before."""

    def __init__(self, config, mesh):
      self.config, self.seconds = config, 5.0
      images = config.train.batch_size * config.train.views_per_image
      self.temp_bytes_per_image = images * 1_000_000

    def run(self, number):
      assert number == 1
      self.seconds -= 1.0
      return self.seconds

  monkeypatch.setattr(steps, "Training", Training)
  measures.measure_pixels(bench, 96)
  measures.measure_views(bench, 5)
  figures = printed(capsys)
  # The second, third and fourth count.
  assert [
    (x["name"], x["against"], x["at"], x["batch"], x["views"], x["value"])
    for x in figures
  ] == [
    ("step_ms", "pixels", 9216, 8, 1, 1000),
    ("temp_memory", "pixels", 9216, 8, 1, 8),
    ("step_ms", "views", 5, 4, 5, 1000),
    ("temp_memory", "views", 5, 4, 5, 20),
  ]
  for against in ("pixels", "views"):
    names = {x["name"] for x in figures if x["against"] == against}
    assert names == set(growth.SERIES[against])


def test_repeats_end_when_it_takes_long(monkeypatch):
  asked = []

  def measure(i):
    asked.append(i)
    return (3.0, 1.0, 2.0)[i]

  assert measures._least(measure) == 1
  monkeypatch.setattr(measures, "_ENOUGH_S", 0)
  assert measures._least(measure) == 3
  assert asked == [0, 1, 2, 0]
