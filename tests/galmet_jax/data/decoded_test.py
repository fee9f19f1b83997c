"""What a second start reads instead of decoding, and when it must not."""

import os
import resource
import shutil
import sys
import time

import ml_collections
import numpy as np
import pytest

from galmet_jax.data import decoded
from galmet_jax.data import galaxies
from tests.tfds_sdss import fake_layout
from tfds_sdss import build
from tfds_sdss import catalog
from tfds_sdss import images
from tfds_sdss.errors import DataError
import tfds_sdss.mock
from tfds_sdss.sdss_metallicity import sdss_metallicity_dataset_builder

NUMBER = 30


def config_of(crop=128, targets=("oh_p50", "z")):
  return ml_collections.ConfigDict({"crop": crop, "targets": targets})


def build_fake(folder, lowest=8.5):
  """Builds a sample; its name is the same whatever its labels are."""
  fake = fake_layout.mock_module(
    [
      fake_layout.example(fake_layout.OBJID + i, lowest + i / 100)
      for i in range(NUMBER)
    ]
  )
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(sys.modules, "tfds_sdss.mock.render", fake)
    patch.setattr(tfds_sdss.mock, "render", fake, raising=False)
    builder = sdss_metallicity_dataset_builder.Builder
    patch.setattr(builder.builder_configs["mock"], "num_examples", NUMBER)
    return build.build("mock", str(folder))


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
  return build_fake(tmp_path_factory.mktemp("fake"))


@pytest.fixture(scope="module")
def plain(sample):
  return galaxies.load(sample, config_of())


@pytest.fixture(scope="module")
def filled(sample, tmp_path_factory):
  """A cache with the sample in it."""
  cache = tmp_path_factory.mktemp("cache")
  galaxies.load(sample, config_of(), cache)
  return cache


@pytest.fixture
def cache(filled, tmp_path):
  """A copy of it, to be spoilt."""
  return shutil.copytree(filled, tmp_path / "cache")


@pytest.fixture
def decodings(monkeypatch):
  """Lists the objids that are decoded."""
  seen: list[int] = []
  decode = images.decode

  def counted(objid, *args):
    seen.append(objid)
    return decode(objid, *args)

  monkeypatch.setattr(images, "decode", counted)
  return seen


def only_folder(cache):
  (folder,) = (cache / "decoded").iterdir()
  return folder


def check_same(found, expected):
  assert list(found) == list(expected)
  for name, split in expected.items():
    assert list(found[name].columns) == list(split.columns)
    for one, other in (
      (found[name].objid, split.objid),
      (found[name].images, split.images),
      (found[name].targets, split.targets),
      *((found[name].columns[c], split.columns[c]) for c in split.columns),
    ):
      assert type(one) is type(other) is np.ndarray
      assert one.dtype == other.dtype
      assert one.flags.c_contiguous
      np.testing.assert_array_equal(one, other)


def test_second_load_decodes_nothing(
  sample, plain, tmp_path, decodings, capsys, monkeypatch
):
  check_same(galaxies.load(sample, config_of(), tmp_path), plain)
  assert len(decodings) == NUMBER
  folder = only_folder(tmp_path)
  assert folder.name.startswith("sdss_metallicity-mock-2.0.0-")
  assert f"kept in {folder} (0.0 GB)" in capsys.readouterr().out
  decodings.clear()
  monkeypatch.setattr(decoded, "write", None)
  second = galaxies.load(sample, config_of(), tmp_path)
  assert decodings == []
  assert capsys.readouterr().out == ""
  check_same(second, plain)
  assert not second["train"].images.flags.writeable
  # Callers may change them.
  second["train"].targets[0] = np.nan
  second["train"].columns["z"][0] = np.nan
  check_same(galaxies.load(sample, config_of(), tmp_path), plain)


def test_one_set_serves_every_config(sample, cache, decodings):
  config = config_of(crop=64, targets=("z",))
  splits = galaxies.load(sample, config, cache)
  assert decodings == []
  check_same(splits, galaxies.load(sample, config))


def test_missing_values_are_kept(tmp_path):
  column = np.array([np.nan, 1.5, -0.0], np.float32)
  split = decoded.Galaxies(
    np.array([1, 2, 2**62], np.int64),
    np.arange(36, dtype=np.uint8).reshape(3, 2, 2, 3),
    {"a": column},
  )
  kept = tmp_path / "decoded" / "set"
  decoded.write(kept, dict.fromkeys(decoded.SPLITS, split))
  splits = decoded.read(kept)
  assert splits is not None
  found = splits["test"]
  assert found.columns["a"].tobytes() == column.tobytes()
  assert found.objid.tolist() == [1, 2, 2**62]
  np.testing.assert_array_equal(found.images, split.images)


def refusal(sample, config, cache):
  with pytest.raises(DataError) as error:
    galaxies.load(sample, config, cache)
  return str(error.value)


@pytest.mark.parametrize(
  "changes", [{"crop": 129}, {"crop": 95}, {"targets": ("oh_p5",)}]
)
def test_refusals_are_the_same(sample, cache, tmp_path, changes):
  config = config_of(**changes)
  expected = refusal(sample, config, None)
  assert refusal(sample, config, cache) == expected
  assert refusal(sample, config, tmp_path / "empty") == expected
  # What is refused is not kept.
  assert not (tmp_path / "empty").exists()


