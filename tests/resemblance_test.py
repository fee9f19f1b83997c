import numpy as np
import pandas as pd
from PIL import Image
import pytest

from tfds_sdss import catalog
from tfds_sdss import mock
from tfds_sdss import resemblance

_Y, _X = np.indices((128, 128)) - 63.5


def _picture(light, colour=(1.0, 1.0, 1.0), sky=0.0):
  picture = sky + light[..., None] * np.array(colour)
  return np.round(picture).clip(0, 255).astype(np.uint8)[None]


def _gaussian(sigma, peak=200.0, axis_ratio=1.0):
  return peak * np.exp(-0.5 * (_X**2 + (_Y / axis_ratio) ** 2) / sigma**2)


@pytest.mark.parametrize("sigma", [8.0, 12.0])
def test_radii_of_a_gaussian(sigma):
  found = resemblance.statistics(_picture(_gaussian(sigma)))

  def radius(fraction):
    return sigma * np.sqrt(-2 * np.log(1 - fraction))

  assert found["half_light_radius"] == pytest.approx(radius(0.5), rel=0.02)
  assert found["r80/r20"] == pytest.approx(radius(0.8) / radius(0.2), rel=0.03)
  assert found["r90/r50"] == pytest.approx(radius(0.9) / radius(0.5), rel=0.03)


def test_scatter_of_the_radii():
  pictures = np.concatenate(
    [_picture(_gaussian(sigma)) for sigma in (8, 8, 8, 12, 12, 12)]
  )
  found = resemblance.statistics(pictures)
  expected = np.log10(12 / 8) / 2
  assert found["scatter_half_light_radius"] == pytest.approx(expected, rel=0.03)


def test_axis_ratio():
  found = resemblance.statistics(_picture(_gaussian(12.0, axis_ratio=0.5)))
  assert found["axis_ratio"] == pytest.approx(0.5, abs=0.01)


def test_colours_are_measured_above_the_sky():
  light = _gaussian(10.0, peak=100.0)
  found = resemblance.statistics(_picture(light, (1.5, 1.0, 0.5), sky=20))
  assert found["border_G"] == pytest.approx(20.0, abs=0.1)
  assert found["noise_G"] == pytest.approx(0.0, abs=0.1)
  for place in ("centre", "outer"):
    assert found[f"{place}_R/G"] == pytest.approx(1.5, rel=0.02)
    assert found[f"{place}_B/G"] == pytest.approx(0.5, rel=0.02)
  inside = light[np.hypot(_X, _Y) < 8].mean()
  assert found["centre_R"] == pytest.approx(1.5 * inside, rel=0.01)
  assert found["centre_B"] == pytest.approx(0.5 * inside, rel=0.01)


def test_sky_is_measured_without_the_neighbours():
  rng = np.random.default_rng(0)
  noise = 30 + 4 * rng.standard_normal((128, 128))
  noise[60:68, :8] = 250
  found = resemblance.statistics(_picture(_gaussian(8.0) + noise))
  assert found["border_R"] == pytest.approx(30.0, abs=0.3)
  assert found["noise_R"] == pytest.approx(4.0, rel=0.06)
  assert abs(found["noise_correlation"]) < 0.1


def test_correlated_noise_is_recognised():
  rng = np.random.default_rng(0)
  white = rng.standard_normal((128, 129))
  smooth = 30 + 2 * (white[:, 1:] + white[:, :-1])
  found = resemblance.statistics(_picture(_gaussian(8.0) + smooth))
  assert found["noise_correlation"] == pytest.approx(0.5, abs=0.1)


def test_pictures_that_are_none_are_refused():
  with pytest.raises(ValueError, match=r"found float64 \(1, 128, 128, 3\)"):
    resemblance.statistics(np.zeros((1, 128, 128, 3)))


def test_mocks_resemble_mocks(tmp_path):
  real = tmp_path / "real"
  for index, example in enumerate(mock.generate(32, seed=1)):
    folder = real / ("test" if index < 8 else "train")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{example['objid']}.jpg").write_bytes(example["image"])
  out = tmp_path / "out"
  table = resemblance.compare(real, out)
  assert list(table.columns) == ["real", "mock", "ratio", "within 20 %"]
  np.testing.assert_allclose(table["ratio"], table["mock"] / table["real"])
  close = np.abs(table["ratio"] - 1) <= 0.2
  assert (table["within 20 %"] == np.where(close, "yes", "no")).all()
  # Another seed, so the scatter of 32 galaxies remains.
  means = table.drop(index=[k for k in table.index if k.startswith("scatter")])
  assert (means["within 20 %"] == "yes").mean() > 0.8
  saved = pd.read_csv(out / "resemblance.csv", index_col="statistic")
  assert list(saved.index) == list(table.index)
  with Image.open(out / "resemblance.png") as figure:
    assert min(figure.size) > 500


def test_a_folder_without_images_is_named(tmp_path):
  with pytest.raises(catalog.DataError, match=str(tmp_path)):
    resemblance.compare(tmp_path, tmp_path / "out")
