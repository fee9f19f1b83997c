"""The tutorial runs, with a smaller network, and its outputs are clean."""

import nbformat
import numpy as np
import pytest

from tests import shrunk
from tests import tutorial
from tfds_sdss.own import user_tables

NUMBER = 80


@pytest.fixture
def notebook():
  return tutorial.read()


def code(notebook):
  return [cell for cell in notebook.cells if cell.cell_type == "code"]


def change(notebook, old, new):
  """Replaces a text that occurs once."""
  (cell,) = (cell for cell in code(notebook) if old in cell.source)
  assert cell.source.count(old) == 1
  cell.source = cell.source.replace(old, new)


def test_tutorial(notebook, tmp_path, monkeypatch):
  # One device compiles faster than four.
  monkeypatch.delenv("XLA_FLAGS", raising=False)
  fields = {**shrunk.FIELDS, "data.resolution": 32}
  # The command has the stages already; a repeated tuple becomes longer.
  del fields["model.stage_sizes"]
  small = " ".join(f"--config.{name}={each}" for name, each in fields.items())
  change(notebook, "number = 2000", f"number = {NUMBER}")
  change(notebook, " \\\n    | grep", f" {small} \\\n    | grep")
  tutorial.execute(notebook, tmp_path)
  tutorial.tidy(notebook, tmp_path)
  for cell in code(notebook):
    names = [output.get("name") for output in cell.outputs]
    is_command = cell.source.startswith("%%bash")
    assert is_command or "stderr" not in names, cell.outputs
  folder = tmp_path / "runs" / "tutorial"
  table = user_tables.read(folder / "predicted.fits")
  others = user_tables.read(folder / "others.ecsv")
  assert table["name"].tolist() == others["name"].tolist()
  assert len(table) == NUMBER * 3 // 20
  bounds = {f"oh_p50_pred_{name}" for name in ("p16", "p84", "p2p5", "p97p5")}
  assert {"oh_p50_pred", "flags", *bounds} <= set(table.colnames)
  assert np.isfinite(table["oh_p50_pred"]).all()
  (texts,) = code(notebook)[8].outputs
  for text in ("no image", "no RGB image", "unlike those", "is black"):
    assert text in texts.text


def test_outputs_are_those_of_one_run(notebook):
  nbformat.validate(notebook)
  cells = code(notebook)
  assert len(cells) == 10
  assert [cell.execution_count for cell in cells] == list(range(1, 11))
  assert all(cell.outputs for cell in cells)
  outputs = [output for cell in cells for output in cell.outputs]
  assert not [each for each in outputs if each.output_type == "error"]
  assert not [each for each in outputs if each.get("name") == "stderr"]
  assert notebook.metadata.kernelspec.name == "python3"


@pytest.mark.parametrize(
  "text", ["/tmp", "/home", "/root", "/work", "/Users", "\x1b", "Warning"]
)
def test_outputs_do_not_depend_on_a_machine(notebook, text):
  for cell in code(notebook):
    for output in cell.outputs:
      output.get("data", {}).pop("image/png", None)
      assert text not in str(output)


def test_size():
  assert tutorial.PATH.stat().st_size <= 500_000
