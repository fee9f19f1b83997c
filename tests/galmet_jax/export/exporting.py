"""Runs to export, and the code in their cards."""

import re

from galmet_jax import train
from galmet_jax.run import Run
from tests import shrunk


def untrained(data_dir, workdir, **changes):
  """Stores a network of random weights as a checkpoint: (config, workdir)."""
  config = shrunk.config(
    data_dir,
    model__start_at_mean=False,
    eval__tta="none",
    **changes,
  )
  run = Run.prepare(config, workdir)
  state = train.start_phase(run, run.initial_state(), run.phases[0])
  run.latest.save(state, train.Progress().as_json(run))
  return config, workdir


def code_blocks(path):
  """Returns the Python code of a Markdown file."""
  text = path.read_text()
  return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
