"""Output that cannot be written never ends a program."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PROGRAM = """
import sys
from tfds_sdss import output
output.make_robust()
for number in range(20_000):
  print("R² ± 0.1", number, flush=number % 100 == 0)
  print("a line", file=sys.stderr)
print("done", file=open(sys.argv[1], "w"))
"""


def run(path, command="", **options):
  """Runs the program with a redirection of the shell; returns the result."""
  return subprocess.run(
    [
      "bash",
      "-c",
      f'"$0" -c "$1" "$2" {command}',
      sys.executable,
      PROGRAM,
      path,
    ],
    cwd=ROOT,
    capture_output=True,
    timeout=60,
    **options,
  )


@pytest.mark.parametrize(
  "command",
  [
    "| head -n 2",
    "2>&1 | head -n 2",
    "| true",
    "> /dev/full",
    "> /dev/full 2>&1",
    ">&-",
    ">&- 2>&-",
  ],
)
def test_program_goes_on_without_its_output(tmp_path, command):
  result = run(tmp_path / "end", command)
  assert (tmp_path / "end").read_text() == "done\n"
  assert result.returncode == 0
  assert b"Traceback" not in result.stderr + result.stdout


def test_unbuffered_output_keeps_its_order(tmp_path):
  environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
  lines = run(tmp_path / "end", "2>&1", env=environment).stdout.splitlines()
  assert lines[:3] == ["R² ± 0.1 0".encode(), b"a line", "R² ± 0.1 1".encode()]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_program_goes_on_in_every_encoding(tmp_path, encoding):
  environment = {**os.environ, "PYTHONIOENCODING": encoding}
  result = run(tmp_path / "end", env=environment)
  assert result.returncode == 0
  expected = "R² ± 0.1 7\n".encode(encoding, errors="backslashreplace")
  assert expected in result.stdout
