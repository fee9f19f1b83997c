"""SECURITY.md names tests that exist."""

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]


def test_tests_named_in_security_md_exist():
  text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
  named = re.findall(r"([\w/]+\.py)::(\w+)", text)
  rows = [line for line in text.splitlines() if line.startswith("| ")]
  # Every row but the head names at least one.
  assert all("::" in row for row in rows[1:])
  for path, name in named:
    tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
    functions = [x.name for x in tree.body if isinstance(x, ast.FunctionDef)]
    assert name in functions, f"{path} has no {name}"
