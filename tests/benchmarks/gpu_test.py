"""A rehearsal of the command for the day a GPU is there."""

import json
import pathlib
import sys

import pytest

from benchmarks import contenders
from benchmarks import gpu
from benchmarks import gpu_sections
from benchmarks import table
from galmet_jax.data import dataset

ROOT = pathlib.Path(__file__).parents[2]


# main.py's own tests have random views.
@pytest.mark.usefixtures(
  "only_plain_views", "without_optimizations", "without_figures"
)
def test_sections_run_at_the_first_try(monkeypatch, capsys):
  # These are replaced by the sections.
  monkeypatch.setattr(dataset, "load", dataset.load)
  monkeypatch.setattr(dataset, "describe", dataset.describe)
  monkeypatch.setattr(contenders, "_CPU_ROUND_S", 0)
  for section in gpu.SECTIONS:
    argv = ["gpu_sections", section.name, f"--variant={section.variant}"]
    if section.variant != "deterministic":
      monkeypatch.setattr(sys, "argv", [*argv, "--rehearse"])
      gpu_sections.main()
  lines = capsys.readouterr().out.splitlines()
  rows = [json.loads(line) for line in lines]
  assert {row["name"] for row in rows} == {
    *("start_s", "compile_s", "kernels", "temp_megabytes_per_image"),
    *("train_all_sgdr", "train_head_only", "recipe_s", "evaluate"),
    *("record_ms_per_step", "train, one graph", "train, as it is"),
    *("train, without layout", "train, without one gradient"),
    "train, without index",
  }
  assert len(table.rows(rows)) == 2 + len(rows)


def rehearse(folder, monkeypatch):
  """Runs the command in `folder`; returns its lines."""
  monkeypatch.chdir(ROOT)
  argv = ["gpu", f"--out={folder}", "--rehearse"]
  monkeypatch.setattr(sys, "argv", argv)
  gpu.main()
  lines = (folder / "gpu.jsonl").read_text().splitlines()
  return [json.loads(line) for line in lines]


def test_failed_section_leaves_the_others(tmp_path, monkeypatch):
  sections = (gpu.Section("absent", 600), gpu.Section("host", 600))
  monkeypatch.setattr(gpu, "SECTIONS", sections)
  with pytest.raises(SystemExit, match="sections failed: absent"):
    rehearse(tmp_path, monkeypatch)
  failure, figure = map(
    json.loads, (tmp_path / "gpu.jsonl").read_text().splitlines()
  )
  assert "KeyError" in (tmp_path / "absent.log").read_text()
  assert failure["section"] == "absent"
  assert figure["name"] == "record_ms_per_step"
