"""How much the mock galaxies look like real ones: a table and a figure."""

import io
import pathlib

import matplotlib.figure
import numpy as np
import pandas as pd
from PIL import Image

from tfds_sdss import catalog
from tfds_sdss import mock

_BORDER = 10  # px, width of the frame in which the sky is measured
_CENTRE = 8.0  # px, radius of the disc in which the centre's colour is
_OUTER = (12.0, 20.0)  # px, ring in which the outskirts' colour is measured
# Beyond 50 px there is more of the neighbours than of the galaxy. With this
# limit 400 real galaxies have a median half-light radius of 16.3 px and a
# standard deviation of 0.050 dex (the whole sample of 500: 16.7 and 0.047).
_RADII = np.arange(1.0, 50.5, 0.5)
_TOLERANCE = 0.2
_NUM_SHOWN = 32
_COLUMNS_SHOWN = 4


def statistics(images: np.ndarray) -> pd.Series:
  """Measures what a sample of pictures looks like.

  Args:
    images: RGB pictures, uint8 [N, H, W, 3], a galaxy at the centre of each.

  Returns:
    Named statistics, each the median over the sample unless it is a scatter
    (half the range from the 16th to the 84th percentile):

    * `border_R`, `_G`, `_B`: level of the sky in the outer frame [counts],
      a mean of the pixels less than 3 sigma from the median, because a median
      of small integers is too coarse; `noise_R`, `_G`, `_B`: the standard
      deviation of these pixels [counts].
    * `noise_correlation`: of neighbouring pixels in the frame's top.
    * `centre_R`, `_G`, `_B`: mean above the sky within 8 px [counts];
      `centre_R/G`, `centre_B/G` and `outer_R/G`, `outer_B/G` (from 12 to 20
      px): ratios of such means; `scatter_R/G`, `scatter_B/G`: of the centre's.
    * `half_light_radius` [px] and `scatter_half_light_radius` [dex]: radius
      of half of the light above the sky, mean of the three channels, within
      50 px; `r80/r20` and `r90/r50`: concentrations from that curve of growth.
    * `mean_brightness`: above the sky within 40 px [counts], and its scatter.
    * `axis_ratio`: from the second moments within 40 px.

  Raises:
    ValueError: if images is not uint8 [N, H, W, 3].
  """
  if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
    raise ValueError(
      f"expected uint8 [N, H, W, 3], found {images.dtype} {images.shape}"
    )
  rows = pd.DataFrame([_measure(image) for image in images.astype(np.float64)])
  result = rows.median()
  for name in ("R/G", "B/G"):
    result[f"scatter_{name}"] = _scatter(rows[f"centre_{name}"])
  result["scatter_half_light_radius"] = _scatter(
    np.log10(rows["half_light_radius"])
  )
  result["scatter_mean_brightness"] = _scatter(rows["mean_brightness"])
  return result


def compare(real_dir: pathlib.Path, out_dir: pathlib.Path) -> pd.DataFrame:
  """Sets mock galaxies beside real ones.

  Args:
    real_dir: folder with `train/OBJID.jpg` and `test/OBJID.jpg`.
    out_dir: folder for `resemblance.csv` (the table returned) and
      `resemblance.png` (32 real galaxies beside 32 mock ones).

  Returns:
    One row for each of `statistics`, and one for the median size of the files
    (`jpeg_bytes`): columns real, mock, ratio (mock / real)
    and `within 20 %` (yes or no). As many mocks are measured as there are
    real galaxies.

  Raises:
    catalog.DataError: if real_dir holds no such images.
  """
  paths = sorted(
    path
    for split in ("train", "test")
    for path in (real_dir / split).glob("*.jpg")
  )
  if not paths:
    raise catalog.DataError(
      f"expected train/*.jpg and test/*.jpg in {real_dir}, found none"
    )
  real = np.stack([_decode(path.read_bytes()) for path in paths])
  examples = list(mock.generate(len(real)))
  drawn = np.stack([_decode(example["image"]) for example in examples])
  table = pd.DataFrame({"real": statistics(real), "mock": statistics(drawn)})
  # How much detail there is, noise included, to the encoder's eye.
  table.loc["jpeg_bytes"] = [
    np.median([path.stat().st_size for path in paths]),
    np.median([len(example["image"]) for example in examples]),
  ]
  table["ratio"] = table["mock"] / table["real"]
  close = (table["ratio"] - 1).abs() <= _TOLERANCE
  table["within 20 %"] = np.where(close, "yes", "no")
  out_dir.mkdir(parents=True, exist_ok=True)
  table.to_csv(out_dir / "resemblance.csv", index_label="statistic")
  _plot(real, drawn, out_dir / "resemblance.png")
  return table


