import io
import itertools

import numpy as np
from PIL import Image
import pytest
from scipy import stats
from sklearn import ensemble

from tfds_sdss.mock import population
from tfds_sdss.mock import render

NUM_ROWS = 8_000


@pytest.fixture(scope="module")
def rows():
  return population.draw(0, np.arange(NUM_ROWS))


@pytest.fixture(scope="module")
def examples():
  return list(render.generate(160, seed=3, processes=1))


def pixels(example):
  with Image.open(io.BytesIO(example["image"])) as image:
    assert (image.format, image.mode) == ("JPEG", "RGB")
    return np.asarray(image).astype(float)


def test_example_depends_only_on_seed_and_index(examples):
  # Both workers have rendered a chunk when the consumer stops.
  parallel = render.generate(10_000, seed=3, processes=2)
  assert list(itertools.islice(parallel, 40)) == examples[:40]
  parallel.close()
  assert next(render.generate(1, seed=3)) == examples[0]
  other = next(render.generate(1, seed=4))
  assert other["image"] != examples[0]["image"]
  assert other["oh_p50"] != examples[0]["oh_p50"]


def test_generate_accepts_zero_examples():
  assert list(render.generate(0)) == []


def test_examples_match_the_features(examples):
  for example in examples:
    assert set(example) == {"image", "objid", "oh_p50", *render.FEATURES}
    for name in render.FEATURES:
      assert isinstance(example[name], np.float32)
      assert np.isfinite(example[name])
    assert pixels(example).shape == (128, 128, 3)


def test_objids_are_unique_and_above_those_of_sdss():
  ids = [
    objid
    for seed in (0, 1)
    for objid in population.draw(seed, np.arange(50))["objid"].tolist()
  ]
  assert len(set(ids)) == 100
  assert min(ids) >= 9 * 10**18
  last = population.draw(200_000_000, np.array([10**9 - 1]))["objid"]
  assert last.dtype == np.int64
  assert last[0] > 0
  with pytest.raises(ValueError, match="found 200000001"):
    population.draw(200_000_001, np.array([0]))


@pytest.mark.parametrize(
  ("name", "quartiles", "tolerance"),
  [
    ("lgm_tot_p50", (9.643, 10.056, 10.417), 0.04),
    ("sfr_tot_p50", (-0.19, 0.17, 0.53), 0.06),
    ("z", (0.047, 0.071, 0.098), 0.006),
    ("oh_p50", (8.8088, 8.9556, 9.0537), 0.03),
  ],
)
def test_quartiles_match_the_paper(rows, name, quartiles, tolerance):
  found = np.percentile(rows[name], [25, 50, 75])
  np.testing.assert_allclose(found, quartiles, atol=tolerance)


def test_moments_of_the_label_match_the_paper(rows):
  assert rows["oh_p50"].mean() == pytest.approx(8.9065, abs=0.02)
  assert rows["oh_p50"].std() == pytest.approx(0.1986, abs=0.01)


def test_mass_metallicity_relation_matches_the_table(rows):
  mass = rows["lgm_tot_p50"]
  checked = 0
  for centre, _, median, low, high in population.MASS_METALLICITY:
    oh = rows["oh_p50"][np.abs(mass - centre) < 0.075]
    if len(oh) < 300:
      continue
    checked += 1
    # Four standard errors of a median.
    error = 4 * 1.25 * (high - low) / 2 / np.sqrt(len(oh))
    assert np.median(oh) == pytest.approx(median, abs=error)
    spread = np.diff(np.percentile(oh, [16, 84]))[0]
    assert spread == pytest.approx(high - low, rel=0.2)
  assert checked >= 8


def test_label_noise_has_the_documented_width(rows):
  error = rows["oh_p50"] - rows["oh_true"]
  assert error.std() == pytest.approx(population.LABEL_NOISE, rel=0.05)
  assert abs(error.mean()) < 0.002


def test_star_formation_lowers_the_metallicity_at_fixed_mass(rows):
  mass, sfr, oh = (rows[k] for k in ("lgm_tot_p50", "sfr_tot_p50", "oh_true"))
  narrow = np.abs(mass - 10.2) < 0.05
  assert stats.spearmanr(sfr[narrow], oh[narrow]).statistic < -0.2


def forest_ratio(features, label, **parameters):
  train = len(label) * 3 // 4
  forest = ensemble.RandomForestRegressor(random_state=0, **parameters)
  forest.fit(features[:train], label[:train])
  error = forest.predict(features[train:]) - label[train:]
  return np.sqrt(np.mean(error**2)) / label[train:].std()


def test_shapes_add_information_to_magnitudes(rows):
  magnitudes = np.stack([rows[f"modelMag_{band}"] for band in "gri"], axis=1)
  label = rows["oh_p50"]
  # On real galaxies, Acquaviva's forest reaches 0.1296 / 0.1986 = 0.65 from
  # magnitudes, and the paper's network 0.43 from images.
  gri = forest_ratio(magnitudes, label, n_estimators=40, min_samples_leaf=8)
  assert 0.60 < gri < 0.72
  visible = np.column_stack(
    [
      -np.diff(magnitudes, axis=1),
      rows["modelMag_r"] + 5 * np.log10(rows["petroR90_r"]),
      rows["bulge_fraction"],
      rows["inclination"],
      rows["knot_fraction"],
    ]
  )
  best = forest_ratio(visible, label, n_estimators=40, min_samples_leaf=4)
  assert 0.38 < best < 0.47


def test_metal_rich_galaxies_look_redder(examples):
  y, x = np.indices((128, 128)) - 63.5
  centre = np.hypot(x, y) < 20
  colours = np.array([pixels(e)[centre].mean(axis=0) for e in examples])
  label = [e["oh_p50"] for e in examples]
  reddening = colours[:, 0] - colours[:, 2]
  assert stats.spearmanr(reddening, label).statistic > 0.5


def test_images_follow_the_catalogue_magnitudes(rows):
  # One galaxy and a copy one magnitude fainter, with the same random numbers.
  row = {name: column[7] for name, column in rows.items()}
  faint = row | {"magnitudes": row["magnitudes"] + 1.0}
  images = [
    np.asarray(render.render(r, np.random.default_rng(0))).astype(float)
    for r in (row, faint)
  ]
  y, x = np.indices((128, 128)) - 63.5
  bright, dim = (p[np.hypot(x, y) < 20].mean() for p in images)
  # A factor of 2.5 in light, and less after the asinh stretch.
  assert 1.2 < bright / dim < 2.6


def test_galaxies_are_centred(examples):
  stack = np.median([pixels(e).mean(axis=-1) for e in examples], axis=0)
  stack = np.clip(stack - 10, 0, None)
  y, x = np.indices(stack.shape)
  found = [np.sum(axis * stack) / np.sum(stack) for axis in (x, y)]
  np.testing.assert_allclose(found, 63.5, atol=0.7)
