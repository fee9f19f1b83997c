"""Everything that is to be measured on a GPU, by one command of nine minutes.

  python -m benchmarks.gpu --out=FOLDER --torch-python=PATH
  python -m benchmarks.gpu --out=FOLDER --rehearse   # tiny sizes, on any device

Writes FOLDER/gpu.jsonl, a JSON line per figure, and FOLDER/gpu.md, a table.
Each section runs in a process of its own with a limit of time: a failure costs
only that section, and its reason is among the lines. All images are synthetic.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time
from typing import NamedTuple

from benchmarks import table

_LIMIT_S = 540


class Section(NamedTuple):
  """A part of the measurements.

  Attributes:
    name: function of gpu_sections.py.
    limit_s: time after which it is stopped, seconds.
    variant: what differs from the program that `main.py` compiles.
    xla_flags: flags of XLA that make the difference.
  """

  name: str
  limit_s: int
  variant: str = ""
  xla_flags: str = ""


# The most important first. A cold start fills the cache that others use.
SECTIONS = (
  Section("programs", 90),
  Section("training", 120),
  Section("recipe", 150),
  Section("evaluation", 60),
  Section("torch", 120),
  Section("host", 30),
  Section("variants", 120),
  Section(
    *("step", 60, "one graph"),
    "--xla_gpu_enable_command_buffer=+CONVOLUTION,+WHILE",
  ),
  Section("step", 60, "deterministic", "--xla_gpu_deterministic_ops=true"),
)


def main() -> None:
  """Runs all sections."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--out", metavar="FOLDER", required=True)
  parser.add_argument("--rehearse", action="store_true", help="see above")
  parser.add_argument(
    "--torch-python", metavar="PATH", default="", help="Python with PyTorch"
  )
  args = parser.parse_args()
  folder = pathlib.Path(args.out)
  folder.mkdir(parents=True, exist_ok=True)
  started = time.monotonic()
  lines: list[str] = []
  for section in SECTIONS:
    left = _LIMIT_S - (time.monotonic() - started)
    lines += run(section, min(section.limit_s, left), folder, args)
    (folder / "gpu.jsonl").write_text("".join(lines), encoding="utf-8")
    rows = [json.loads(line) for line in lines]
    text = "\n".join(table.rows([row for row in rows if "unit" in row]))
    (folder / "gpu.md").write_text(text + "\n", encoding="utf-8")
  print(text)
  failed = [row["section"] for row in rows if "failed" in row]
  if failed:
    sys.exit(f"error: these sections failed: {', '.join(failed)}")


def run(
  section: Section,
  limit_s: float,
  folder: pathlib.Path,
  args: argparse.Namespace,
) -> list[str]:
  """Runs a section; returns its lines, the last of which may be a failure."""
  title = f"{section.name} {section.variant}".strip()
  print(title, file=sys.stderr, flush=True)
  log = folder / f"{title.replace(' ', '_')}.log"
  flags = f"{os.environ.get('XLA_FLAGS', '')} {section.xla_flags}".strip()
  command = [
    *(sys.executable, "-m", "benchmarks.gpu_sections", section.name),
    *(f"--variant={section.variant}", f"--torch-python={args.torch_python}"),
    *(["--rehearse"] if args.rehearse else []),
  ]
  environment = {
    **os.environ,
    "XLA_FLAGS": flags,
    # Cold in the first section, warm in the later ones.
    "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    # PyTorch needs memory as well.
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
  }
  if args.rehearse and section.xla_flags:
    # Flags of a GPU end a process that was built without one.
    environment["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "")
  failure = ""
  output = folder / "section.jsonl"
  with (
    output.open("w", encoding="utf-8") as stdout,
    log.open("w", encoding="utf-8") as stderr,
  ):
    try:
      subprocess.run(
        command,
        env=environment,
        stdout=stdout,
        stderr=stderr,
        timeout=max(limit_s, 1),
        check=True,
      )
    except (subprocess.SubprocessError, OSError) as error:
      failure = f"{error}; see {log.name}"
  lines = output.read_text(encoding="utf-8").splitlines(keepends=True)
  output.unlink()
  if failure:
    lines.append(json.dumps({"section": title, "failed": failure}) + "\n")
  return lines


if __name__ == "__main__":
  main()
