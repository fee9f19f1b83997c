"""Times things in turn, so that what else the machine does meets them alike."""

from collections.abc import Callable
from collections.abc import Mapping
import math
import statistics
import time

from benchmarks import torch_side

# Threads of the side that has just worked go on looking for work for a while:
# Intel's OpenMP for 0.2 s.
_REST_S = 0.3
_CPU_ROUND_S = 2.0
_GPU_ROUND_STEPS = 20

# Makes so many steps and returns the seconds that they took.
Side = Callable[[int], float]


def alternate(
  sides: Mapping[str, Side], rounds: int, on_cpu: bool
) -> tuple[dict[str, list[float]], dict[str, str]]:
  """Lets sides work in turn, A B A B.

  Args:
    sides: by name.
    rounds: how many turns each has: two seconds at least on a CPU, 20 steps
      on another device, and one before that is not counted.
    on_cpu: which of them it is.

  Returns:
    Seconds per step of each round, by name; and for sides that failed, which
    are PyTorch's, why.
  """
  steps, failed = {}, {}
  for name, side in sides.items():
    try:
      side(1)  # may compile, or look for the fastest kernels
      one = side(1)
    except torch_side.TorchError as error:
      failed[name] = str(error)
      continue
    steps[name] = (
      max(1, math.ceil(_CPU_ROUND_S / one)) if on_cpu else _GPU_ROUND_STEPS
    )
  seconds: dict[str, list[float]] = {name: [] for name in steps}
  for _ in range(rounds):
    for name, number in steps.items():
      if len(steps) > 1:
        time.sleep(_REST_S)
        # Not counted: memory that it let go meanwhile has to be had again.
        sides[name](1)
      seconds[name].append(sides[name](number) / number)
  return seconds, failed


def ratio(
  ours: list[float], theirs: list[float]
) -> tuple[float, tuple[float, float]]:
  """Compares the rounds of two sides.

  Args:
    ours: seconds per step of each round.
    theirs: those of the other side in the same rounds.

  Returns:
    The median of theirs / ours, above one where ours is faster, and the range.
  """
  ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
  return statistics.median(ratios), (min(ratios), max(ratios))
