"""Baselines on galaxies whose colours or magnitudes determine the label."""

import dataclasses

import numpy as np
import pytest
from sklearn import ensemble

from galmet_jax import baselines
from galmet_jax.data import galaxies

SIZE = 32
# Radius in units of half the image size, at the edge of a ring.
DISC = 0.4
RINGS_IN_DISC = 5


def radius():
  offset = (np.arange(SIZE) + 0.5) / (SIZE / 2) - 1
  return np.sqrt(offset[:, None] ** 2 + offset[None] ** 2)


def paint(disc, outskirts):
  """Paints a disc of one colour on a background of another."""
  inside = (radius() < DISC)[..., None]
  return np.where(inside, np.uint8(disc), np.uint8(outskirts))


def split_of(images, targets, columns=None):
  images = np.asarray(images, np.uint8)
  targets = np.asarray(targets, np.float32).reshape(len(images), -1)
  return galaxies.Split(np.arange(len(images)), images, targets, columns or {})


def make_coloured(n, seed):
  """Makes galaxies whose disc is redder for a higher label."""
  rng = np.random.default_rng(seed)
  label = rng.normal(8.9, 0.2, n)
  red = np.clip(120 + 200 * (label - 8.9) + rng.normal(0, 5, n), 0, 255)
  images = [paint((r, 100, 80), (20, 20, 20)) for r in red]
  return split_of(images, label)


def make_measured(n, seed, targets=1):
  """Makes galaxies whose g − r gives the label; images are noise."""
  rng = np.random.default_rng(seed)
  label = rng.normal(8.9, 0.2, n)
  r = rng.uniform(15, 17.7, n)
  columns = {
    "modelMag_g": r + 0.5 + label - 8.9 + rng.normal(0, 0.02, n),
    "modelMag_r": r,
    "modelMag_i": r - 0.3,
    "z": rng.uniform(0.02, 0.2, n),
  }
  columns = {name: np.float32(values) for name, values in columns.items()}
  images = rng.integers(0, 256, (n, SIZE, SIZE, 3))
  stacked = np.stack([label * (i + 1) for i in range(targets)], axis=1)
  return split_of(images, stacked, columns)


def colours(split):
  g, r, i = (split.columns[f"modelMag_{band}"] for band in "gri")
  return np.stack([g, r, i, g - r, r - i], axis=1)


def take(split, index):
  columns = {name: values[index] for name, values in split.columns.items()}
  return galaxies.Split(
    split.objid[index], split.images[index], split.targets[index], columns
  )


def rmse(predicted, split):
  return np.sqrt(np.mean((predicted - split.targets) ** 2, axis=0))


def test_mean_ignores_missing_labels():
  train = split_of(np.zeros((3, 4, 4, 3)), [[8, np.nan], [9, 10], [9.4, 12]])
  split = split_of(np.zeros((2, 4, 4, 3)), [[1, 1], [1, 1]])
  found = baselines.predict_mean(train, split)
  np.testing.assert_allclose(found, [[8.8, 11]] * 2, rtol=1e-6)


def test_ring_colours_of_a_disc():
  images = [paint((90, 60, 30), (10, 40, 80)), paint((9, 9, 9), (0, 0, 0))]
  found = baselines.ring_colours(split_of(images, [0, 0]))
  rings = found.shape[1] // 3
  first, second = found.reshape(2, 3, rings)
  inside = np.arange(rings) < RINGS_IN_DISC
  # Brightness (plus one, to avoid a division by zero), R - G and G - B.
  np.testing.assert_allclose(first[0], np.where(inside, 181, 131), rtol=1e-5)
  np.testing.assert_allclose(
    first[1], np.where(inside, 30 / 181, -30 / 131), rtol=1e-4
  )
  np.testing.assert_allclose(
    first[2], np.where(inside, 30 / 181, -40 / 131), rtol=1e-4
  )
  np.testing.assert_allclose(second[0], np.where(inside, 28, 1), rtol=1e-5)
  np.testing.assert_allclose(second[1:], 0, atol=1e-7)


