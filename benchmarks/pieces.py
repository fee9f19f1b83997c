"""The pieces of a step in the forms that were considered, timed in turn.

  python -m benchmarks.pieces   # 3 minutes on 2 cores

One JSON line per form on standard output, progress on standard error. The
pieces are those of the published ResNet-34 on 128×128 images: on a CPU batches
of 32 in float32, on a GPU of 640 in bfloat16. One device is used. The forms are
in benchmarks/forms.py and layer_forms.py; `in_use` is the project's own.

  forward_ms   the outputs; the median of nine rounds
  gradient_ms  outputs and gradients of all that the piece trains, in one
               program; null where it trains nothing
  *_ratio      this form's time over that of the form in use in the same round,
               the median of the rounds; above one the form in use is faster. A
               range with one in it says that nothing was found.
  *_error      mean difference from the form in use over its mean absolute
               value, the largest of all that the program returns
  temp_bytes   memory beside arguments and results, with gradients where there
               are any

The pieces, and the forms beside the one in use:

  stem               7×7/2 convolution of three channels: these padded to 4, to
                     8; blocks of 2×2 pixels as channels
  max_pool           3×3/2: XLA's window reduction; the maximum of nine slices
  batch_norm_*       with ReLU, of two sizes: Flax's; sums over all axes at once
  convolution_*      3×3, of three sizes, on CPUs only: XLA's own, with the
                     project's options and without
  evaluation         the network: BatchNorm apart from the convolutions
  blocks             the first stage's, in training: without barriers; each one
                     recomputed for its gradient
  input_random       random views of packed images: of uint8 ones
  input_plain        plain views: cropped and normalised without sampling

The exit status is 1 if a form is not equal to the one in use.
"""

import argparse
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import json
import math
import statistics
import sys
import time
from typing import Any

import jax
from jax import lax
import ml_collections
import numpy as np

from benchmarks import bench as benches
from benchmarks import forms
from benchmarks import layer_forms
from benchmarks import rounds
from benchmarks import steps
from galmet_jax.devices import sharding
from galmet_jax.devices.cpu import xla

_ROUNDS = 9
_CPU_ROUND_S = 0.1
_GPU_ROUND_STEPS = 20
# Of the mean absolute value. A few signs that differ at a ReLU's zero show in
# gradients of parameters; bfloat16 has the roundings of 36 layers.
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1}


@dataclasses.dataclass(frozen=True)
class Programs:
  """A form, compiled.

  Attributes:
    forward: makes the outputs.
    gradient: makes outputs and gradients; None where nothing is trained.
    temp_bytes: memory beside arguments and results.
  """

  forward: Callable[[], Any]
  gradient: Callable[[], Any] | None
  temp_bytes: int


