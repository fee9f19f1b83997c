"""What an image model has to beat, on the same galaxies."""

import numpy as np
from sklearn import ensemble

from galmet_jax import input_pipeline

# Radii of the rings in units of the half image; R90 lies at 0.4.
_RINGS = (0.0, 0.06, 0.12, 0.19, 0.28, 0.4, 0.6, 1.0)
_MAGNITUDES = ("modelMag_g", "modelMag_r", "modelMag_i")


def predict_mean(
  train: input_pipeline.Split, split: input_pipeline.Split
) -> np.ndarray:
  """Predicts the training mean, the floor of any model: `[N, T]`."""
  return np.broadcast_to(train.targets.mean(0), split.targets.shape)


def predict_random_forest(
  train: input_pipeline.Split, split: input_pipeline.Split, seed: int
) -> np.ndarray:
  """Predicts by a random forest (Acquaviva 2016): 40 trees, leaves of 8.

  On g, r, i magnitudes where the catalogue has them, as in the paper, and on
  ring colours of the image where it has not (there leaves of 2: these sets are
  small).

  Args:
    train: galaxies to learn from.
    split: N galaxies to predict.
    seed: of the forest.

  Returns:
    float `[N, T]`.
  """
  photometry = all(name in train.columns for name in _MAGNITUDES)
  features = _photometry if photometry else ring_colours
  forest = ensemble.RandomForestRegressor(
    n_estimators=40 if photometry else 400,
    min_samples_leaf=8 if photometry else 2,
    max_features=1.0 if photometry else 1 / 3,
    random_state=seed,
    n_jobs=-1,
  )
  targets = train.targets
  forest.fit(
    features(train), targets[:, 0] if targets.shape[1] == 1 else targets
  )
  # Threads would add up the trees in the order in which they end.
  forest.n_jobs = 1
  return forest.predict(features(split)).reshape(split.targets.shape)


def _photometry(split: input_pipeline.Split) -> np.ndarray:
  """Magnitudes and colours, `[N, 5]`."""
  g, r, i = (split.columns[name] for name in _MAGNITUDES)
  return np.stack([g, r, i, g - r, r - i], axis=1)


def ring_colours(split: input_pipeline.Split) -> np.ndarray:
  """Brightness and colour in rings about the centre, `[N, 3 × rings]`.

  The mean of R + G + B in each ring, and R − G and G − B relative to it.
  """
  images = split.images
  size = images.shape[1]
  offset = (np.arange(size) - (size - 1) / 2) / (size / 2)
  radius = np.hypot(offset[:, None], offset[None, :]).ravel()
  ring = np.digitize(radius, _RINGS) - 1
  num_rings = len(_RINGS) - 1
  weights = np.zeros((size * size, num_rings), np.float32)
  inside = ring < num_rings
  weights[inside, ring[inside]] = 1
  weights /= weights.sum(0)
  rings = np.stack(
    [weights.T @ image.reshape(-1, 3).astype(np.float32) for image in images]
  )
  red, green, blue = rings[..., 0], rings[..., 1], rings[..., 2]
  total = red + green + blue + 1
  return np.concatenate(
    [total, (red - green) / total, (green - blue) / total], axis=1
  )
