"""The page docs/claims.md, from the runs of configs/claims.py.

python -m benchmarks.claims runs/claims_mock runs/claims_demo500
"""

import argparse
import pathlib

from tfds_sdss import files

_INTRODUCTION = """\
# The claims of the paper's draft, tested

The draft of Wu & Boada (2019) gives advice without numbers. Each claim is a
pair of systems that differ in one thing, trained and tested on the same
galaxies:

```bash
python main.py --config=configs/claims.py:mock --mode=reproduce
python main.py --config=configs/claims.py:demo500 --mode=reproduce \\
    --config.data.manual_dir=demo400 --config.data.data_dir=demo400/built
python main.py --config=configs/claims.py:dr17 --mode=reproduce  # on a GPU
python -m benchmarks.claims runs/claims_mock runs/claims_demo500  # this page
```

`configs/claims.py` defines the systems. `gri` is the base: one cosine cycle
from random weights, 6 epochs on the mock, 30 on the real galaxies. Everything
else is as in the base, also the learning rate, unless the name says so. The
tables are for a ResNet-10 of a quarter of the width, on 32 pixels and few
galaxies: the paper's ResNet-34 on 76,772 of them may behave otherwise, and
nobody has run that yet. `pretrained` starts here from a network that has
learned other properties of synthetic galaxies; ImageNet weights are in the
config for SDSS only. Among so many pairs, one or two may be told apart by
chance, and on another CPU verdicts at the border change. Each of the first two
commands takes 20 to 30 minutes on two CPU cores.
"""


def main() -> None:
  """Writes the page."""
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("workdirs", nargs="+", type=pathlib.Path)
  parser.add_argument(
    "--page", type=pathlib.Path, default=pathlib.Path("docs/claims.md")
  )
  args = parser.parse_args()
  parts = [_INTRODUCTION]
  for workdir in args.workdirs:
    # A level below the heading of the page.
    table = (workdir / "claims.md").read_text(encoding="utf-8")
    parts.append(table.replace("# ", "## ", 1).replace("\n## Do", "\n### Do"))
  files.write_atomically(args.page, "\n".join(parts).encode())


if __name__ == "__main__":
  main()
