"""Operations and bytes of a training step, ceilings, and XLA's program."""

import jax
import jax.numpy as jnp

from benchmarks import hlo
from benchmarks import roofline
from configs import resnet34
from galmet_jax.models import network


def test_operations_of_resnet34():
  model = resnet34.get_config().model
  # 1.196 and 3.663 billion multiply-adds are what others count.
  assert abs(roofline.forward_macs(model, 128) / 1e9 - 1.196) < 1e-3
  assert abs(roofline.forward_macs(model, 224) / 1e9 - 3.663) < 1e-3
  assert abs(roofline.training_flop(model, 128) / 1e9 - 7.10) < 0.005
  # 11 passes over 1,220,608 outputs and 3 over 1,155,072 inputs but for the
  # stem's own gradient, 4 over the 450,560 sums and the 262,144 pooled.
  numbers = 11 * 1_220_608 + 3 * 1_122_304 - 3 * 128**2
  numbers += 4 * (450_560 + 262_144)
  assert roofline.training_bytes(model, 128, 2) == 2 * numbers


def test_layers_are_those_of_the_network():
  config = resnet34.get_config().model
  model = network.from_config(config, 1)
  x = jnp.zeros((1, 64, 64, 3))
  variables = jax.eval_shape(
    lambda: model.init(jax.random.key(0), x, train=False)
  )
  kernels = [
    leaf.shape
    for leaf in jax.tree.leaves(variables["params"])
    if len(leaf.shape) == 4
  ]
  layers = roofline.convolutions(config, 64)
  assert sorted(kernels) == sorted(
    (layer.kernel, layer.kernel, layer.inputs, layer.outputs)
    for layer in layers
  )
  assert (layers[0].side_in, layers[0].side_out) == (64, 32)
  assert layers[-1].side_out == 64 // 32


def test_ceilings_are_measured(monkeypatch):
  device = jax.devices()[0]
  monkeypatch.setattr(roofline, "_ROUNDS", 1)
  monkeypatch.setattr(roofline, "_least_seconds", lambda f, x, n: 0.5)
  assert roofline.matmul_flop_per_s("float32", device) == 4 * 2048**3
  assert roofline.copy_bytes_per_s("float32", device) == 4 * 2**28


def test_least_seconds_feeds_on(monkeypatch):
  clock = iter([0.0, 6.0, 10.0, 14.0, 20.0, 28.0])
  monkeypatch.setattr(roofline, "_ROUNDS", 3)
  monkeypatch.setattr(roofline.time, "perf_counter", lambda: next(clock))
  seen = []

  def step(x):
    seen.append(x)
    return x + 1

  assert roofline._least_seconds(step, 0, 2) == 2.0
  assert seen == [0, 1, 2, 3, 4, 5, 6]


def test_census_of_a_compiled_function():
  def f(x, kernel):
    layout = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(
      x, kernel, (1, 1), "SAME", dimension_numbers=layout
    )
    # Of three axes: not counted.
    z = jnp.pad(x[0].transpose(2, 1, 0), ((0, 0), (1, 1), (0, 0)))
    return (
      y,
      jnp.pad(x.transpose(2, 1, 0, 3), ((0, 0), (1, 1), (0, 0), (0, 0))),
      z,
    )

  arrays = jnp.zeros((2, 8, 8, 16)), jnp.zeros((3, 3, 16, 16))
  counts = hlo.census(jax.jit(f).lower(*arrays).compile().as_text())
  copies = counts.pop("copies_4d")
  assert counts == {"convolutions": 1, "transposes_4d": 1, "pads_4d": 1}
  assert copies <= 2


def test_census_of_a_gpu_program():
  text = """
ENTRY %main (x: bf16[8,4,4,64], k: bf16[64,3,3,64]) -> bf16[8,4,4,64] {
  %x = bf16[8,4,4,64]{3,2,1,0} parameter(0)
  %cudnn-conv.1 = (bf16[8,4,4,64]{3,2,1,0}, u8[0]{0}) custom-call(%x, %k), \
window={size=3x3 pad=1_1x1_1}, custom_call_target="__cudnn$convForward"
  %cudnn-conv.2 = (bf16[8,4,4,64]{3,2,1,0}, u8[0]{0}) custom-call(%x, %k), \
custom_call_target="__cudnn$convBackwardFilter", backend_config={"a":"copy("}
  %gemm = (f32[8,8]{1,0}, u8[64]{0}) custom-call(%y, %z), \
custom_call_target="__cublas$gemm"
  %copy.1 = bf16[8,4,4,64]{2,3,1,0} copy(%x)
  %copy.2 = f32[8]{0} copy(%s)
  ROOT %convolution.3 = bf16[8,4,4,64]{3,2,1,0} convolution(%copy.1, %k)
}
"""
  assert hlo.census(text) == {
    "convolutions": 3,
    "transposes_4d": 0,
    "copies_4d": 1,
    "pads_4d": 0,
  }