def make(
  config: ml_collections.ConfigDict, on_cpu: bool
) -> Iterator[forms.Piece]:
  """Makes the pieces one by one, of noise.

  Args:
    config: tells batch, side, dtype and network.
    on_cpu: whether XLA's options for CPUs matter.
  """
  width, side = config.model.width, config.data.crop
  yield layer_forms.stem(config)
  yield layer_forms.max_pool(config)
  yield layer_forms.batch_norm("batch_norm_stem", config, side // 2, width)
  yield layer_forms.batch_norm(
    "batch_norm_stage3", config, side // 16, 4 * width
  )
  if on_cpu:
    yield from layer_forms.convolutions(config)
  yield forms.evaluation(config)
  yield forms.blocks(config)
  yield from forms.inputs(config)


def compile_forms(
  piece: forms.Piece, mesh: jax.sharding.Mesh
) -> dict[str, Programs]:
  """Compiles a piece's forms, for one device and the same arguments."""
  where = sharding.replicated(mesh)
  arguments = jax.device_put((piece.trained, piece.given), where)
  first = next(iter(piece.forms.values()))
  outputs = jax.eval_shape(first.function, *arguments)
  rng = np.random.default_rng(1)
  cotangents = None
  if piece.trained is not None:
    cotangents = jax.tree.map(
      lambda y: rng.standard_normal(y.shape, np.float32).astype(y.dtype),
      outputs,
    )
    cotangents = jax.device_put(cotangents, where)
  return {
    name: _compile(form, arguments, cotangents, mesh)
    for name, form in piece.forms.items()
  }


def _compile(form, arguments, cotangents, mesh):
  options = xla.compiler_options(mesh) if form.options else {}

  # Functions of their own: JAX would take a trace without the patch for both.
  def forward(trained, given):
    return form.function(trained, given)

  def gradient(trained, given, cotangents):
    outputs, back = jax.vjp(lambda x: form.function(x, given), trained)
    # As in training, where the loss comes between.
    outputs, cotangents = lax.optimization_barrier((outputs, cotangents))
    return outputs, back(cotangents)[0]

  def build(function, *arguments):
    with form.patch():
      jitted = jax.jit(function, compiler_options=options)
      program: Any = jitted.lower(*arguments).compile()
    temp_bytes = program.memory_analysis().temp_size_in_bytes
    return lambda: program(*arguments), temp_bytes

  run, temp_bytes = build(forward, *arguments)
  run_gradient = None
  if cotangents is not None:
    run_gradient, temp_bytes = build(gradient, *arguments, cotangents)
  return Programs(run, run_gradient, temp_bytes)


def report(
  piece: forms.Piece,
  programs: Mapping[str, Programs],
  config: ml_collections.ConfigDict,
  device: jax.Device,
) -> list[str]:
  """Prints a line for each form.

  Args:
    piece: the piece.
    programs: of `compile_forms`.
    config: tells batch and dtype.
    device: on which they run.

  Returns:
    What is not equal to the form in use, in words.
  """
  on_cpu = device.platform == "cpu"
  forwards = {name: each.forward for name, each in programs.items()}
  gradients = {
    name: each.gradient for name, each in programs.items() if each.gradient
  }
  forward = _figures("forward", forwards, on_cpu)
  gradient = _figures("gradient", gradients, on_cpu)
  tolerance = TOLERANCE[config.model.dtype]
  wrong = []
  for name, each in programs.items():
    figures = {**forward[name], **gradient.get(name, _none("gradient"))}
    line = {
      "name": piece.name,
      "variant": name,
      "device": device.device_kind,
      "dtype": config.model.dtype,
      "batch": config.train.batch_size,
      **figures,
      "temp_bytes": each.temp_bytes,
    }
    print(json.dumps(line), flush=True)
    # Not a number is wrong, too.
    wrong += [
      f"{piece.name}, {name}: {key} is {figures[key]}"
      for key in ("forward_error", "gradient_error")
      if figures[key] is not None and not figures[key] <= tolerance
    ]
  return wrong


def _figures(kind, runs, on_cpu):
  """Compares and times programs: figures by name of the form."""
  if not runs:
    return {}
  plain = runs["in_use"]()
  errors = {name: difference(run(), plain) for name, run in runs.items()}
  seconds = _alternate(runs, on_cpu)
  figures = {}
  for name in runs:
    ratio, bounds = rounds.ratio(seconds["in_use"], seconds[name])
    values = (
      _short(1e3 * statistics.median(seconds[name])),
      _short(ratio),
      [_short(x) for x in bounds],
      _short(errors[name]),
    )
    figures[name] = dict(zip(_none(kind), values, strict=True))
  return figures


def _none(kind):
  keys = ("ms", "ratio", "ratio_range", "error")
  return dict.fromkeys(f"{kind}_{key}" for key in keys)


def _short(x):
  return float(f"{x:.4g}")


def difference(found: Any, expected: Any) -> float:
  """Largest mean difference of two trees' leaves, in the mean size of these."""

  def of_leaf(a, b):
    a, b = (np.asarray(x).astype(np.float32) for x in (a, b))
    return np.abs(a - b).mean() / np.abs(b).mean()

  leaves = jax.tree.leaves(jax.tree.map(of_leaf, found, expected))
  # numpy's maximum, which passes on what is not a number.
  return float(np.max(leaves))


def _alternate(runs, on_cpu):
  """As `rounds.alternate`, for what takes milliseconds and shares threads."""
  numbers = dict.fromkeys(runs, _GPU_ROUND_STEPS)
  if on_cpu:
    for name, run in runs.items():
      numbers[name] = math.ceil(_CPU_ROUND_S / _seconds(run, 1, on_cpu))
  seconds: dict[str, list[float]] = {name: [] for name in runs}
  for _ in range(_ROUNDS):
    for name, run in runs.items():
      number = numbers[name]
      seconds[name].append(_seconds(run, number, on_cpu) / number)
  return seconds


def _seconds(run, number, on_cpu):
  begun = time.perf_counter()
  for _ in range(number):
    outputs = run()
    # A GPU has to have its next program before it has done with this one; a
    # CPU would begin with the next one at once.
    if on_cpu:
      jax.block_until_ready(outputs)
  jax.block_until_ready(outputs)
  return time.perf_counter() - begun


def main() -> None:
  """Runs the benchmark."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.parse_args()
  mesh = sharding.make_mesh(jax.local_devices()[:1])
  device = mesh.devices.flat[0]
  on_cpu = device.platform == "cpu"
  batch, dtype = (32, "float32") if on_cpu else (640, "bfloat16")
  config = steps.make_config(batch, dtype)
  benches.say(f"JAX {jax.__version__} on {device.device_kind}")
  if not on_cpu:
    benches.say("convolution_*: left out, XLA's options are of its CPU backend")
  wrong = []
  for piece in make(config, on_cpu):
    benches.say(piece.name)
    programs = compile_forms(piece, mesh)
    wrong += report(piece, programs, config, device)
  if wrong:
    sys.exit(
      f"error: expected at most {TOLERANCE[dtype]:g} between a "
      f"form and the one in use, found: {'; '.join(wrong)}. Mend the form in "
      "benchmarks/forms.py before its times are believed."
    )


if __name__ == "__main__":
  main()
