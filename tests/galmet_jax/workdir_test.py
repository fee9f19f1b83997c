"""A workdir belongs to one run: its config, settings of JAX and process."""

import jax
import pytest

from configs import quickstart
from galmet_jax import errors
from galmet_jax import workdir as workdir_lib
from tfds_sdss import files


@pytest.fixture
def config():
  return quickstart.get_config()


@pytest.fixture
def started(config, tmp_path):
  """The workdir of a run that has a checkpoint."""
  workdir_lib.write_config(config, tmp_path)
  (tmp_path / "checkpoints" / "latest" / "1").mkdir(parents=True)
  return tmp_path


def test_same_config_is_accepted(config, started):
  workdir_lib.check(config, started)


@pytest.mark.parametrize(
  ("field", "value", "is_refused"),
  [
    ("seed", 7, True),
    ("optim.loss", "mse", True),
    ("eval.tta", "none", False),
    ("cache_dir", "elsewhere", False),
  ],
)
def test_other_fields(config, started, field, value, is_refused):
  config.update_from_flattened_dict({field: value})
  if not is_refused:
    return workdir_lib.check(config, started)
  with pytest.raises(errors.ConfigError, match=rf"{field}: expected .* found"):
    workdir_lib.check(config, started)


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("jax_default_prng_impl", "rbg"),
    ("jax_threefry_partitionable", False),
    ("jax_default_matmul_precision", "bfloat16"),
  ],
)
def test_other_jax_settings_are_refused(config, started, name, value):
  before = jax.config.values[name]
  jax.config.update(name, value)
  try:
    with pytest.raises(errors.ConfigError, match=f"{name}.*variable JAX_"):
      workdir_lib.check(config, started)
  finally:
    jax.config.update(name, before)


def test_64_bits_are_refused():
  jax.config.update("jax_enable_x64", True)
  try:
    with pytest.raises(errors.ConfigError, match="env -u JAX_ENABLE_X64"):
      workdir_lib.check_jax()
  finally:
    jax.config.update("jax_enable_x64", False)
  workdir_lib.check_jax()


def test_damaged_config_is_named_with_the_remedy(config, started):
  path = started / "config.json"
  path.write_bytes(path.read_bytes()[:-9])
  with pytest.raises(files.DamagedFileError, match=f"rm {path}"):
    workdir_lib.check(config, started)
  path.unlink()
  workdir_lib.check(config, started)


def test_config_of_version_0_1_is_accepted(config, started):
  (started / "config.json").write_text(config.to_json())
  workdir_lib.check(config, started)


def test_workdir_is_locked(tmp_path):
  with (
    workdir_lib.lock(tmp_path),
    pytest.raises(files.FolderInUseError, match="in use by process"),
    workdir_lib.lock(tmp_path),
  ):
    pass


def test_workdir_without_checkpoint_is_named(tmp_path):
  with pytest.raises(errors.NoCheckpointError, match="Train first"):
    workdir_lib.check_has_checkpoint(tmp_path / "mistyped")
  assert not list(tmp_path.iterdir())


def test_results_of_a_read_only_run_are_written_elsewhere(
  tmp_path, monkeypatch, capsys
):
  monkeypatch.chdir(tmp_path)
  workdir = tmp_path / "disk" / "run"
  workdir.mkdir(parents=True)
  assert workdir_lib.results_folder(workdir) == workdir
  monkeypatch.setattr("os.access", lambda path, mode: False)
  folder = workdir_lib.results_folder(workdir)
  assert folder.absolute() == tmp_path / "run_results"
  assert folder.is_dir()
  assert "is read-only" in capsys.readouterr().out
