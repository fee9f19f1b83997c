"""How fast training and evaluation are, beside PyTorch and the hardware.

  python -m benchmarks.train --quick --torch-python=PATH   # 3 minutes, 2 cores
  python -m benchmarks.train --torch-python=PATH           # everything

One JSON line per figure on standard output, progress on standard error. The
steps are those that `main.py` compiles, of the published ResNet-34 on 128×128
random images: on a CPU batches of 32 in float32, on a GPU of 640 in bfloat16.
One device of them is used.

PyTorch, in a process of its own, takes turns with ours: batch, precision and
device are the same. `ratio_to_torch` is PyTorch's time over ours in the same
round, the median of the rounds; above one ours is faster. The handicap is ours:
our steps gather, augment and normalise their images, PyTorch's are given the
same finished batch each time.

The sections:

  steps   images/s; memory beside arguments; what XLA made of it; compilation
          with an empty cache and a filled one; and how near that is to what a
          large matrix product and a large copy reach in the same minutes
  frozen  the recipe's first phase, which trains the head only
  sweep   64 to 2560 views in a batch (to 160 on a CPU), of one image and of
          five views each
  tta     test-time augmentation: the plain view and four random ones
  recipe  all of it, ten epochs of 76,800 images and the test set of 20,466, of
          noise, without checkpoints or validation (not on a CPU: hours)
"""

import argparse
import os
import tempfile

import jax

from benchmarks import bench as benches
from benchmarks import sections
from benchmarks import steps
from galmet_jax.devices import sharding

_SECTIONS = {
  "steps": sections.time_steps,
  "frozen": sections.time_frozen,
  "sweep": sections.time_sweep,
  "tta": sections.time_tta,
  "recipe": sections.time_recipe,
}


def main() -> None:
  """Runs the benchmarks."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add("--quick", action="store_true", help="a part of the section steps only")
  add("--sections", default=",".join(_SECTIONS), help="default: %(default)s")
  add("--torch-python", metavar="PATH", help="a Python that has PyTorch")
  args = parser.parse_args()
  wanted = args.sections.split(",")
  if unknown := set(wanted) - set(_SECTIONS):
    parser.error(f"no section {sorted(unknown)}; there are {list(_SECTIONS)}")
  # Else JAX takes most of the memory, and PyTorch has to do with the rest.
  os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
  # On a cluster, this process's first.
  mesh = sharding.make_mesh(jax.local_devices()[:1])
  on_cpu = mesh.devices.flat[0].platform == "cpu"
  config = steps.make_config(
    32 if on_cpu else 640, "float32" if on_cpu else "bfloat16"
  )
  bench = benches.Bench(config, mesh, args.quick, args.torch_python)
  benches.say(f"JAX {jax.__version__} on {bench.device.device_kind}")
  # Empty, so that the first compilation is cold.
  with tempfile.TemporaryDirectory() as folder:
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    for name in ("steps",) if args.quick else wanted:
      benches.say(f"Section {name}")
      _SECTIONS[name](bench)


if __name__ == "__main__":
  main()
