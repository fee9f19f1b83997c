"""The command line: errors on one line, default directories, fast --help."""

import pathlib
import re
import subprocess
import sys

import pytest

import tfds_sdss

ROOT = pathlib.Path(__file__).parents[1]
QUICKSTART = "--config=configs/quickstart.py"


def run_python(*arguments):
  return subprocess.run(
    [sys.executable, *arguments],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=120,
  )


def error_of(*arguments):
  """Returns what main.py prints before it exits with status 1."""
  result = run_python("main.py", *arguments)
  assert result.returncode == 1
  assert result.stderr.startswith("error: ")
  assert "Traceback" not in result.stderr
  return result.stderr


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ([], "flag --config is missing"),
    ([QUICKSTART, "--mode=tran"], "flag --mode=tran: value should be one of"),
    ([QUICKSTART, "--wrokdir=w"], "'wrokdir'. Did you mean: workdir?"),
    ([QUICKSTART, "w"], "expected flags only, found w"),
    ([QUICKSTART, "--process_id=one"], "flag --process_id=one: invalid"),
    (
      [QUICKSTART, "--config.optim.wieght_decay=1"],
      "flag --config.optim.wieght_decay=1: no field 'wieght_decay'. Did you "
      'mean "weight_decay"',
    ),
    (
      [QUICKSTART, "--config.optin.weight_decay=1"],
      "flag --config.optin.weight_decay=1: no field 'optin'. Did you mean "
      '"optim"',
    ),
    (
      [QUICKSTART, "--config.train.batch_size=many"],
      "flag --config.train.batch_size=many: invalid",
    ),
    (["--config=configs/quikstart.py"], "No such file"),
    (["--config=configs/quickstart.py:a"], "this config has no variants"),
    (
      ["--config=configs/resnet34.py:as_publihsed"],
      "flag --config=configs/resnet34.py:as_publihsed: variant 'as_publihsed'; "
      "expected one of as_published, as_intended",
    ),
  ],
)
def test_mistyped_flags(arguments, message):
  error = error_of(*arguments)
  assert message in error
  assert "Example: python main.py --config=" in error
  assert error.count("\n") == 1


def test_batch_that_the_devices_cannot_share(tmp_path):
  error = error_of(
    QUICKSTART, f"--workdir={tmp_path / 'w'}", "--config.train.batch_size=18"
  )
  assert "train.batch_size=18 does not divide over 4" in error
  assert error.count("\n") == 1
  assert not (tmp_path / "w").exists()


def test_absent_data_set_gives_the_commands_of_both_sources(tmp_path):
  flag = f"--config.data.data_dir={tmp_path}"
  error = error_of(
    "--config=configs/resnet34.py", f"--workdir={tmp_path / 'w'}", flag
  )
  assert not (tmp_path / "w").exists()
  for source, config in (("zenodo", "zenodo"), ("dr17", "resnet34")):
    commands = [
      f"python -m tfds_sdss fetch --source={source} --out=staging_{source}",
      f"python -m tfds_sdss build sdss_metallicity/{source} "
      f"--data_dir={tmp_path} --staging=staging_{source}",
      f"python main.py --config=configs/{config}.py {flag}",
    ]
    assert "\n  ".join(commands) in error


@pytest.mark.parametrize(
  ("arguments", "workdir"),
  [
    ([QUICKSTART], "runs/quickstart"),
    (["--config", "configs/resnet34.py:r_band"], "runs/resnet34_r_band"),
    ([QUICKSTART, "--mode=ensemble"], "runs/quickstart_ensemble"),
  ],
)
def test_default_workdir(arguments, workdir):
  program = "import main, sys; main.parse_flags(sys.argv); "
  program += "print(main.default_workdir())"
  result = run_python("-c", program, *arguments)
  assert result.stdout.strip() == workdir, result.stderr


def test_help_is_fast_because_it_imports_little():
  program = (
    "import sys, main; "
    "heavy = {'jax', 'tensorflow_datasets', 'matplotlib'} & set(sys.modules); "
    "sys.exit(str(heavy) if heavy else 0)"
  )
  result = run_python("-c", program)
  assert result.returncode == 0, result.stderr


def test_citation_has_the_version_of_the_package():
  citation = (ROOT / "CITATION.cff").read_text()
  (version,) = re.findall(r"^version: (.*)$", citation, re.MULTILINE)
  assert version == tfds_sdss.__version__
