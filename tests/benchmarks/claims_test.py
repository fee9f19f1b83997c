import sys

from benchmarks import claims


def test_tables_become_sections_of_one_page(tmp_path, monkeypatch):
  folders = [tmp_path / name for name in ("mock", "real")]
  for folder in folders:
    folder.mkdir()
    title = f"# Claims of the draft: {folder.name}\n"
    (folder / "claims.md").write_text(
      f"{title}\n| a |\n\n## Do colours add up?\n", encoding="utf-8"
    )
  page = tmp_path / "claims.md"
  arguments = ["claims", *map(str, folders), f"--page={page}"]
  monkeypatch.setattr(sys, "argv", arguments)
  claims.main()
  text = page.read_text(encoding="utf-8")
  headings = [line for line in text.splitlines() if line.startswith("#")]
  assert headings == [
    "# The claims of the paper's draft, tested",
    "## Claims of the draft: mock",
    "### Do colours add up?",
    "## Claims of the draft: real",
    "### Do colours add up?",
  ]
