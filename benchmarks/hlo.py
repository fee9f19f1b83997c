"""A census of what XLA made of a program: convolutions, and moves about them.

On a CPU a convolution is an instruction of its own name; on a GPU it is a call
of cuDNN. A transpose may cost nothing, being another name of the same bytes;
then no copy follows it. A program that has its maps in the right layout from
the start has few of either.
"""

import re

# `%name = SHAPE opcode(`; the shape of several outputs is in parentheses.
_INSTRUCTION = re.compile(
  r"^\s*(?:ROOT )?%?[\w.\-]+ = (\(.*?\)|\S+) ([a-z][\w\-]*)\((.*)$",
  re.MULTILINE,
)
_CUDNN = re.compile(r'custom_call_target="__cudnn\$conv')
_FOUR_AXES = re.compile(r"\w+\[\d+(?:,\d+){3}\]")


def census(text: str) -> dict[str, int]:
  """Counts instructions, those within fusions too.

  Args:
    text: an optimised HLO module, as `compiled.as_text()` returns it.

  Returns:
    `convolutions`, whether XLA's own or cuDNN's, and among the arrays of four
    axes `transposes_4d`, `copies_4d` and `pads_4d`.
  """
  counts = dict.fromkeys(
    ("convolutions", "transposes_4d", "copies_4d", "pads_4d"), 0
  )
  kinds = {"transpose": "transposes_4d", "copy": "copies_4d", "pad": "pads_4d"}
  for shape, opcode, rest in _INSTRUCTION.findall(text):
    if opcode == "convolution" or (
      opcode == "custom-call" and _CUDNN.search(rest)
    ):
      counts["convolutions"] += 1
    elif opcode in kinds and _FOUR_AXES.match(shape):
      counts[kinds[opcode]] += 1
  return counts
