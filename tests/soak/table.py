"""Writes the table of faults in docs/reliability.md from a JUnit file.

  python -m tests.soak.table FAULTS.xml

`make soak` runs it. Each test with the marker `faults(kind)` counts once, or as
often as its property `tried`.
"""

import collections
import pathlib
import sys
from xml.etree import ElementTree

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "reliability.md"
_BEGIN, _END = "<!-- begin: make soak -->\n", "<!-- end: make soak -->"


def table(xml: str) -> str:
  """Returns the table: a row for each kind of fault, by number."""
  tried: collections.Counter[str] = collections.Counter()
  lost: collections.Counter[str] = collections.Counter()
  for case in ElementTree.fromstring(xml).iter("testcase"):
    found = {x.get("name"): x.get("value") for x in case.iter("property")}
    if "fault" not in found or case.find("skipped") is not None:
      continue
    number = int(found.get("tried", 1))
    tried[found["fault"]] += number
    if case.find("failure") is not None or case.find("error") is not None:
      lost[found["fault"]] += number
  rows = [
    f"| {kind} | {number} | {number - lost[kind]} | {lost[kind]} |"
    for kind, number in tried.most_common()
  ]
  total, failed = tried.total(), lost.total()
  rows.append(f"| **all** | {total} | {total - failed} | {failed} |")
  head = ["| fault | tried | survived | lost |", "|---|---|---|---|"]
  return "\n".join([*head, *rows]) + "\n"


def replace(document: str, new: str) -> str:
  """Returns a document with a new table between its two marks."""
  before, _, rest = document.partition(_BEGIN)
  _, end, after = rest.partition(_END)
  if not end:
    raise ValueError(f"expected the lines {_BEGIN}and {_END}")
  return f"{before}{_BEGIN}{new}{end}{after}"


if __name__ == "__main__":
  text = table(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
  old = DOCUMENT.read_text(encoding="utf-8")
  DOCUMENT.write_text(replace(old, text), encoding="utf-8")
  print(text, end="")
