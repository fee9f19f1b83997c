"""Strict JAX on four CPU devices, and a small sample to train on."""

import atexit
import os
import signal
import tempfile

os.environ["XLA_FLAGS"] = (
  os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
)
os.environ["JAX_PLATFORMS"] = "cpu"
# pytest's workers and the runs that tests start share one compilation cache;
# the user's own is neither read nor written.
if "PYTEST_XDIST_WORKER" not in os.environ:
  _cache = tempfile.TemporaryDirectory(prefix="galmet_jax_")
  atexit.register(_cache.cleanup)
  os.environ["XDG_CACHE_HOME"] = _cache.name
  os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _cache.name)
  os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import jax
import pytest

from galmet_jax import train
from galmet_jax.data import augment
from tests import shrunk
from tfds_sdss import build
from tfds_sdss import signals
from tfds_sdss.sdss_metallicity import sdss_metallicity_dataset_builder

jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_addoption(parser):
  parser.addoption(
    "--real-data", help="the unpacked convnet-demo, for tests/real_data.py"
  )
  parser.addoption(
    "--soak", action="store_true", help="ten times the faults; half an hour"
  )


def pytest_collection_modifyitems(items):
  # `make mutants` stops at the first failure: the tests that mirror the changed
  # module go first.
  module, _, _ = os.environ.get("MUTANT_UNDER_TEST", "").rpartition(".")
  mirror = f"tests/{module.replace('.', '/')}"
  items.sort(key=lambda item: not item.nodeid.startswith(mirror))


def pytest_runtest_setup(item):
  # The table of faults in docs/reliability.md is made from these properties.
  for marker in item.iter_markers("faults"):
    item.user_properties.append(("fault", marker.args[0]))


@pytest.fixture(scope="session")
def mock_data_dir(tmp_path_factory):
  """A data_dir with 120 galaxies of the mock sample."""
  data_dir = tmp_path_factory.mktemp("tfds")
  builder = sdss_metallicity_dataset_builder.Builder
  config = builder.builder_configs["mock"]
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(config, "num_examples", 120)
    build.build("mock", str(data_dir))
  return data_dir


@pytest.fixture(scope="session")
def trained_run(mock_data_dir, tmp_path_factory):
  """A finished run of the shrunk config, to be read or copied.

  Returns:
    Its config, folder and summary.
  """
  config = shrunk.config(mock_data_dir)
  workdir = tmp_path_factory.mktemp("trained") / "run"
  return config, workdir, train.train_and_evaluate(config, workdir)


@pytest.fixture
def without_figures():
  with shrunk.without_figures():
    yield


@pytest.fixture
def only_plain_views(monkeypatch):
  """Random views are plain ones: their program compiles faster."""
  monkeypatch.setattr(
    augment, "random_views", lambda key, n, config: augment.plain_views(n)
  )
  yield
  # JAX would use the programs of these views in other tests.
  augment._draw.clear_cache()


@pytest.fixture
def without_optimizations():
  """Compiles in two thirds of the time; the steps take longer."""
  jax.config.update("jax_disable_most_optimizations", True)
  yield
  jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def signals_arrive():
  """The signals' defaults; nohup and a shell's & have some of them ignored."""
  before = {
    number: signal.signal(number, signal.SIG_DFL) for number in signals.SIGNALS
  }
  signal.signal(signal.SIGINT, signal.default_int_handler)
  yield
  for number, handler in before.items():
    signal.signal(number, handler)


@pytest.fixture
def compilations():
  """Durations of the compilations during the test, in seconds."""
  seconds = []

  def record(event, duration, **_):
    if event == "/jax/core/compile/backend_compile_duration":
      seconds.append(duration)

  jax.monitoring.register_event_duration_secs_listener(record)
  # Check that the event exists, because tests assert that none occurs.
  jax.jit(lambda x: x + len(seconds))(1.0)
  assert seconds
  return seconds
