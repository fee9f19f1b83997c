"""Counts in a small program, by hand."""

import pytest

from benchmarks import hlo

TEXT = """
HloModule jit_step

%body (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %negate.1 = f32[8]{0} negate(%p)
}

%condition (q: f32[8]) -> pred[] {
  %q = f32[8]{0} parameter(0)
  ROOT %true = pred[] constant(true)
}

%fused (a: f32[100,4], b: s32[2], c: bf16[2,4]) -> (f32[2,4], bf16[2,4]) {
  %a = f32[100,4]{1,0} parameter(0)
  %b = s32[2]{0} parameter(1)
  %c = bf16[2,4]{1,0} parameter(2)
  %gather = f32[2,4]{1,0} gather(%a, %b), offset_dims={1}
  %convert = bf16[2,4]{1,0} convert(%gather)
  %add = bf16[2,4]{1,0} add(%convert, %c)
  ROOT %tuple = (f32[2,4]{1,0}, bf16[2,4]{1,0}) tuple(%gather, %add)
}

ENTRY %main (x: f32[100,4], i: s32[2], y: bf16[2,4], z: f32[8]) -> f32[8] {
  %x = f32[100,4]{1,0} parameter(0)
  %i = s32[2]{0} parameter(1)
  %y = bf16[2,4]{1,0} parameter(2)
  %z = f32[8]{0} parameter(3)
  %view = bf16[2,4]{1,0} bitcast(%y)
  %fusion = (f32[2,4]{1,0}, bf16[2,4]{1,0}) fusion(%x, %i, %view), \
    kind=kLoop, calls=%fused, \
    metadata={op_name="jit(step)/ResNet/add"}
  %conv = (bf16[2,4]{1,0}, u8[0]{0}) custom-call(%y, %y), \
    custom_call_target="__cudnn$convForward"
  %start = f32[8]{0} all-reduce-start(%z), to_apply=%body
  %done = f32[8]{0} all-reduce-done(%start)
  ROOT %while = f32[8]{0} while(%done), \
    condition=%condition, body=%body, \
    backend_config={"known_trip_count":{"n":"5"}}
}
"""


@pytest.fixture
def kernels():
  return {k.instruction.name: k for k in hlo.Program(TEXT).kernels}


def test_kernels_and_their_numbers(kernels):
  assert {name: kernel.times for name, kernel in kernels.items()} == {
    "fusion": 1,
    "conv": 1,
    "start": 1,
    "negate.1": 5,
  }


def test_bytes(kernels):
  # Two gathered rows, two indices and two rows of bf16; the two results.
  assert kernels["fusion"].bytes == (32 + 8 + 16) + (32 + 16)
  # An operand that is used twice is read once.
  assert kernels["conv"].bytes == 16 + 16
  assert kernels["negate.1"].bytes == 32 + 32


def test_kinds(kernels):
  assert kernels["conv"].instruction.convolution == "Forward"
  assert kernels["start"].instruction.is_collective
  assert not kernels["fusion"].instruction.convolution
  assert kernels["fusion"].instruction.source == "jit(step)/ResNet/add"
