"""What a user sees who mistypes."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]


def run_main(*arguments):
  return subprocess.run(
    [sys.executable, "main.py", *arguments],
    cwd=ROOT,
    env=os.environ,
    capture_output=True,
    text=True,
    timeout=120,
  )


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (
      ["--config=configs/quickstart.py", "--config.optim.wieght_decay=1"],
      "error: 'wieght_decay' Did you mean \"weight_decay\"",
    ),
    (["--config=configs/quikstart.py"], "configs/quikstart.py"),
    (
      ["--config=configs/resnet34.py:as_publihsed"],
      "expected one of as_published, as_intended, one_cycle",
    ),
    (
      ["--config=configs/quickstart.py", "--mode=tran"],
      "train|evaluate|lr_find|ensemble|reproduce|export",
    ),
    ([], "flag --config"),
  ],
)
def test_mistyped_flags(arguments, message, tmp_path):
  result = run_main(*arguments, f"--workdir={tmp_path / 'w'}")
  assert result.returncode != 0
  assert message in result.stderr
  assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
  ("field", "message"),
  [
    ("data.crop=128", "python -m tfds_sdss fetch --source=dr17"),
    ("train.batch_size=18", "train.batch_size=18 does not divide over 4"),
  ],
)
def test_what_a_user_can_mend_is_one_line(field, message, tmp_path):
  # The data set is not built; the batch is looked at before that.
  result = run_main(
    "--config=configs/resnet34.py",
    f"--workdir={tmp_path / 'w'}",
    f"--config.data.data_dir={tmp_path}",
    f"--config.{field}",
  )
  assert result.returncode == 1
  assert result.stderr.startswith("error: ")
  assert message in result.stderr
  assert "Traceback" not in result.stderr
  assert not (tmp_path / "w").exists()


def test_help_is_fast_because_it_imports_little():
  check = (
    "import sys, main; "
    "heavy = {'jax', 'tensorflow_datasets', 'matplotlib'} & set(sys.modules); "
    "sys.exit(str(heavy) if heavy else 0)"
  )
  result = subprocess.run(
    [sys.executable, "-c", check],
    cwd=ROOT,
    env=os.environ,
    capture_output=True,
    text=True,
  )
  assert result.returncode == 0, result.stderr