def test_ring_colours_ignore_only_the_corners():
  images = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3))
  before = baselines.ring_colours(split_of(images, [0]))
  images[:, radius() >= 1] = 255
  np.testing.assert_array_equal(
    baselines.ring_colours(split_of(images, [0])), before
  )
  images[0, 1, SIZE // 2] += 1
  after = baselines.ring_colours(split_of(images, [0]))
  # Brightness and both colours of the outermost ring.
  assert np.sum(after != before) == 3


TREES = [baselines.predict_random_forest, baselines.predict_gradient_boosting]


@pytest.mark.parametrize("predict", TREES)
@pytest.mark.parametrize("sample", [make_coloured, make_measured])
def test_trees_beat_the_mean(predict, sample):
  train, test = sample(200, 0), sample(60, 1)
  found = predict(train, test, seed=0)
  assert found.shape == (60, 1)
  floor = rmse(baselines.predict_mean(train, test), test)
  assert rmse(found, test) < 0.5 * floor


def test_forest_uses_ring_colours_without_magnitudes():
  train, test = make_coloured(60, 0), make_coloured(20, 1)
  expected = baselines.predict_random_forest(train, test, seed=0)
  for split in (train, test):
    split.columns["modelMag_g"] = split.targets[:, 0]
    split.columns["modelMag_r"] = np.zeros(len(split), np.float32)
  found = baselines.predict_random_forest(train, test, seed=0)
  np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("sample", [make_coloured, make_measured])
def test_forest_has_the_documented_settings_and_features(sample):
  train, test = sample(60, 0), sample(20, 1)
  features = baselines.ring_colours
  settings = {"n_estimators": 400, "min_samples_leaf": 2, "max_features": 1 / 3}
  if sample is make_measured:
    features = colours
    settings = {"n_estimators": 40, "min_samples_leaf": 8}
  forest = ensemble.RandomForestRegressor(**settings, random_state=3, n_jobs=1)
  forest.fit(features(train), train.targets[:, 0])
  np.testing.assert_array_equal(
    baselines.predict_random_forest(train, test, seed=3)[:, 0],
    forest.predict(features(test)),
  )


@pytest.mark.parametrize("predict", TREES)
def test_each_target_is_fitted_alone_on_its_known_labels(predict):
  train, test = (
    make_measured(120, 0, targets=2),
    make_measured(30, 1, targets=2),
  )
  train.targets[::3, 1] = np.nan
  test.targets[0, 1] = np.nan
  found = predict(train, test, seed=0)
  assert found.shape == (30, 2)
  known = np.arange(120) % 3 != 0
  for column, part in ((0, train), (1, take(train, known))):
    alone = dataclasses.replace(part, targets=part.targets[:, [column]])
    expected = predict(
      alone, dataclasses.replace(test, targets=test.targets[:, [column]]), 0
    )
    np.testing.assert_array_equal(found[:, [column]], expected)


def test_boosting_does_not_depend_on_seed_or_order():
  train, test = make_measured(200, 0), make_measured(30, 1)
  found = baselines.predict_gradient_boosting(train, test, seed=0)
  np.testing.assert_array_equal(
    baselines.predict_gradient_boosting(train, test, seed=1), found
  )
  order = np.random.default_rng(0).permutation(200)
  np.testing.assert_allclose(
    baselines.predict_gradient_boosting(take(train, order), test, 0),
    found,
    rtol=1e-6,
  )


def test_boosting_has_a_hundred_trees():
  step = np.float32(np.arange(100) < 50)
  magnitudes = dict.fromkeys((f"modelMag_{band}" for band in "gri"), step)
  split = split_of(np.zeros((100, 1, 1, 3)), step, magnitudes)
  found = baselines.predict_gradient_boosting(split, split, seed=0)
  # Starting at the mean, each of 100 trees removes 5 % of the residual.
  np.testing.assert_allclose(
    np.unique(found.round(6)), [0.5 * 0.95**100, 1 - 0.5 * 0.95**100], atol=2e-6
  )


@pytest.mark.parametrize("size", [1, 5])
def test_baselines_accept_small_images(size):
  image = np.full((30, size, size, 3), 7, np.uint8)
  split = split_of(image, np.arange(30))
  found = baselines.ring_colours(split)
  np.testing.assert_allclose(found[:, : found.shape[1] // 3], 22, rtol=1e-5)
  for predict in TREES:
    np.testing.assert_allclose(predict(split, split, 0).std(), 0, atol=1e-9)


@pytest.mark.parametrize("size", [96, 128])
def test_large_images_have_seven_rings(size):
  image = np.full((1, size, size, 3), 7, np.uint8)
  found = baselines.ring_colours(split_of(image, [0]))
  np.testing.assert_array_equal(found[0], [22] * 7 + [0] * 14)


def test_predict_all_returns_the_order_of_tables():
  train, test = make_measured(60, 0, targets=2), make_measured(20, 1, targets=2)
  targets = ("oh_p50", "sfr_tot_p50")
  expected = {
    "training_mean": baselines.predict_mean(train, test),
    "random_forest": baselines.predict_random_forest(train, test, 2),
    "gradient_boosting": baselines.predict_gradient_boosting(train, test, 2),
  }
  without_mass = list(expected)
  assert list(baselines.predict_all(train, test, targets, 2)) == without_mass
  for split in (train, test):
    split.columns["lgm_tot_p50"] = split.columns["modelMag_r"]
  expected["mass_metallicity"] = baselines.predict_mass_metallicity(
    train, test, targets
  )
  found = baselines.predict_all(train, test, targets, seed=2)
  assert list(found) == list(expected)
  for name, values in expected.items():
    np.testing.assert_array_equal(found[name], values)
  found = baselines.predict_all(train, test, ("z", "d4000"), seed=2)
  assert list(found) == without_mass
  train.columns["lgm_tot_p50"] = np.full(60, np.nan, np.float32)
  found = baselines.predict_all(train, test, targets, seed=2)
  assert list(found) == without_mass
