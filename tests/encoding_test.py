"""Text files are UTF-8 in every locale."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SOURCES = sorted(
  path
  for folder in ("galmet_jax", "tfds_sdss", "configs", "benchmarks")
  for path in (ROOT / folder).rglob("*.py")
)


def opens_text(call):
  """Whether a call opens a text file without an encoding."""
  name = getattr(call.func, "attr", getattr(call.func, "id", ""))
  if any(word.arg == "encoding" for word in call.keywords):
    return False
  if name in ("read_text", "write_text", "fdopen"):
    return True
  owner = getattr(getattr(call.func, "value", None), "id", "")
  if name != "open" or owner in ("Image", "tarfile", "os", "self"):
    return False
  texts = [
    node.value
    for arg in call.args
    for node in ast.walk(arg)
    if isinstance(node, ast.Constant)
  ]
  return not any("b" in text for text in texts if isinstance(text, str))


@pytest.mark.parametrize(
  "path", [ROOT / "main.py", *SOURCES], ids=lambda path: path.name
)
def test_every_text_file_has_an_encoding(path):
  tree = ast.parse(path.read_text(encoding="utf-8"))
  calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
  assert [call.lineno for call in calls if opens_text(call)] == []
