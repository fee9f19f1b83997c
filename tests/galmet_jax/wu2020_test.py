"""The recipe of Wu (2020): xresnet and Ranger, together."""

import jax
import jax.numpy as jnp
import numpy as np

from configs import resnet34
from galmet_jax import optimizers
from galmet_jax import train_state
from galmet_jax import train_step
from galmet_jax.data import augment
from galmet_jax.data import placement
from galmet_jax.devices import sharding
from galmet_jax.models import network
from tests.galmet_jax.models import small_networks


def test_wu2020_recipe_trains():
  config = resnet34.get_config("wu2020")
  config.model.stage_sizes, config.model.width = (1, 1, 1, 1), 8
  config.model.dtype = "float32"
  config.data.crop, config.data.resolution = 112, 14
  config.train.batch_size = 8
  mesh = sharding.make_mesh(jax.devices()[:1])
  split = small_networks.split(np.random.default_rng(0), 8, 128)
  data = placement.OnDevice(split, mesh, seed=0, batch_size=8)
  (phase,) = optimizers.make_phases(config.optim, 10)
  model = network.from_config(config.model, 1)
  state = train_state.create(model, config, 14, jnp.zeros(1))
  state = train_state.start_phase(state, phase)
  before = jax.device_get(state.params)
  step = train_step.compile_train_step(
    state,
    data,
    mesh,
    model=model,
    phase=phase,
    frame=augment.make_frame(config.data),
    config=config,
  )
  differ = []
  for _ in range(7):
    # The state is donated, so no buffer may appear in it twice.
    state, values = step(state, data.batch(0))
    assert np.isfinite(values["loss"])
    slow = jax.tree.leaves(state.opt_state.slow)
    pairs = zip(slow, jax.tree.leaves(state.params), strict=True)
    differ.append(max(float(jnp.abs(x - y).max()) for x, y in pairs) > 1e-5)
  # The sixth step returns to the slow weights.
  assert differ == [True] * 5 + [False, True]
  after = jax.device_get(state.params)
  pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
  assert not any(np.array_equal(*pair) for pair in pairs)
