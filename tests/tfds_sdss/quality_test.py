"""The data-quality report."""

import collections

import matplotlib
import numpy as np
from PIL import Image
import pytest

from tests.tfds_sdss import fake_staging
from tfds_sdss import columns
from tfds_sdss import quality
from tfds_sdss import sample as sample_lib

OBJID = fake_staging.OBJID


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
  frame = fake_staging.table(40)
  frame["z"] = np.arange(40, dtype=np.float32) / 32
  frame.loc[[3, 4], "lgm_tot_p50"] = np.nan
  frame.loc[5, "sky_group"] = OBJID
  folder = fake_staging.write(
    tmp_path_factory.mktemp("quality") / "staging",
    frame,
    failed=[OBJID + 37, OBJID + 38],
    absent=[OBJID + 39],
  )
  return sample_lib.read(folder.root, "dr17", columns.SKYSERVER, 128, 0.1)


def rows_of(text, title):
  """Returns the rows of the table in a section as lists of cells."""
  section = text.split(f"## {title}\n\n")[1].split("\n\n")[0]
  return [line.strip("| ").split(" | ") for line in section.splitlines()]


def test_report_counts_lost_galaxies(sample):
  text = quality.report(sample)
  assert "| requested | 40 |" in text
  assert "| without an image | 3 |" in text
  assert "| in the set | 37 |" in text
  lost = rows_of(text, "Without an image")[2:]
  assert lost == [["http_404", "2"], ["not_fetched", "1"]]
  cleaning = rows_of(text, "Cleaning of the catalogue")[2:]
  assert cleaning == [["rows", "42"], ["dropped: same_galaxy", "2"]]
  assert "1 positions hold more than one galaxy" in text
  assert "2 galaxies in all" in text


def test_report_counts_splits_and_folds(sample):
  text = quality.report(sample)
  header, _, *rows = rows_of(text, "Splits and folds")
  assert [row[0] for row in rows] == ["train", "validation", "test"]
  assert sum(int(row[1]) for row in rows) == 37
  for row in rows:
    assert int(row[1]) == sum(map(int, row[2:]))
    for fold, number in zip(header[2:], row[2:], strict=True):
      found = sample.frame.query(f"split == '{row[0]}' and fold == {fold}")
      assert len(found) == int(number)


def test_statistics_against_numpy(sample):
  table = quality.statistics(sample.frame)
  assert "ra" not in table.index
  assert "fold" not in table.index
  values = sample.frame["z"].to_numpy()
  assert sorted(32 * values) == list(range(37))
  names = "count missing mean std min 25% 50% 75% max"
  assert list(table) == names.split()
  quartiles = np.array([0, 9, 18, 27, 36]) / 32
  expected = [37, 0, 18 / 32, np.std(values, ddof=1), *quartiles]
  np.testing.assert_allclose(table.loc["z"].to_numpy(float), expected)
  assert table.loc["lgm_tot_p50", ["count", "missing"]].tolist() == [35, 2]


def test_report_counts_black_pixels(sample):
  text = quality.report(sample)
  black = sample.frame["black_fraction"].to_numpy(np.float64)
  assert f"{(black > 0.1).sum()} images have more than 10%" in text
  assert f"| 100 % | {black.max():.5g} |" in text


def test_write_creates_the_report_and_the_figure(sample, tmp_path, caplog):
  with caplog.at_level("INFO"):
    quality.write(tmp_path, sample)
  assert "dr17: 40 galaxies requested, 3 without an image" in caplog.text
  assert (tmp_path / "quality.md").read_text() == quality.report(sample)
  with Image.open(tmp_path / "quality.png") as image:
    assert image.size == (1440, 1152)
    # Each of the seven panels contains a histogram.
    pixels = np.asarray(image.convert("L"))
  for panel in range(7):
    row, column = divmod(panel, 3)
    part = pixels[
      384 * row : 384 * (row + 1), 480 * column : 480 * (column + 1)
    ]
    assert (part < 200).sum() > 500


def test_report_without_optional_columns_or_losses(sample, tmp_path):
  frame = sample.frame[["objid", "oh_p50", *columns.DERIVED]].assign(
    black_fraction=np.float32(np.nan), z=np.float32(np.nan)
  )
  part = sample_lib.Sample(
    "zenodo", frame, len(frame), collections.Counter(), {}
  )
  text = quality.report(part)
  assert "## Without an image\n\nNone." in text
  assert "Nothing is recorded." in text
  assert "BPT" not in text
  assert "nan" not in text
  assert "Warning" not in text
  quality.plot(tmp_path / "figure.png", part)
  with Image.open(tmp_path / "figure.png") as image:
    assert image.size == (1440, 384)


@pytest.mark.parametrize("marker", [-99, -999, -9999, 0, 99, 1e39, np.inf])
def test_report_warns_of_values_out_of_range(tmp_path, marker, caplog):
  frame = fake_staging.table(20)
  masses = frame["lgm_tot_p50"].astype(np.float64)
  frame["lgm_tot_p50"] = masses.where(frame.index % 5 > 0, marker)
  frame.loc[:1, "specobjid"] = -1
  frame.loc[2, "bptclass"] = 77
  frame.loc[3, "ra"] = 400
  folder = fake_staging.write(tmp_path / "staging", frame)
  names = columns.SKYSERVER
  sample = sample_lib.read(folder.root, "dr17", names, 128, 0.1)
  assert sample.out_of_range == {
    "specobjid": 2,
    "ra": 1,
    "bptclass": 1,
    "lgm_tot_p50": 4,
  }
  found = sample.frame.set_index("objid").loc[frame["objid"]].reset_index()
  assert found["lgm_tot_p50"].dtype == np.float32
  assert np.flatnonzero(found["lgm_tot_p50"].isna()).tolist() == [0, 5, 10, 15]
  assert found["specobjid"].tolist()[:3] == [0, 0, frame["specobjid"][2]]
  assert found["bptclass"][2] == -1
  assert np.isnan(found["ra"][3])
  assert "4 lgm_tot_p50" in caplog.text
  text = quality.report(sample)
  assert "**Warning:**" in text
  assert "| lgm_tot_p50 | 4 |" in text


def test_figure_does_not_depend_on_the_users_settings(sample, tmp_path):
  quality.write(tmp_path, sample)
  expected = (tmp_path / quality.FIGURE).read_bytes()
  with matplotlib.rc_context({"text.usetex": True, "axes.facecolor": "black"}):
    quality.write(tmp_path, sample)
  assert (tmp_path / quality.FIGURE).read_bytes() == expected


def test_report_is_written_without_its_figure(sample, tmp_path, monkeypatch):
  monkeypatch.setattr(quality, "plot", None)
  quality.write(tmp_path, sample)
  assert (tmp_path / quality.REPORT).read_text() == quality.report(sample)
