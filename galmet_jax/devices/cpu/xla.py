"""XLA's CPU backend: what it is to do otherwise than by default, and how.

What each of these gains: benchmarks/README.md.
"""

from typing import Any

import jax
from jax import lax


def in_use() -> bool:
  """Returns whether programs are compiled for it."""
  return jax.default_backend() == "cpu"


def materialize(x: Any) -> Any:
  """Has arrays written to memory once, and read by whoever needs them.

  This backend computes elementwise chains again for each reader, over several
  layers if nothing stops it; on others there is no need.
  """
  # The barrier alone is no stop: see the options.
  return lax.optimization_barrier(x) if in_use() else x


def compiler_options(mesh: jax.sharding.Mesh) -> dict[str, Any]:
  """Returns the options for a program on these devices; none but for CPUs."""
  if mesh.devices.flat[0].platform != "cpu":
    return {}
  return {
    # YNNPACK's gradients of convolutions take several times as long as those
    # of XLA's own.
    "xla_cpu_experimental_ynn_fusion_type": "",
    # Keeps optimization_barrier until fusion is done.
    "xla_disable_hlo_passes": "cse_barrier_expander",
  }
