"""Counts kernels, bytes and collectives in the text of a compiled GPU program.

XLA's own cost analysis needs a device. Here the bytes of a kernel are the sizes
of its operands and results, without any cache; an operand from which a kernel
only gathers or slices counts with the size of what it takes.
"""

from collections.abc import Iterator
import dataclasses
import functools
import math
import re

_ITEM_SIZES = {
  **{"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2},
  **{"s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8},
}
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")
_INSTRUCTION = re.compile(
  r"\s*(?P<root>ROOT )?%?(?P<name>[\w.\-]+) = "
  r"(?P<shape>\(.*?\)|\S+) (?P<opcode>[a-z][\w\-]*)\((?P<rest>.*)"
)
# Instructions that launch nothing.
_NO_KERNEL = {
  *("parameter", "constant", "get-tuple-element", "tuple", "bitcast"),
  *("after-all", "partition-id", "replica-id", "opt-barrier"),
}
_COLLECTIVES = ("all-", "reduce-scatter", "collective-")
_CONVOLUTION = "__cudnn$conv"


@dataclasses.dataclass(frozen=True)
class Array:
  """Type and shape of an array."""

  dtype: str
  shape: tuple[int, ...]

  @property
  def size(self) -> int:
    """Size in bytes."""
    return _ITEM_SIZES.get(self.dtype, 0) * math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One line of a program.

  Attributes:
    name: name within its computation.
    is_root: whether its result is that of the computation.
    opcode: HLO's name of the operation.
    results: the arrays that it computes.
    operands: names of the instructions that it reads.
    arguments: text between its parentheses.
    attributes: text after them.
  """

  name: str
  is_root: bool
  opcode: str
  results: tuple[Array, ...]
  operands: tuple[str, ...]
  arguments: str
  attributes: str

  @property
  def size(self) -> int:
    """Size of the results in bytes."""
    return sum(array.size for array in self.results)

  def attribute(self, pattern: str) -> str:
    """Returns the group of the first match in the attributes, or ""."""
    found = re.search(pattern, self.attributes)
    return found.group(1) if found else ""

  @property
  def source(self) -> str:
    """Path of the traced function, such as jit(f)/ResNet/stage1/add."""
    return self.attribute(r'op_name="([^"]*)"')

  @property
  def convolution(self) -> str:
    """Kind of cuDNN convolution: Forward, BackwardInput, ...; "" for others."""
    target = self.attribute(r'custom_call_target="([^"]*)"')
    return target.removeprefix(_CONVOLUTION) if _CONVOLUTION in target else ""

  @property
  def is_collective(self) -> bool:
    """Whether it starts a communication between devices."""
    is_end = self.opcode.endswith("-done")
    return self.opcode.startswith(_COLLECTIVES) and not is_end


@dataclasses.dataclass(frozen=True)
class Kernel:
  """An instruction that the device executes.

  Attributes:
    instruction: the instruction.
    times: number of executions.
    bytes: bytes that one execution reads and writes.
  """

  instruction: Instruction
  times: int
  bytes: int


class Program:
  """A compiled program.

  Attributes:
    computations: instructions of each computation, by name.
  """

  def __init__(self, text: str):
    """Parses the text of `jax.stages.Compiled.as_text`."""
    self.computations: dict[str, dict[str, Instruction]] = {}
    self._entry = ""
    for line in text.splitlines():
      if line.startswith(("%", "ENTRY")) and line.rstrip().endswith("{"):
        name = re.findall(r"[\w.\-]+", line.removeprefix("ENTRY"))[0]
        current = self.computations[name] = {}
        if line.startswith("ENTRY"):
          self._entry = name
      elif match := _INSTRUCTION.match(line):
        instruction = _parse(match)
        current[instruction.name] = instruction

  @functools.cached_property
  def kernels(self) -> tuple[Kernel, ...]:
    """All kernels, in the order of their start."""
    return tuple(self._kernels(self._entry, 1))

  def _kernels(self, computation: str, times: int) -> Iterator[Kernel]:
    table = self.computations[computation]
    for each in table.values():
      called = each.attribute(r"(?:calls|body|to_apply)=%?([\w.\-]+)")
      if each.opcode == "while":
        trips = each.attribute(r'known_trip_count"?:\{"n":"?(\d+)')
        yield from self._kernels(called, times * int(trips or 1))
      elif each.opcode in ("call", "conditional"):
        yield from self._kernels(called, times)
      elif each.opcode not in _NO_KERNEL and not each.opcode.endswith("-done"):
        yield Kernel(each, times, self._bytes(each, table))

  def body(self, instruction: Instruction) -> dict[str, Instruction]:
    """Returns the instructions of a fusion; none for others."""
    called = instruction.attribute(r"calls=%?([\w.\-]+)")
    return self.computations[called] if called else {}

  def _bytes(
    self, instruction: Instruction, table: dict[str, Instruction]
  ) -> int:
    if instruction.opcode in ("gather", "dynamic-slice", "slice"):
      return 2 * instruction.size
    body = self.body(instruction)
    if not body:
      read = [table[name].size for name in set(instruction.operands)]
      return sum(read) + instruction.size
    # One array may be an operand twice, under two shapes.
    read_of: dict[str, int] = {}
    for position, name in enumerate(instruction.operands):
      while table[name].opcode == "bitcast":
        name = table[name].operands[0]
      read_of[name] = max(read_of.get(name, 0), _read(body, position))
    return sum(read_of.values()) + _written(body)


def _parse(match: re.Match) -> Instruction:
  rest, depth, end = match["rest"], 1, -1
  while depth:
    end += 1
    depth += (rest[end] == "(") - (rest[end] == ")")
  arguments = rest[:end]
  is_constant = match["opcode"] in ("constant", "parameter")
  return Instruction(
    match["name"],
    bool(match["root"]),
    match["opcode"],
    tuple(
      Array(dtype, tuple(int(n) for n in shape.split(",") if n))
      for dtype, shape in _ARRAY.findall(match["shape"])
    ),
    () if is_constant else tuple(re.findall(r"%([\w.\-]+)", arguments)),
    arguments,
    rest[end + 1 :],
  )


def _read(body: dict[str, Instruction], position: int) -> int:
  """Returns the bytes that a fusion reads of its operand at `position`."""
  (parameter,) = (
    each
    for each in body.values()
    if each.opcode == "parameter" and each.arguments == str(position)
  )
  taken, names = 0, [parameter.name]
  while names:
    name = names.pop()
    for user in body.values():
      if name not in user.operands:
        continue
      is_first = user.operands[0] == name
      if user.opcode in ("bitcast", "reshape"):
        names.append(user.name)
      elif is_first and user.opcode in ("gather", "dynamic-slice", "slice"):
        taken += user.size
      elif not (is_first and user.opcode == "dynamic-update-slice"):
        return parameter.size
  return min(taken, parameter.size)


def _written(body: dict[str, Instruction]) -> int:
  (root,) = (each for each in body.values() if each.is_root)
  is_tuple = root.opcode == "tuple"
  results = [body[name] for name in root.operands] if is_tuple else [root]
  # An update in place writes the updated part only.
  return sum(
    body[each.operands[1]].size
    if each.opcode == "dynamic-update-slice"
    else each.size
    for each in results
  )
