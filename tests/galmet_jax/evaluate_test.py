"""Predictions do not depend on batch size, order or placement."""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import resnet34
from galmet_jax import evaluate
from galmet_jax.data import augment
from galmet_jax.data import galaxies
from galmet_jax.data import placement
from galmet_jax.devices import sharding
from tests.galmet_jax.models import small_networks
from tfds_sdss import signals

SIZE, CROP, N = 40, 32, 7
MESH = sharding.make_mesh(jax.devices()[:1])


def make_config(batch_size):
  config = resnet34.get_config()
  config.eval.batch_size = batch_size
  return config


@pytest.fixture(scope="module")
def split():
  rng = np.random.default_rng(0)
  return galaxies.Split(
    objid=1237648704043942146 + np.arange(N) * 1000,
    images=rng.integers(0, 256, (N, SIZE, SIZE, 3), np.uint8),
    targets=np.zeros((N, 2), np.float32),
    columns={},
  )


@pytest.fixture(scope="module")
def network():
  """A tiny network of two targets: (model, variables)."""
  model = small_networks.tiny(stage_sizes=(1,), num_targets=2)
  return model, small_networks.drawn(model)


@pytest.fixture(scope="module")
def predict(network):
  model, variables = network
  eval_step = evaluate.make_eval_step(model, augment.Frame(CROP, CROP), MESH)

  def run(split, batch_size, tta="random", place=placement.OnDevice):
    config = make_config(batch_size)
    data = split
    if isinstance(split, galaxies.Split):
      data = place(split, MESH, config.seed, config.train.batch_size)
    return evaluate.predict(eval_step, variables, data, config, tta)

  return run


@pytest.fixture(scope="module")
def expected(predict, split):
  """Predictions for all galaxies in one batch, with one row of padding."""
  return predict(split, 8)


def test_plain_view_equals_a_forward_pass(network, split, expected):
  model, variables = network
  edge = (SIZE - CROP) // 2
  kept = split.images[:, edge:-edge, edge:-edge] / 255
  pixels = (kept - augment.IMAGENET_MEAN) / augment.IMAGENET_STD
  found = jax.jit(model.apply, static_argnames="train")(
    variables, jnp.asarray(pixels, jnp.float32), train=False
  )
  assert np.std(found, axis=0).min() > 1e-3
  np.testing.assert_allclose(expected[0], found, atol=1e-5)


def test_random_views_differ_from_the_plain_one(expected):
  assert expected.shape == (5, N, 2)
  assert expected.dtype == np.float32
  for one in range(5):
    for other in range(one):
      assert (expected[one] != expected[other]).all()


def test_predictions_do_not_depend_on_batch_size_and_padding(
  predict, split, expected
):
  found = predict(split, 4)
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
  three, eight = (predict(split, size, "dihedral") for size in (3, 8))
  np.testing.assert_allclose(three, eight, rtol=0, atol=1e-5)


def test_second_evaluation_does_not_compile(predict, split, compilations):
  data = placement.OnDevice(split, MESH, seed=0, batch_size=4)
  predict(data, 4)
  compilations.clear()
  predict(data, 4)
  assert compilations == []


def test_predictions_do_not_depend_on_other_galaxies(predict, split, expected):
  chosen = np.random.default_rng(2).permutation(N)[:5]
  part = galaxies.Split(
    split.objid[chosen], split.images[chosen], split.targets[chosen], {}
  )
  found = predict(part, 4)
  np.testing.assert_allclose(found, expected[:, chosen], rtol=0, atol=1e-5)


def test_placements_give_the_same_predictions(predict, split, expected):
  found = predict(split, 8, place=placement.OnHost)
  np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("place", [placement.OnDevice, placement.OnHost])
@pytest.mark.parametrize(("tta", "number"), [("none", 1), ("dihedral", 8)])
def test_each_galaxy_is_counted_once_in_each_view(
  split, tta, number, place, capsys, monkeypatch
):
  monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
  seen = []

  def eval_step(variables, images, views):
    assert images.shape == (4, SIZE, SIZE)
    assert views.zoom.shape == (4,)
    seen.extend(images[:, 0, 0].tolist())
    return images[:, :2, 0].astype(np.float32) + variables

  marked = np.zeros_like(split.images)
  marked[:, 0, 0, 0] = np.arange(N)
  marked[:, 1, 0, 0] = 100 + np.arange(N)
  found = evaluate.predict(
    eval_step,
    0.5,
    place(dataclasses.replace(split, images=marked), MESH, 0, 4),
    make_config(4),
    tta,
    progress="evaluate test",
  )
  once = np.stack([np.arange(N), 100 + np.arange(N)], 1) + 0.5
  np.testing.assert_array_equal(found, np.tile(once, (number, 1, 1)))
  # Seven galaxies in two batches of four, the last one padded.
  assert seen == [0, 1, 2, 3] * number + [4, 5, 6, 4] * number
  assert f"{number * N}/{number * N}" in capsys.readouterr().err


def test_no_batch_is_begun_after_a_signal(predict, split, monkeypatch):
  monkeypatch.setattr(signals, "_received", 15)
  with pytest.raises(signals.Stopped):
    predict(split, 8)