def test_bad_label_is_refused_from_the_cache_too(sample, cache, monkeypatch):
  monkeypatch.setattr(catalog, "LABEL_RANGE", (8.7, 10.0))
  expected = refusal(sample, config_of(), None)
  assert "between 8.7 and 10" in expected
  assert refusal(sample, config_of(), cache) == expected


def test_damaged_shard_is_refused_in_spite_of_the_cache(tmp_path):
  builder = build_fake(tmp_path / "data")
  cache = tmp_path / "cache"
  galaxies.load(builder, config_of(), cache)
  (path,) = builder.data_path.glob("*test.array_record*")
  data = bytearray(path.read_bytes())
  data[2000] ^= 1
  path.write_bytes(bytes(data))
  assert f"{path.name} is damaged" in refusal(builder, config_of(), cache)


@pytest.mark.parametrize("part", ["images.npy", "columns.npz"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_flipped_byte_is_found_and_mended(
  sample, plain, cache, decodings, capsys, split, part
):
  path = only_folder(cache) / f"{split}-{part}"
  sound = path.read_bytes()
  data = bytearray(sound)
  data[len(data) // 2] ^= 1
  path.write_bytes(bytes(data))
  check_same(galaxies.load(sample, config_of(), cache), plain)
  assert len(decodings) == NUMBER
  first, second = capsys.readouterr().out.splitlines()
  assert f"{split}-{part}: expected SHA-256" in first
  assert "kept in" in second
  if part == "images.npy":  # a zip archive has the time in it
    assert path.read_bytes() == sound
  check_same(galaxies.load(sample, config_of(), cache), plain)
  assert len(decodings) == NUMBER


@pytest.mark.parametrize(
  ("name", "change"),
  [
    ("manifest.json", None),
    ("manifest.json", lambda data: data[:100]),
    ("manifest.json", lambda data: b"[]"),
    ("manifest.json", lambda data: data.replace(b"test-images", b"images")),
    ("train-images.npy", lambda data: data[:1000]),
    ("validation-columns.npz", None),
  ],
)
def test_incomplete_set_is_not_believed(
  sample, plain, cache, capsys, name, change
):
  path = only_folder(cache) / name
  data = path.read_bytes()
  path.unlink()
  if change:
    path.write_bytes(change(data))
  check_same(galaxies.load(sample, config_of(), cache), plain)
  assert "is damaged" in capsys.readouterr().out
  check_same(galaxies.load(sample, config_of(), cache), plain)
  assert capsys.readouterr().out == ""


def test_half_written_set_is_ignored_and_swept_away(sample, plain, cache):
  folder = only_folder(cache)
  for name in ("old", "new"):
    (cache / "decoded" / f"{name}.partial").mkdir()
  folder.rename(cache / "decoded" / "old.partial" / folder.name)
  yesterday = time.time() - 86_500
  os.utime(cache / "decoded" / "old.partial", (yesterday, yesterday))
  check_same(galaxies.load(sample, config_of(), cache), plain)
  # The new one may be another process's, at work.
  assert {path.name for path in (cache / "decoded").iterdir()} == {
    folder.name,
    "new.partial",
  }


def test_kill_while_writing_leaves_nothing_to_believe(
  sample, tmp_path, monkeypatch
):
  def killed(*args, **arrays):
    raise KeyboardInterrupt

  monkeypatch.setattr(np, "savez", killed)
  with pytest.raises(KeyboardInterrupt):
    galaxies.load(sample, config_of(), tmp_path)
  assert list((tmp_path / "decoded").iterdir()) == []


def test_full_disk(sample, plain, tmp_path, capsys):
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
  try:
    splits = galaxies.load(sample, config_of(), tmp_path)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  check_same(splits, plain)
  (line,) = capsys.readouterr().out.splitlines()
  assert line.startswith("The decoded images cannot be kept: ")
  assert list((tmp_path / "decoded").iterdir()) == []


def test_two_processes_at_once(sample, plain, tmp_path, monkeypatch, capsys):
  save = np.save
  done: list[bool] = []

  def save_after_another(path, array):
    if not done:
      done.append(True)
      galaxies.load(sample, config_of(), tmp_path)
    save(path, array)

  monkeypatch.setattr(np, "save", save_after_another)
  check_same(galaxies.load(sample, config_of(), tmp_path), plain)
  assert capsys.readouterr().out.count("\n") == 1  # of the first to finish
  only_folder(tmp_path)
  check_same(galaxies.load(sample, config_of(), tmp_path), plain)


def test_same_name_built_from_other_galaxies(
  sample, plain, tmp_path, cache, decodings
):
  other = build_fake(tmp_path / "other", lowest=8.9)
  assert other.info.full_name == sample.info.full_name
  splits = galaxies.load(other, config_of(), cache)
  assert len(decodings) == NUMBER
  check_same(splits, galaxies.load(other, config_of()))
  assert splits["train"].targets[0, 0] > plain["train"].targets[0, 0]
  # Both are kept.
  check_same(galaxies.load(sample, config_of(), cache), plain)
  assert len(decodings) == 2 * NUMBER
