"""Runs docs/tutorial.ipynb and stores its outputs: python -m tests.tutorial."""

import base64
import io
import os
import pathlib
import re
import sys
import tempfile

import nbclient
import nbformat
from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]
PATH = ROOT / "docs" / "tutorial.ipynb"
_LARGE = 1000  # pixels


def read() -> nbformat.NotebookNode:
  return nbformat.read(PATH, as_version=4)


def execute(notebook: nbformat.NotebookNode, folder: pathlib.Path) -> None:
  """Executes a notebook in a folder, as if this were the repository."""
  for name in ("main.py", "configs"):
    (folder / name).symlink_to(ROOT / name)
  environment = {
    **os.environ,
    "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
    "PYTHONPATH": str(ROOT),
    # Not the user's settings and history.
    "IPYTHONDIR": str(folder / ".ipython"),
  }
  client = nbclient.NotebookClient(
    notebook,
    kernel_name="python3",
    timeout=1200,
    record_timing=False,
    resources={"metadata": {"path": str(folder)}},
  )
  client.execute(env=environment)


def tidy(notebook: nbformat.NotebookNode, folder: pathlib.Path) -> None:
  """Removes from outputs what differs between machines, and shrinks figures."""
  notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"]}
  for cell in notebook.cells:
    if cell.cell_type == "code":
      cell.outputs = [
        output for output in _joined(cell.outputs) if _is_tidied(output, folder)
      ]


def _is_tidied(output: nbformat.NotebookNode, folder: pathlib.Path) -> bool:
  """Tidies an output in place; returns whether anything is left."""
  if output.output_type == "stream":
    text = output.text.replace(f"{folder}/", "")
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    # Lines of progress bars.
    output.text = re.sub(r"(?m)^.*\d%\|.*\n", "", text)
    return bool(output.text.strip())
  if "image/png" in output.get("data", {}):
    output.data["image/png"] = _smaller(output.data["image/png"])
  return True


def _joined(
  outputs: list[nbformat.NotebookNode],
) -> list[nbformat.NotebookNode]:
  """Joins the parts of a text, which arrive in pieces."""
  joined: list[nbformat.NotebookNode] = []
  for output in outputs:
    last = joined[-1] if joined else {}
    if output.output_type == "stream" and output.name == last.get("name"):
      last["text"] += output.text
    else:
      joined.append(output)
  return joined


def _smaller(png: str) -> str:
  """Stores a large figure in few colours."""
  image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
  if image.width < _LARGE:
    return png
  file = io.BytesIO()
  image.quantize(128).save(file, "PNG", optimize=True)
  return base64.b64encode(file.getvalue()).decode()


def main() -> None:
  notebook = read()
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    execute(notebook, folder)
    tidy(notebook, folder)
  nbformat.write(notebook, PATH)


if __name__ == "__main__":
  main()
