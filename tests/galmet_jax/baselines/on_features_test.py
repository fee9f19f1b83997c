import numpy as np
import pytest

from galmet_jax import errors
from galmet_jax.baselines import on_features
from tests.galmet_jax.baselines import samples


@pytest.mark.parametrize("number", [1, 2])
def test_few_galaxies_and_equal_images(number):
  images = np.full((number, 32, 32, 3), 7)
  train = samples.split_of(images, np.linspace(8.5, 9.0, number))
  name, (found,) = on_features.predict(train, [train], seed=0)
  assert name == "gp_svr"
  assert np.isfinite(found).all()


def test_each_member_is_mixed_with_its_own_models():
  """Of 2 members with 3 targets, model 3 is that of member 1 and target 0."""

  class Constant:
    def __init__(self, value):
      self.value = value

    def predict(self, features):
      return self.value + 100 * features[:, 0]

  features = np.arange(5.0)[:, None]
  models = [Constant(number) for number in range(6)]
  views = np.random.default_rng(0).normal(size=(2, 4, 5, 3))
  found = on_features.mix(views, features, models, 0.25)
  for m, v, n, t in np.ndindex(views.shape):
    by_features = 3 * m + t + 100 * n
    expected = 0.75 * views[m, v, n, t] + 0.25 * by_features
    assert found[m, v, n, t] == pytest.approx(expected)
  alone = on_features.mix(views[0], features, models[:3], 0.25)
  np.testing.assert_array_equal(alone, found[0])


def test_large_samples_get_boosting(monkeypatch):
  monkeypatch.setattr(on_features, "_MAX_TRAIN", 59)
  train = samples.make_coloured(60, 0)
  test = samples.make_coloured(20, 1)
  name, (found,) = on_features.predict(train, [test], seed=0)
  assert name == "feature_boosting"
  rmse = np.sqrt(np.mean((found - test.targets) ** 2))
  assert rmse < 0.6 * test.targets.std()


def test_weight_is_refused_for_large_samples():
  on_features.check_weight(0.0, 5_001)
  on_features.check_weight(0.7, 5_000)
  with pytest.raises(errors.ConfigError, match=r"is 0\.7; .* found 5,001"):
    on_features.check_weight(0.7, 5_001)
