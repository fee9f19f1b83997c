"""Kills, flipped bits and restarts; `--soak` tries ten times as many."""

import gc
import shutil
import signal
import statistics

import jax
import numpy as np
import pytest

from galmet_jax import checkpoints
from galmet_jax import errors
from galmet_jax import manifest
from galmet_jax import train
from galmet_jax.devices import sharding
from galmet_jax.run import Run
from tests.galmet_jax import saved
from tests.soak import jobs
from tests.soak import killing
from tests.tfds_sdss import fake_staging
from tests.tfds_sdss.fetch import stand_in

# Number of kills in CI and in the soak.
KILLS = {
  jobs.train: (2, 14),
  jobs.ensemble: (1, 8),
  jobs.reproduce: (1, 6),
  jobs.fetch: (2, 6),
  jobs.build: (2, 6),
}
FLIPPED_BITS = (20, 200)
CYCLES = (3, 60)


@pytest.fixture
def soak(request):
  """0 in CI, 1 in the soak; index of the constants above."""
  return int(request.config.getoption("--soak"))


@pytest.fixture
def argument_of(mock_data_dir, tmp_path):
  """Returns a function from a job to its argument beside the folder."""
  staging = fake_staging.write(tmp_path / "staging", fake_staging.table(60))
  frame = stand_in.frame_of(40)
  with stand_in.StandIn(frame, stand_in.jpeg_of) as server:
    special = {jobs.fetch: server.base_url, jobs.build: staging.root}
    yield lambda job: special.get(job, mock_data_dir)


@pytest.fixture(scope="module")
def training(mock_data_dir, tmp_path_factory):
  """The job that trains; it is done once without interruption."""
  folder = tmp_path_factory.mktemp("training")
  return killing.Job(jobs.train, folder, mock_data_dir)


@pytest.mark.faults("kill -9 at a random moment")
@pytest.mark.parametrize("function", KILLS, ids=lambda job: job.__name__)
def test_killed_job_ends_with_the_same_bits(
  function, soak, training, argument_of, tmp_path, record_property
):
  number = KILLS[function][soak]
  record_property("tried", number)
  job = killing.Job(function, tmp_path, argument_of(function))
  if function is jobs.train:
    job = training
  job.kill_at_random(number, seed=1)


@pytest.mark.faults("a part of the state is lost: the comparison notices")
def test_lost_progress_is_noticed(training, tmp_path):
  half = jobs.Kill(training.uninterrupted[1].operations // 2)
  losing = jobs.train_and_lose_progress
  assert training.start(tmp_path, half, losing)[0] == -signal.SIGKILL
  assert training.start(tmp_path, None, losing)[0] == 0
  differing = training.differing(tmp_path)
  assert differing
  assert "metrics.jsonl" not in differing


def small_run(data_dir, workdir):
  """Returns a run and a function from a state, as numpy, to its successor."""
  run = Run.prepare(jobs.config_of(data_dir), workdir)
  (phase,) = run.phases
  step = train.compile_step(
    run, train.start_phase(run, run.initial_state(), phase), phase
  )

  def advance(state, number):
    state = sharding.replicate(state, run.mesh)
    for _ in range(number):
      state, _ = step(state, run.data["train"].batch(int(state.step)))
    return jax.device_get(state)

  return run, phase, advance


@pytest.mark.faults("a part of the state is lost: the comparison notices")
def test_every_lost_leaf_is_noticed(mock_data_dir, tmp_path, record_property):
  run, phase, advance = small_run(mock_data_dir, tmp_path)
  fresh = jax.device_get(train.start_phase(run, run.initial_state(), phase))
  state = advance(fresh, 3)
  expected = manifest.digests(advance(state, 2))
  paths, structure = jax.tree_util.tree_flatten_with_path(state)
  record_property("tried", len(paths))
  unnoticed = []
  for lost, (path, leaf) in enumerate(paths):
    assert np.any(leaf), f"{path} is zero before it is lost"
    leaves = [x if i != lost else x * 0 for i, (_, x) in enumerate(paths)]
    ended = advance(jax.tree.unflatten(structure, leaves), 2)
    if manifest.digests(ended) == expected:
      unnoticed.append(jax.tree_util.keystr(path))
  assert not unnoticed


# A failed restore leaves Orbax's coroutines and its event loop to the garbage
# collector, which warns about them.
@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.faults("a bit of a checkpoint flips")
def test_flipped_bit_never_gives_a_wrong_state(soak, tmp_path, record_property):
  good = tmp_path / "good"
  store = checkpoints.Checkpoints(good, keep=2)
  for step in (1, 2, 3):
    store.save(saved.make_state(step), {"best_rmse": step / 10})
  expected = {step: manifest.digests(saved.make_state(step)) for step in (2, 3)}
  files = sorted(path for path in good.rglob("*") if path.is_file())
  rng = np.random.default_rng(0)
  record_property("tried", FLIPPED_BITS[soak])
  outcomes = {"restored": 0, "fell back": 0, "stopped": 0}
  for number in range(FLIPPED_BITS[soak]):
    folder = tmp_path / f"flipped_{number}"
    shutil.copytree(good, folder)
    path = folder / files[rng.integers(len(files))].relative_to(good)
    flip_a_bit(path, rng)
    try:
      restored = checkpoints.Checkpoints(folder, keep=2).restore(saved.abstract)
    except errors.ConfigError:
      outcomes["stopped"] += 1
      continue
    finally:
      shutil.rmtree(folder)
    step = int(restored.state.step)
    assert manifest.digests(restored.state) == expected[step], path
    assert restored.progress == {"best_rmse": step / 10}, path
    outcomes["restored" if step == 3 else "fell back"] += 1
  # Otherwise the flips were not in the files that are read.
  assert outcomes["restored"]
  assert outcomes["fell back"]
  gc.collect()  # emits Orbax's warnings where they are ignored


def flip_a_bit(path, rng):
  data = bytearray(path.read_bytes())
  if data:
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
  path.write_bytes(data)


@pytest.mark.faults("start, kill and resume in a cycle")
def test_restarts_leak_neither_memory_nor_handles_nor_disk(
  soak, training, tmp_path, record_property
):
  record_property("tried", CYCLES[soak])
  rng = np.random.default_rng(2)
  usages, sizes, steps = [], [], [0]
  for _ in range(CYCLES[soak]):
    kill = jobs.Kill(int(rng.integers(200, 300)), rng.uniform(0, 0.2))
    exit_code, usage = training.start(tmp_path, kill, jobs.train_long)
    assert exit_code == -signal.SIGKILL
    usages.append(usage)
    sizes.append(killing.size(tmp_path / "checkpoints"))
    steps.append(killing.last_step(tmp_path))
  assert (np.diff(steps) > 0).all()
  half = len(usages) // 2
  for name, values, tolerance in (
    ("memory", [usage.memory for usage in usages], 1.05),
    ("handles", [usage.handles for usage in usages], 1.5),
    ("checkpoints", sizes, 1.5),
  ):
    early = statistics.median(values[:half])
    late = statistics.median(values[half:])
    assert late <= tolerance * early, f"{name}: {values}"
