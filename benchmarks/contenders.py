"""Times contenders in turns; PyTorch runs in its own process."""

from collections.abc import Callable
from collections.abc import Mapping
import json
import math
import pathlib
import statistics
import subprocess
import time

TORCH_SCRIPT = pathlib.Path(__file__).with_name("torch_resnet.py")
_CPU_ROUND_S = 2.0
_GPU_ROUND_STEPS = 20
# After a turn, a contender's threads spin for a while (OpenMP's for 0.2 s).
_REST_S = 0.3

# Runs a number of steps and returns the seconds that they took.
Contender = Callable[[int], float]


def alternate(
  sides: Mapping[str, Contender], rounds: int, on_cpu: bool
) -> tuple[dict[str, list[float]], dict[str, str]]:
  """Times contenders in turns (A B A B), so that disturbances affect all.

  Args:
    sides: contenders by name.
    rounds: number of turns of each contender.
    on_cpu: if true, a turn takes about two seconds; otherwise 20 steps.

  Returns:
    Seconds per step of each round, by name; and the reason of each failure of
    PyTorch, by name.
  """
  steps, failed = {}, {}
  for name, run in sides.items():
    try:
      run(1)  # may compile, or search for the fastest kernels
      one = run(1)
    except TorchError as error:
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
        # Not timed: allocates memory that was freed in the other's turn.
        sides[name](1)
      seconds[name].append(sides[name](number) / number)
  return seconds, failed


def ratio(
  ours: list[float], theirs: list[float]
) -> tuple[float, tuple[float, float]]:
  """Returns the median and the range over rounds of theirs / ours."""
  ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
  return statistics.median(ratios), (min(ratios), max(ratios))


class TorchError(RuntimeError):
  """PyTorch's process failed; the message gives the reason."""


class TorchProcess:
  """A process that runs torch_resnet.py, for use in a `with` statement.

  In one process, the thread pools of the two libraries would slow each other
  down.

  Attributes:
    facts: version, device, dtype and threads of PyTorch.
  """

  def __init__(self, command: list[str]):
    """Starts the process and waits until it is ready.

    Raises:
      TorchError: if it does not start.
    """
    try:
      self._process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
      )
    except OSError as error:
      raise TorchError(f"{command[0]} does not start: {error}.") from error
    try:
      self.facts = json.loads(self._read())
    except TorchError:
      self.__exit__()
      raise

  def __enter__(self) -> "TorchProcess":
    return self

  def __exit__(self, *_) -> None:
    self._process.kill()
    self._process.communicate()

  def run(self, kind: str, steps: int) -> float:
    """Runs steps of a kind (see torch_resnet.py); returns their seconds.

    Raises:
      TorchError: if a step fails or the process has ended.
    """
    assert self._process.stdin
    try:
      self._process.stdin.write(f"{kind} {steps}\n")
      self._process.stdin.flush()
    except BrokenPipeError:
      pass  # _read() reports it
    answer = self._read()
    if answer.startswith("error: "):
      raise TorchError(answer.removeprefix("error: "))
    return float(answer)

  def _read(self) -> str:
    assert self._process.stdout
    line = self._process.stdout.readline().strip()
    if not line:
      raise TorchError(
        "expected an answer from the PyTorch process, but it has ended; its "
        "error is printed above. Pass a Python that has PyTorch: "
        "--torch-python=PATH."
      )
    return line
