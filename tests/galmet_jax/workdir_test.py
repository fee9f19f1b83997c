"""A workdir belongs to one run: its config, settings of JAX and process."""

import jax
import numpy as np
import pytest

from configs import quickstart
from galmet_jax import errors
from galmet_jax import workdir as workdir_lib
from galmet_jax.data import galaxies
from tfds_sdss import files


@pytest.fixture
def config():
  return quickstart.get_config()


def check(config, workdir, splits=()):
  workdir_lib.check(workdir_lib.describe(config, dict(splits)), workdir)


@pytest.fixture
def started(config, tmp_path):
  """The workdir of a run that has a checkpoint."""
  workdir_lib.write_config(workdir_lib.describe(config, {}), tmp_path)
  (tmp_path / "checkpoints" / "latest" / "1").mkdir(parents=True)
  return tmp_path


def test_same_config_is_accepted(config, started):
  check(config, started)


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
  before = workdir_lib.flatten(config.to_dict())[field]
  config.update_from_flattened_dict({field: value})
  if not is_refused:
    return check(config, started)
  with pytest.raises(errors.ConfigError) as error:
    check(config, started)
  assert f"\n  {field}: expected {before!r}, found {value!r}\n" in str(
    error.value
  )


def test_all_other_fields_and_the_remedy_are_named(config, started):
  config.update_from_flattened_dict({"seed": 7, "optim.loss": "mse"})
  with pytest.raises(errors.ConfigError) as error:
    check(config, started)
  first, loss, seed, remedy = str(error.value).split("\n")
  assert first == f"{started} holds a run with another config:"
  assert loss.startswith("  optim.loss: ")
  assert seed.startswith("  seed: ")
  assert remedy.startswith("Give a new --workdir, or resume the run with its ")
  assert "galaxies (galaxies.*)" in remedy
  assert remedy.endswith("JAX_* environment variables (jax.*).")


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
    with pytest.raises(
      errors.ConfigError, match=rf"jax\.{name}: expected .* found"
    ):
      check(config, started)
  finally:
    jax.config.update(name, before)


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("jax_enable_x64", True),
    ("jax_numpy_dtype_promotion", "strict"),
    ("jax_disable_jit", True),
  ],
)
def test_unsupported_jax_settings_are_refused(name, value):
  before = jax.config.values[name]
  jax.config.update(name, value)
  try:
    with pytest.raises(errors.ConfigError, match=f"env -u {name.upper()}"):
      workdir_lib.check_jax()
  finally:
    jax.config.update(name, before)
  workdir_lib.check_jax()


def test_run_with_other_jax_settings_is_recognized(config):
  content = workdir_lib.describe(config, {})
  assert not workdir_lib.has_other_jax_settings(content)
  # Version 0.1 did not store them.
  assert not workdir_lib.has_other_jax_settings({})
  content["jax"] = {**content["jax"], "jax_default_prng_impl": "rbg"}
  assert workdir_lib.has_other_jax_settings(content)


def test_all_processes_compare_config_and_galaxies(config, monkeypatch):
  def compared():
    found = {}
    monkeypatch.setattr(
      "galmet_jax.devices.processes.assert_equal_across_processes",
      found.__setitem__,
    )
    content = workdir_lib.describe(config, {"train": make_split()})
    workdir_lib.check_in_all_processes(content)
    return found

  first = compared()
  assert set(first) == {"the config", "the train split"}
  assert (
    first["the train split"]
    == workdir_lib.describe(config, {"train": make_split()})["galaxies"][
      "train"
    ].encode()
  )
  config.data.data_dir = "elsewhere"
  assert compared() == first
  config.seed += 1
  assert compared()["the config"] != first["the config"]


def test_damaged_config_is_named_with_the_remedy(config, started):
  path = started / "config.json"
  path.write_bytes(path.read_bytes()[:-9])
  with pytest.raises(files.DamagedFileError, match=f"rm {path}"):
    check(config, started)
  path.unlink()
  check(config, started)


def test_config_of_version_0_1_is_accepted(config, started):
  (started / "config.json").write_text(config.to_json())
  check(config, started, {"train": make_split()})


def test_run_without_a_newer_field_had_its_former_value(config, started):
  content = workdir_lib.read_config(started)
  del content["augment"]["symmetries"]
  workdir_lib.write_config(content, started)
  check(config, started)
  config.augment.symmetries = False
  with pytest.raises(errors.ConfigError, match="symmetries: expected True"):
    check(config, started)


