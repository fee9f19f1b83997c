"""Prints the output of `benchmarks.train` as a Markdown table.

python -m benchmarks.table benchmarks/results/FILE.jsonl
"""

import json
import pathlib
import sys


def main() -> None:
  """Prints the table of one file."""
  lines = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
  print("\n".join(rows([json.loads(line) for line in lines])))


def rows(figures: list[dict]) -> list[str]:
  """Returns the table's lines: a header and one row per measurement."""
  table = [
    "| figure | device | batch × views | dtype | value | faster than PyTorch |",
    "|---|---|---|---|---|---|",
  ]
  for figure in figures:
    name = " ".join([figure["name"], figure.get("cache", "")]).strip()
    value = "none"
    if figure["value"] is not None:
      value = f"{figure['value']:,} {figure['unit']}"
    ratio = figure["ratio_to_torch"]
    cells = (
      name,
      figure["device"],
      f"{figure['batch']} × {figure['views']}",
      figure["dtype"],
      value,
      "" if ratio is None else f"{ratio:.2f} times",
    )
    table.append(f"| {' | '.join(cells)} |")
  return table


if __name__ == "__main__":
  main()