def _measure(image: np.ndarray) -> dict[str, float]:
  """Measures one picture, float [H, W, 3]."""
  height, width, _ = image.shape
  y, x = np.indices((height, width))
  x, y = x - (width - 1) / 2, y - (height - 1) / 2
  radius = np.hypot(x, y)
  inner = np.zeros((height, width), bool)
  inner[_BORDER:-_BORDER, _BORDER:-_BORDER] = True
  row: dict[str, float] = {}
  levels = np.empty(3)
  for channel, name in enumerate("RGB"):
    pixels = _clip(image[~inner][:, channel])
    levels[channel] = row[f"border_{name}"] = pixels.mean()
    row[f"noise_{name}"] = pixels.std()
  light = image - levels
  grey = light.mean(axis=-1)
  row["noise_correlation"] = _correlation(grey[:_BORDER])

  centre = light[radius < _CENTRE].mean(axis=0)
  outer = light[(radius >= _OUTER[0]) & (radius < _OUTER[1])].mean(axis=0)
  for channel, name in enumerate("RGB"):
    row[f"centre_{name}"] = centre[channel]
  for place, (red, green, blue) in (("centre", centre), ("outer", outer)):
    # Of a galaxy too faint for a colour, none is taken.
    row[f"{place}_R/G"] = red / green if green > 1 else np.nan
    row[f"{place}_B/G"] = blue / green if green > 1 else np.nan

  bins = np.bincount(
    np.searchsorted(_RADII, radius.ravel()), grey.ravel(), len(_RADII) + 1
  )
  # Noise below the sky must not make the curve fall.
  growth = np.maximum.accumulate(np.cumsum(bins[: len(_RADII)]))
  r20, r50, r80, r90 = np.interp(
    np.array([0.2, 0.5, 0.8, 0.9]) * growth[-1], growth, _RADII
  )
  row["half_light_radius"] = r50
  row["r80/r20"] = r80 / r20
  row["r90/r50"] = r90 / r50

  near = radius < 40
  row["mean_brightness"] = grey[near].mean()
  weight = np.maximum(grey[near], 0) + 1e-9
  dx = x[near] - np.average(x[near], weights=weight)
  dy = y[near] - np.average(y[near], weights=weight)
  moments = np.cov(np.stack([dx, dy]), aweights=weight)
  small, large = np.linalg.eigvalsh(moments)
  row["axis_ratio"] = np.sqrt(small / large)
  return row


def _clip(pixels: np.ndarray) -> np.ndarray:
  """Drops the pixels more than 3 robust sigma from the median: neighbours."""
  median = np.median(pixels)
  # One count at least: the sky is so dark that half its pixels may be equal.
  sigma = max(1.4826 * np.median(np.abs(pixels - median)), 1.0)
  return pixels[np.abs(pixels - median) <= 3 * sigma]


def _correlation(strip: np.ndarray) -> float:
  """Returns the correlation of horizontal neighbours, neighbours clipped."""
  strip = np.clip(strip - np.median(strip), -8.0, 8.0)
  strip = strip - strip.mean()
  variance = np.mean(strip**2)
  if variance == 0:
    return np.nan
  return float(np.mean(strip[:, 1:] * strip[:, :-1]) / variance)


def _scatter(values: pd.Series) -> float:
  low, high = np.nanpercentile(values, [16, 84])
  return float(high - low) / 2


def _decode(data: bytes) -> np.ndarray:
  with Image.open(io.BytesIO(data)) as image:
    return np.asarray(image.convert("RGB"))


def _plot(real: np.ndarray, drawn: np.ndarray, path: pathlib.Path) -> None:
  """Writes two contact sheets, side by side."""
  figure = matplotlib.figure.Figure(figsize=(9, 9.4), layout="constrained")
  axes = figure.subplots(1, 2)
  for axis, images, title in zip(
    axes, (real, drawn), ("real", "mock"), strict=True
  ):
    # Evenly through the sample, which is sorted by objid: over the whole sky.
    chosen = np.linspace(0, len(images) - 1, _NUM_SHOWN).astype(int)
    _, height, width, _ = images.shape
    sheet = images[chosen].reshape(-1, _COLUMNS_SHOWN, height, width, 3)
    sheet = sheet.swapaxes(1, 2).reshape(-1, _COLUMNS_SHOWN * width, 3)
    axis.imshow(sheet, interpolation="nearest")
    axis.set_title(title)
    axis.set_axis_off()
  figure.savefig(path, dpi=130)
