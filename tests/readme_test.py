"""The README's commands for galaxies of one's own run as written."""

import os
import pathlib
import re
import subprocess
import sys

from astropy.table import Table

from galmet_jax.data import galaxies
from tests import shrunk
from tfds_sdss import build
from tfds_sdss.own import user_tables

ROOT = pathlib.Path(__file__).parents[1]


def commands() -> list[str]:
  text = (ROOT / "README.md").read_text(encoding="utf-8")
  section = text.partition("## Your own galaxies")[2].partition("\n## ")[0]
  (block,) = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
  return block.replace("\\\n", " ").strip().splitlines()


def write_galaxies(folder: pathlib.Path, data_dir: pathlib.Path) -> None:
  """Writes mine.csv, others.csv and images/ from the mock's galaxies."""
  builder = build.load("mock", str(data_dir))
  (folder / "images").mkdir()
  for split, name in (("train", "mine"), ("test", "others")):
    objid, columns, jpegs = galaxies.read_split(builder, split)
    names = [f"G {number}" for number in objid]
    files = [f"{number}.jpg" for number in objid]
    for file, data in zip(files, jpegs, strict=True):
      (folder / "images" / file).write_bytes(data)
    table = Table({"name": names, "file": files, "oh": columns["oh_p50"]})
    table.write(folder / f"{name}.csv")


def test_commands_for_your_own_galaxies(mock_data_dir, tmp_path):
  write_galaxies(tmp_path, mock_data_dir)
  for name in ("main.py", "configs"):
    (tmp_path / name).symlink_to(ROOT / name)
  environment = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "TFDS_DATA_DIR": str(tmp_path / "data"),
  }
  fields = {**shrunk.FIELDS, "data.resolution": 32, "eval.figures": False}
  small = [f"--config.{name}={value}" for name, value in fields.items()]
  lines = commands()
  assert len(lines) == 3
  for line in lines:
    argv = line.split()
    assert argv.pop(0) == "python"
    is_training = "--config=" in line
    done = subprocess.run(
      [sys.executable, *argv, *(small if is_training else [])],
      cwd=tmp_path,
      env=environment,
      capture_output=True,
      text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
  table = user_tables.read(tmp_path / "predicted.fits")
  others = user_tables.read(tmp_path / "others.csv")
  assert table["name"].tolist() == others["name"].tolist()
  assert {"oh_p50_pred", "oh_p50_pred_p16", "flags"} <= set(table.colnames)
  assert (tmp_path / "runs/custom_mine/summary.json").exists()
