"""BatchNorm, shortcut and ReLU in one gradient equal the separate ones."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from galmet_jax.devices.cpu import xla
from galmet_jax.models import batch_norm
from tests.galmet_jax.models import small_networks

GPU_MESH = types.SimpleNamespace(
  devices=np.array([types.SimpleNamespace(platform="gpu")])
)


@pytest.mark.parametrize("has_shortcut", [False, True])
@pytest.mark.parametrize("sync", [False, True])
def test_one_gradient_equals_the_derivative(has_shortcut, sync):
  rng = np.random.default_rng(0)

  def draw(*shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)

  x, scale, bias = draw(2, 4, 9, 3) * 2 + 1, draw(3), draw(3)
  shortcut = draw(2, 4, 9, 3) if has_shortcut else None
  weights = draw(2, 4, 9, 3)

  def fused(x, scale, bias, shortcut):
    with xla.tracing_for(GPU_MESH):
      y, *_ = batch_norm.normalise(x, scale, bias, shortcut, sync, True)
    return (y * weights).sum()

  def textbook(x, scale, bias, shortcut):
    axes = (0, 1, 2) if sync else (1, 2)
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    y = (x - mean) / jnp.sqrt(var + 1e-5)
    y = y * scale.reshape(1, 1, 1, -1) + bias.reshape(1, 1, 1, -1)
    y = jax.nn.relu(y if shortcut is None else y + shortcut)
    return (y * weights).sum()

  with xla.tracing_for(GPU_MESH):
    arguments = (x, scale, bias, shortcut)
    found = jax.value_and_grad(fused, (0, 1, 2, 3))(*arguments)
  expected = jax.value_and_grad(textbook, (0, 1, 2, 3))(*arguments)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4),
    found,
    expected,
  )


def gradients(model, variables, x, **keywords):
  def loss(params):
    y, updates = model.apply(
      {**variables, "params": params},
      x,
      train=True,
      mutable=["batch_stats"],
      rngs={"dropout": jax.random.key(0)},
      **keywords,
    )
    return (y**2).sum(), updates

  return jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("frozen", [(), ("stem", "stage1")])
def test_network_of_a_gpu_equals_that_of_a_cpu(block, frozen):
  model = small_networks.tiny(block=small_networks.resnet.BLOCKS[block])
  variables = small_networks.drawn(model)
  x = small_networks.images(4, 32, 32)
  expected = gradients(model, variables, x, frozen=frozen)
  with xla.tracing_for(GPU_MESH):
    found = gradients(model, variables, x, frozen=frozen)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      a, b, rtol=1e-3, atol=1e-3 * np.abs(b).max()
    ),
    found,
    expected,
  )


def test_platform_of_the_mesh_decides():
  x = small_networks.images(2, 32, 32)
  model = small_networks.tiny()
  variables = small_networks.drawn(model)

  def barriers():
    jaxpr = jax.make_jaxpr(lambda x: model.apply(variables, x, train=False))(x)
    return str(jaxpr).count("optimization_barrier")

  on_cpu = barriers()
  assert on_cpu > 0
  with xla.tracing_for(GPU_MESH):
    assert barriers() == 0
  assert barriers() == on_cpu
