"""Workarounds for XLA's CPU backend.

benchmarks/README.md gives the speed with and without them.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import contextvars
import math
from typing import Any

import jax
from jax import lax

# The mesh may be of another platform than JAX's default devices: GPU programs
# can be compiled on a machine without a GPU.
_platform: contextvars.ContextVar[str] = contextvars.ContextVar("platform")


@contextlib.contextmanager
def tracing_for(mesh: jax.sharding.Mesh | None) -> Iterator[None]:
  """Makes `in_use` depend on the mesh; None: a program for all platforms."""
  token = _platform.set(platform(mesh) if mesh else "all")
  try:
    yield
  finally:
    _platform.reset(token)


def platform(mesh: jax.sharding.Mesh) -> str:
  """Returns the platform of the mesh's devices: cpu, gpu or tpu."""
  return mesh.devices.flat[0].platform


def in_use() -> bool:
  """Returns whether JAX traces a program for CPUs."""
  return _platform.get(jax.default_backend()) == "cpu"


def materialize(x: Any) -> Any:
  """Stores the arrays of a pytree, so that no consumer recomputes them.

  The CPU backend fuses elementwise operations into each consumer, across
  several layers, and computes them once per consumer. XLA drops this barrier
  before it fuses unless the program has the `compiler_options` below.
  """
  return lax.optimization_barrier(x) if in_use() else x


def compiler_options(mesh: jax.sharding.Mesh) -> dict[str, Any]:
  """Returns the options to compile for a mesh; empty unless it has CPUs."""
  if platform(mesh) != "cpu":
    return {}
  return {
    # YNNPACK takes several times as long as XLA for gradients of convolutions.
    "xla_cpu_experimental_ynn_fusion_type": "",
    # Keeps the barriers of `materialize` until XLA has fused operations.
    "xla_disable_hlo_passes": "cse_barrier_expander",
  }


def normal(key: jax.Array, shape: Sequence[int], dtype: Any) -> jax.Array:
  """Returns the same numbers as `jax.random.normal`, but compiles faster.

  The CPU backend takes ten times as long to compile a draw with four axes as
  a draw with one.
  """
  return jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)
