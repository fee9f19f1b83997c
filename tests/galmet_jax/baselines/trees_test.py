"""Baselines on galaxies whose colours or magnitudes determine the label."""

import dataclasses

import numpy as np
import pytest
from sklearn import ensemble

from galmet_jax.baselines import baselines
from galmet_jax.baselines import trees
from tests.galmet_jax.baselines import samples


def colours(split):
  g, r, i = (split.columns[f"modelMag_{band}"] for band in "gri")
  return np.stack([g, r, i, g - r, r - i], axis=1)


def rmse(predicted, split):
  return np.sqrt(np.mean((predicted - split.targets) ** 2, axis=0))


def test_ring_colours_of_a_disc():
  images = [
    samples.paint((90, 60, 30), (10, 40, 80)),
    samples.paint((9, 9, 9), (0, 0, 0)),
  ]
  found = trees.ring_colours(samples.split_of(images, [0, 0]))
  rings = found.shape[1] // 3
  first, second = found.reshape(2, 3, rings)
  inside = np.arange(rings) < samples.RINGS_IN_DISC
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
  images = np.random.default_rng(0).integers(
    0, 256, (1, samples.SIZE, samples.SIZE, 3)
  )
  before = trees.ring_colours(samples.split_of(images, [0]))
  images[:, samples.radius() >= 1] = 255
  np.testing.assert_array_equal(
    trees.ring_colours(samples.split_of(images, [0])), before
  )
  images[0, 1, samples.SIZE // 2] += 1
  after = trees.ring_colours(samples.split_of(images, [0]))
  # Brightness and both colours of the outermost ring.
  assert np.sum(after != before) == 3


TREES = [trees.predict_random_forest, trees.predict_gradient_boosting]


@pytest.mark.parametrize("predict", TREES)
@pytest.mark.parametrize(
  "sample", [samples.make_coloured, samples.make_measured]
)
def test_trees_beat_the_mean(predict, sample):
  train, test = sample(200, 0), sample(60, 1)
  found = predict(train, test, seed=0)
  assert found.shape == (60, 1)
  floor = rmse(baselines.predict_mean(train, test), test)
  assert rmse(found, test) < 0.5 * floor


def test_forest_uses_ring_colours_without_magnitudes():
  train, test = samples.make_coloured(60, 0), samples.make_coloured(20, 1)
  expected = trees.predict_random_forest(train, test, seed=0)
  for split in (train, test):
    split.columns["modelMag_g"] = split.targets[:, 0]
    split.columns["modelMag_r"] = np.zeros(len(split), np.float32)
  found = trees.predict_random_forest(train, test, seed=0)
  np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
  "sample", [samples.make_coloured, samples.make_measured]
)
def test_forest_has_the_documented_settings_and_features(sample):
  train, test = sample(60, 0), sample(20, 1)
  features = trees.ring_colours
  settings = {"n_estimators": 400, "min_samples_leaf": 2, "max_features": 1 / 3}
  if sample is samples.make_measured:
    features = colours
    settings = {"n_estimators": 40, "min_samples_leaf": 8}
  forest = ensemble.RandomForestRegressor(**settings, random_state=3, n_jobs=1)
  forest.fit(features(train), train.targets[:, 0])
  np.testing.assert_array_equal(
    trees.predict_random_forest(train, test, seed=3)[:, 0],
    forest.predict(features(test)),
  )


@pytest.mark.parametrize("predict", TREES)
def test_each_target_is_fitted_alone_on_its_known_labels(predict):
  train, test = (
    samples.make_measured(120, 0, targets=2),
    samples.make_measured(30, 1, targets=2),
  )
  train.targets[::3, 1] = np.nan
  test.targets[0, 1] = np.nan
  found = predict(train, test, seed=0)
  assert found.shape == (30, 2)
  known = np.arange(120) % 3 != 0
  for column, part in ((0, train), (1, samples.take(train, known))):
    alone = dataclasses.replace(part, targets=part.targets[:, [column]])
    expected = predict(
      alone, dataclasses.replace(test, targets=test.targets[:, [column]]), 0
    )
    np.testing.assert_array_equal(found[:, [column]], expected)


def test_boosting_does_not_depend_on_seed_or_order():
  train, test = samples.make_measured(200, 0), samples.make_measured(30, 1)
  found = trees.predict_gradient_boosting(train, test, seed=0)
  np.testing.assert_array_equal(
    trees.predict_gradient_boosting(train, test, seed=1), found
  )
  order = np.random.default_rng(0).permutation(200)
  np.testing.assert_allclose(
    trees.predict_gradient_boosting(samples.take(train, order), test, 0),
    found,
    rtol=1e-6,
  )


def test_boosting_has_a_hundred_trees():
  step = np.float32(np.arange(100) < 50)
  magnitudes = dict.fromkeys((f"modelMag_{band}" for band in "gri"), step)
  split = samples.split_of(np.zeros((100, 1, 1, 3)), step, magnitudes)
  found = trees.predict_gradient_boosting(split, split, seed=0)
  # Starting at the mean, each of 100 trees removes 5 % of the residual.
  np.testing.assert_allclose(
    np.unique(found.round(6)), [0.5 * 0.95**100, 1 - 0.5 * 0.95**100], atol=2e-6
  )


@pytest.mark.parametrize("size", [1, 5])
def test_baselines_accept_small_images(size):
  image = np.full((30, size, size, 3), 7, np.uint8)
  split = samples.split_of(image, np.arange(30))
  found = trees.ring_colours(split)
  np.testing.assert_allclose(found[:, : found.shape[1] // 3], 22, rtol=1e-5)
  for predict in TREES:
    np.testing.assert_allclose(predict(split, split, 0).std(), 0, atol=1e-9)


@pytest.mark.parametrize("size", [96, 128])
def test_large_images_have_seven_rings(size):
  image = np.full((1, size, size, 3), 7, np.uint8)
  found = trees.ring_colours(samples.split_of(image, [0]))
  np.testing.assert_array_equal(found[0], [22] * 7 + [0] * 14)
