"""The command line: errors on one line, default directories, fast --help."""

import errno
import os
import pathlib
import re
import subprocess
import sys

import pytest

from galmet_jax import errors as errors_lib
import main
import tfds_sdss

ROOT = pathlib.Path(__file__).parents[1]
QUICKSTART = "--config=configs/quickstart.py"


def run_python(*arguments, **variables):
  return subprocess.run(
    [sys.executable, *arguments],
    cwd=ROOT,
    env={**os.environ, **variables},
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


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ("import no_such_module", "line 1: ModuleNotFoundError: No module named"),
    ("def get_config(:", "line 1: SyntaxError"),
    ("def get_config():\n  return 1 // 0", "line 2: ZeroDivisionError"),
    ("def get_config():\n  return {}['a']", "line 2: KeyError: 'a'"),
    ("def get_config():\n  return 5", "return a ConfigDict, found int"),
    ("{}", "expected a Python file with get_config(), found none"),
    ("\0", "expected a Python file, found source code string"),
  ],
)
def test_config_file_that_is_no_config(tmp_path, content, message):
  (tmp_path / "config.py").write_text(content)
  error = error_of(f"--config={tmp_path / 'config.py'}")
  assert message in error
  assert error.count("\n") == 1


def test_config_that_is_a_folder(tmp_path):
  assert "Is a directory" in error_of(f"--config={tmp_path}")


@pytest.mark.parametrize(
  ("path", "message"),
  [
    ("gs://bucket/run", "expected a local path, found a URL"),
    ("file:///run", "expected a local path, found a URL"),
    ("a[1]/b", "without [ ], which the checkpoint library takes"),
    ("what?", "without ?, which"),
    ("~nobody_of_this_name/run", "Give the path without ~"),
  ],
)
def test_workdir_that_cannot_be_used(path, message):
  error = error_of(QUICKSTART, f"--workdir={path}")
  assert f"--workdir={path}" in error
  assert message in error
  assert error.count("\n") == 1


def test_platform_that_is_absent(tmp_path):
  result = run_python(
    *("main.py", QUICKSTART, f"--workdir={tmp_path / 'w'}"),
    JAX_PLATFORMS="no_such_device",
  )
  assert result.returncode == 1
  assert result.stderr.startswith("error: JAX cannot start with JAX_PLATFORMS=")
  assert result.stderr.count("\n") == 1
  assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
  ("error", "message"),
  [
    (OSError(errno.ENOSPC, "No space left on device"), "Free disk space"),
    (
      OSError(errno.EROFS, "Read-only", "/x"),
      "/x: Read-only. Give a folder on",
    ),
    (PermissionError(errno.EACCES, "No access", "/x"), "/x: No access. Change"),
    (
      FileExistsError(errno.EEXIST, "Exists", "/x"),
      "It is a file: give a folder",
    ),
    (OSError(errno.EFBIG, "File too large", "/x"), "ulimit -f"),
    (OSError(errno.EIO, "Input/output error", "/x"), "Check the disk"),
    (MemoryError(), "The memory is full. Lower --config.train.batch_size"),
    (RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nat"), "Out of memory. L"),
    (errors_lib.ConfigError("own message"), "error: own message"),
  ],
)
def test_errors_that_a_user_can_mend(error, message):
  with (
    pytest.raises(SystemExit, match=message) as raised,
    main.user_errors_on_one_line(),
  ):
    raise error
  assert "\n" not in raised.value.code
  assert raised.value.code.startswith("error: ")


def test_errors_of_the_program_keep_their_traceback():
  with pytest.raises(ZeroDivisionError), main.user_errors_on_one_line():
    _ = 1 // 0


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
    ([QUICKSTART, "--workdir=~/a"], str(pathlib.Path.home() / "a")),
  ],
)
def test_default_workdir(arguments, workdir):
  program = "import main, sys; main.parse_flags(sys.argv); "
  program += "print(main.workdir())"
  result = run_python("-c", program, *arguments)
  assert result.stdout.strip() == workdir, result.stderr


@pytest.mark.parametrize(
  "field", ["data.resolution", "cache_dir", "eval.bands"]
)
def test_none_is_no_text(field):
  program = "import main, sys; main.parse_flags(sys.argv); "
  program += f"print(main._CONFIG.value.{field})"
  config = "--config=configs/resnet34.py:resolution"
  result = run_python("-c", program, config, f"--config.{field}=None")
  assert result.stdout == "None\n", result.stderr


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
