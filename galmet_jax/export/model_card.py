"""The model card of an export: README.md with the metadata of the Hub."""

from collections.abc import Mapping
import hashlib
import json
import pathlib
import re
from typing import Any

import huggingface_hub
import ml_collections

from galmet_jax import errors
from galmet_jax import metrics
from galmet_jax import results
from galmet_jax.export import card_text
from galmet_jax.run import Run
from tfds_sdss import files

# In order of preference.
NAMES = ("README.md", "MODEL_CARD.md")
_MARK = re.compile(
  rb"\n<!-- Card of galmet_jax, SHA-256 ([0-9a-f]{64})[^\n]*-->\n\Z"
)


def choose_path(folder: pathlib.Path) -> pathlib.Path:
  """Returns a path at which a card replaces no file of the user.

  It is the first of NAMES that is absent or a card that nobody has edited.

  Raises:
    ConfigError: if both are other files.
  """
  for name in NAMES:
    if _is_free(folder / name):
      return folder / name
  raise errors.ConfigError(
    f"{folder}: expected {' or '.join(NAMES)} to be absent or as an export "
    "wrote it, found other files, which would be lost. Rename one of them and "
    "repeat the command."
  )


def _is_free(path: pathlib.Path) -> bool:
  if not path.is_file():
    # A folder and a link to nowhere stay as well.
    return not path.is_symlink() and not path.exists()
  content = path.read_bytes()
  mark = _MARK.search(content)
  if not mark:
    return False
  digest = hashlib.sha256(content[: mark.start()]).hexdigest()
  return digest.encode() == mark[1]


def make(run: Run, step: int, digests: Mapping[str, str]) -> str:
  """Returns the text of the card.

  Args:
    run: the run.
    step: step of the exported weights.
    digests: SHA-256 of the other files of the export.
  """
  summary = _read_summary(run, step)
  blocks = _blocks(run.config, summary)
  data = _metadata(run.config, blocks)
  text = card_text.text(run, step, digests, blocks)
  card = f"---\n{data.to_yaml()}\n---\n\n{text}"
  digest = hashlib.sha256(card.encode()).hexdigest()
  return (
    f"{card}\n<!-- Card of galmet_jax, SHA-256 {digest}. An export replaces it "
    "unless it was edited. -->\n"
  )


def _read_summary(run: Run, step: int) -> dict[str, Any]:
  """Returns the summary of these weights and views, or an empty one."""
  expected = json.loads(run.config.eval.to_json())
  # If the workdir is read-only, it may still have a summary.
  for folder in (run.results, run.workdir):
    try:
      summary = results.read_summary(folder)
    except FileNotFoundError:
      continue
    except files.DamagedFileError as error:
      print(f"The card has no metrics: {error}")
      return {}
    found = summary.get("eval", {})
    if summary.get("checkpoint", {}).get("step") == step and all(
      found.get(field) == expected[field] for field in ("tta", "bands")
    ):
      return summary
  return {}


def _blocks(
  config: ml_collections.ConfigDict, summary: dict[str, Any]
) -> dict[tuple[str, str], dict[str, Any]]:
  """Returns the metrics of each split and target."""
  splits = summary["eval"]["splits"] if summary else ()
  return {
    (split, target): summary[f"{split}/{target}" if i else split]
    for split in splits
    for i, target in enumerate(config.data.targets)
  }


def _metadata(
  config: ml_collections.ConfigDict,
  blocks: dict[tuple[str, str], dict[str, Any]],
) -> huggingface_hub.ModelCardData:
  source = config.model.pretrained
  is_timm = source.startswith("timm:")
  found = [
    huggingface_hub.EvalResult(
      task_type="image-regression",
      dataset_type=config.data.name,
      dataset_name=config.data.name,
      dataset_split=split,
      metric_type=name,
      metric_name=f"{name} of {target}",
      metric_value=block[name],
      metric_args={"interval_68": block[f"{name}_ci68"]},
    )
    for (split, target), block in blocks.items()
    for name in metrics.NAMES
    if block[name] is not None
  ]
  return huggingface_hub.ModelCardData(
    library_name="jax",
    tags=["astronomy", "galaxies", "metallicity", "arxiv:1810.12913"],
    base_model=source.replace(":", "/") if is_timm else None,
    # The Hub requires a name of results.
    model_name="galmet_jax" if found else None,
    eval_results=found or None,
  )
