"""PyTorch in a process of its own, which works when it is asked to.

In one process, the threads of the two would be in each other's way.
"""

import importlib.util
import json
import pathlib
import subprocess
import sys

SCRIPT = pathlib.Path(__file__).with_name("torch_resnet.py")


class TorchError(RuntimeError):
  """The other side did not do what it was asked to; says why."""


def find_python(named: str | None) -> str | None:
  """Returns an interpreter that has PyTorch: the named one, this, or None."""
  if named:
    return named
  return sys.executable if importlib.util.find_spec("torch") else None


class TorchSide:
  """A running child, from `with` on to its end.

  Attributes:
    facts: what it says of itself: `torch`, `device`, `dtype`, `threads`.
  """

  def __init__(self, command: list[str]):
    """Starts it and waits until it is ready.

    Args:
      command: the child's: see torch_resnet.py.

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
      self.facts = json.loads(self._answer())
    except TorchError:
      self.close()
      raise

  def __enter__(self) -> "TorchSide":
    return self

  def __exit__(self, *_) -> None:
    self.close()

  def run(self, kind: str, steps: int) -> float:
    """Has it make some steps; returns the seconds that they took.

    Raises:
      TorchError: if it cannot, or is no more.
    """
    assert self._process.stdin
    try:
      self._process.stdin.write(f"{kind} {steps}\n")
      self._process.stdin.flush()
    except BrokenPipeError:
      pass  # told by the answer that does not come
    answer = self._answer()
    if answer.startswith("error: "):
      raise TorchError(answer.removeprefix("error: "))
    return float(answer)

  def close(self) -> None:
    """Ends it."""
    # It reads to the end of its input, unless it is in the midst of a step.
    self._process.kill()
    self._process.communicate()

  def _answer(self) -> str:
    assert self._process.stdout
    line = self._process.stdout.readline().strip()
    if not line:
      raise TorchError(
        "expected an answer of the PyTorch side, found that it has ended; its "
        "last words are above. Name a Python which has PyTorch: "
        "--torch-python=PATH."
      )
    return line
