"""Compiles this project's steps for H100 GPUs on a machine without a GPU.

  make gpu-program                 # all programs, minutes; a JSON line each
  python -m benchmarks.gpu_program train_64 --table

It needs `requirements-gpu-program.txt`, but no driver. The steps are those that
`main.py` compiles, in bfloat16, with 76,800 images of 128×128 pixels in the
memory of each device. It prints what can be read from a program: kernels,
bytes, launches by the host, memory, convolutions and collectives. It cannot
tell times, cuDNN's algorithms or their workspace.
"""

import argparse
import collections
from collections.abc import Iterable
import dataclasses
import json
import os
import pathlib
import re
import tempfile
from typing import Any

import jax

from benchmarks import h100_programs
from benchmarks import hlo

_SIDES_OF_KERNELS = (1, 3, 7)


def main() -> None:
  """Compiles the programs and prints their figures."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    "cases",
    nargs="*",
    metavar="CASE",
    help=f"{', '.join(h100_programs.CASES)}; default: all",
  )
  parser.add_argument("--table", action="store_true", help="print Markdown")
  args = parser.parse_args()
  unknown = sorted(set(args.cases) - set(h100_programs.CASES))
  if unknown:
    parser.error(
      f"expected some of {', '.join(h100_programs.CASES)}, found {unknown[0]}"
    )
  # The programs are compiled for GPUs; arrays are made on the CPU.
  jax.config.update("jax_platforms", "cpu")
  rows = []
  with tempfile.TemporaryDirectory() as folder:
    os.environ["XLA_FLAGS"] = (
      f"{os.environ.get('XLA_FLAGS', '')} --xla_dump_to={folder} "
      "--xla_dump_hlo_module_re=jit_(train|eval)_step"
    )
    for name in args.cases or h100_programs.CASES:
      figures = measure(h100_programs.CASES[name], pathlib.Path(folder))
      rows.append({"program": name, **figures})
      if not args.table:
        print(json.dumps(rows[-1]), flush=True)
  if args.table:
    print("\n".join(table(rows)))


def measure(case: h100_programs.Case, dumped: pathlib.Path) -> dict[str, Any]:
  """Compiles a program and returns its figures.

  Args:
    case: the program.
    dumped: folder into which XLA writes its steps of compilation.
  """
  compiled = h100_programs.compile_case(case)
  program = hlo.Program(compiled.as_text())
  memory = compiled.memory_analysis()
  megabytes: dict[str, float] = collections.defaultdict(float)
  kernels: collections.Counter = collections.Counter()
  for kernel in program.kernels:
    kind = role(kernel.instruction)
    kernels[kind] += kernel.times
    megabytes[kind] += kernel.times * kernel.bytes / 1e6
  total = sum(megabytes.values())
  collectives = [
    kernel.instruction
    for kernel in program.kernels
    if kernel.instruction.is_collective
  ]
  return {
    "device": "H100, compiled only",
    **dataclasses.asdict(case),
    "megabytes": round(total, 1),
    "megabytes_per_image": round(total / case.views_per_device, 2),
    "kernels": sum(kernels.values()),
    "launches": launches(dumped),
    "temp_megabytes_per_image": round(
      memory.temp_size_in_bytes / 1e6 / case.views_per_device, 2
    ),
    "peak_megabytes": round(
      (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
      )
      / 1e6
    ),
    "donated_megabytes": round(memory.alias_size_in_bytes / 1e6, 2),
    "output_megabytes": round(memory.output_size_in_bytes / 1e6, 2),
    "convolutions": convolutions(program),
    "copies_of_activations": copies_of_activations(program, case),
    "collectives": len(collectives),
    "collective_megabytes": {
      kind: round(sum(_sizes(collectives, kind)) / 1e6, 2)
      for kind in ("bf16", "f32")
    },
    "megabytes_by_role": {k: round(v, 1) for k, v in sorted(megabytes.items())},
    "kernels_by_role": dict(sorted(kernels.items())),
  }


def role(instruction: hlo.Instruction) -> str:
  """Returns the purpose of a kernel."""
  source = instruction.source
  if instruction.convolution:
    return "convolutions"
  if instruction.is_collective:
    return "collectives"
  if instruction.opcode == "copy":
    return "copies"
  if any(_is_kernel(array.shape) for array in instruction.results):
    return "convolution kernels and their optimizer"
  if "ResNet" in source:
    return "other layers, " + (
      "backward" if "transpose(jvp" in source else "forward"
    )
  return "augmentation" if "vmap" in source else "the rest"


def _is_kernel(shape: tuple[int, ...]) -> bool:
  """Whether an array is a convolution's kernel, HWIO or OHWI."""
  if len(shape) != 4:
    return False
  sides = {shape[:2], shape[1:3]}
  return any(a == b and a in _SIDES_OF_KERNELS for a, b in sides)


def convolutions(program: hlo.Program) -> dict[str, int]:
  """Counts convolutions by kind, dtype of their results, and layout."""
  found: dict[str, int] = collections.Counter()
  for kernel in program.kernels:
    instruction = kernel.instruction
    if instruction.convolution:
      dtype = instruction.results[0].dtype
      labels = instruction.attribute(r"dim_labels=(\S+?),")
      found[f"{instruction.convolution} {dtype} {labels}"] += kernel.times
    elif instruction.opcode == "convolution":
      found["not by cuDNN"] += kernel.times
  return dict(found)


def copies_of_activations(
  program: hlo.Program, case: h100_programs.Case
) -> int:
  """Counts copies and transpositions of maps."""
  images = case.views_per_device
  return sum(
    kernel.times
    for kernel in program.kernels
    for array in kernel.instruction.results[:1]
    if len(array.shape) == 4
    and array.shape[0] == images
    and (
      kernel.instruction.opcode == "copy"
      or kernel.instruction.name.startswith(("copy", "transpose"))
    )
  )


def _sizes(instructions: list[hlo.Instruction], dtype: str) -> list[int]:
  return [
    array.size
    for each in instructions
    for array in each.results
    if array.dtype == dtype
  ]


def launches(dumped: pathlib.Path) -> int:
  """Returns how often the host launches something in the newest program.

  A CUDA graph of many kernels is one launch.
  """
  files = dumped.glob("*thunk_sequence_after_thunk_passes*")
  newest = max(files, key=lambda path: path.stat().st_mtime_ns)
  lines = newest.read_text(encoding="utf-8").splitlines()
  return sum(bool(re.match(r"\d+: k", line)) for line in lines)


def table(rows: list[dict[str, Any]]) -> list[str]:
  """Returns a Markdown table of figures."""
  columns = (
    ("program", "program"),
    ("MB/image", "megabytes_per_image"),
    ("kernels", "kernels"),
    ("launches", "launches"),
    ("temporary MB/image", "temp_megabytes_per_image"),
    ("peak MB", "peak_megabytes"),
    ("collectives", "collectives"),
  )
  return [
    _line(title for title, _ in columns),
    "|" + "---|" * len(columns),
    *(_line(row[name] for _, name in columns) for row in rows),
  ]


def _line(cells: Iterable) -> str:
  texts = [x if isinstance(x, str) else f"{x:,}" for x in cells]
  return f"| {' | '.join(texts)} |"


if __name__ == "__main__":
  main()