def test_workdir_is_locked(tmp_path):
  with (
    workdir_lib.lock(tmp_path),
    pytest.raises(files.FolderInUseError, match="in use by process"),
    workdir_lib.lock(tmp_path),
  ):
    pass


def test_workdir_with_checkpoint_is_accepted(started):
  workdir_lib.check_has_checkpoint(started)


def test_kill_during_the_first_save_leaves_no_checkpoint(started):
  step = started / "checkpoints" / "latest" / "1"
  step.rename(step.with_name("1.orbax-checkpoint-tmp"))
  with pytest.raises(errors.NoCheckpointError):
    workdir_lib.check_has_checkpoint(started)


def test_folders_are_created_and_can_be_written(tmp_path):
  folder = tmp_path / "new" / "run"
  for _ in range(2):
    workdir_lib.check_writable(folder)
  found = {path.name for path in folder.iterdir()}
  assert found == {"figures", "tensorboard"}
  (folder / "figures").rmdir()
  (folder / "figures").touch()
  with pytest.raises(errors.ConfigError) as error:
    workdir_lib.check_writable(folder)
  assert str(error.value).startswith(
    f"--workdir={folder}: expected a folder that can be written, found "
  )
  assert str(folder / "figures") in str(error.value)


def test_config_is_written_to_a_new_folder(config, tmp_path):
  content = workdir_lib.describe(config, {})
  workdir_lib.write_config(content, tmp_path / "new" / "run")
  assert workdir_lib.read_config(tmp_path / "new" / "run") == content


def test_workdir_without_checkpoint_is_named(tmp_path):
  folder = tmp_path / "mistyped"
  with pytest.raises(errors.NoCheckpointError) as error:
    workdir_lib.check_has_checkpoint(folder)
  assert f" in {folder}/checkpoints" in str(error.value)
  assert str(error.value).endswith("Train first: leave out --mode.")
  assert not list(tmp_path.iterdir())


def test_results_of_a_read_only_run_are_written_elsewhere(
  tmp_path, monkeypatch, capsys
):
  monkeypatch.chdir(tmp_path)
  workdir = tmp_path / "disk" / "run"
  workdir.mkdir(parents=True)
  assert workdir_lib.results_folder(workdir) == workdir
  new = tmp_path / "new" / "run"
  assert workdir_lib.results_folder(new) == new
  assert new.is_dir()
  monkeypatch.setattr("os.access", lambda path, mode: False)
  folder = workdir_lib.results_folder(workdir)
  assert folder.absolute().parent == tmp_path
  assert folder.name.startswith("run_results_")
  assert folder != workdir_lib.results_folder(tmp_path / "other" / "run")
  assert folder.is_dir()
  assert workdir_lib.results_folder(workdir) == folder
  assert "is read-only" in capsys.readouterr().out


def make_split(label=8.5, pixel=0):
  return galaxies.Split(
    np.arange(3),
    np.stack([np.full((2, 2, 3), x, np.uint8) for x in (0, pixel, 0)]),
    np.full((3, 1), label, np.float32),
    {},
  )


@pytest.mark.parametrize("change", [{"label": 8.6}, {"pixel": 1}])
def test_other_galaxies_are_refused(config, tmp_path, change):
  content = workdir_lib.describe(config, {"train": make_split()})
  workdir_lib.write_config(content, tmp_path)
  (tmp_path / "checkpoints" / "latest" / "1").mkdir(parents=True)
  check(config, tmp_path, {"train": make_split()})
  with pytest.raises(errors.ConfigError, match=r"galaxies\.train: expected"):
    check(config, tmp_path, {"train": make_split(**change)})


@pytest.mark.parametrize(
  ("mark", "kind"),
  [
    ("checkpoints", "run"),
    ("fold_0", "ensemble"),
    ("paper_table.csv", "reproduction"),
  ],
)
def test_results_of_another_kind_are_not_overwritten(tmp_path, mark, kind):
  (tmp_path / mark).mkdir()
  for other in ("run", "ensemble", "reproduction"):
    if other == kind:
      workdir_lib.check_kind(tmp_path, other)
    else:
      with pytest.raises(errors.ConfigError, match=f"one of a {kind}") as error:
        workdir_lib.check_kind(tmp_path, other)
      assert str(error.value).endswith("Give another --workdir.")
