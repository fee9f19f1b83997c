"""The sections of a model card."""

from collections.abc import Mapping
import datetime
import pathlib
from typing import Any

import jax
import ml_collections
import numpy as np

from galmet_jax import first_weights
from galmet_jax import metrics
from galmet_jax import quantities
from galmet_jax.calibration import judgement
from galmet_jax.data import augment
from galmet_jax.data import dataset
from galmet_jax.export import card_code
from galmet_jax.run import Run
import tfds_sdss
from tfds_sdss import sample_info

# Metrics without a unit.
_PURE = ("r2", "slope", "outlier_fraction")
_CITATION = """```bibtex
@article{wu2019,
  author = {Wu, John F. and Boada, Steven},
  title = {Using convolutional neural networks to predict galaxy metallicity from three-colour images},
  journal = {Monthly Notices of the Royal Astronomical Society},
  volume = {484},
  pages = {4683--4694},
  year = {2019},
  eprint = {1810.12913},
  archiveprefix = {arXiv},
}
```"""  # noqa: E501


def text(
  run: Run,
  step: int,
  digests: Mapping[str, str],
  blocks: Mapping[tuple[str, str], Mapping[str, Any]],
) -> str:
  """Returns the card below its metadata.

  Args:
    run: the run.
    step: step of the exported weights.
    digests: SHA-256 of the other files of the export.
    blocks: metrics of each split and target; empty without an evaluation.
  """
  config = run.config
  frame = augment.make_frame(config.data, config.eval.bands)
  info = dataset.describe(config)
  size = info.image_size
  targets = " and ".join(_label(target) for target in config.data.targets)
  sections = [
    f"# {targets} from images of galaxies\n\n{_introduction(config)}",
    f"## Use\n\n{card_code.use(size)}",
    f"## Images\n\n{_images(frame, info)}",
    f"## Predictions\n\n{_predictions(run, info)}",
    f"## Training\n\n{_training(run, step)}",
    f"## Results\n\n{_results(config, blocks)}",
    f"## Limits\n\n{_limits(blocks)}",
  ]
  if "weights.safetensors" in digests:
    sections.append(f"## Weights\n\n{card_code.weights(config, frame, size)}")
  files = [f"| `{name}` | `{digest}` |" for name, digest in digests.items()]
  rows = "\n".join(["| file | SHA-256 |", "|---|---|", *files])
  sections.append(f"## Files\n\n{rows}")
  sections.append(f"## Citation\n\n{_CITATION}")
  return "\n\n".join(sections) + "\n"


def _label(target: str) -> str:
  return "12 + log(O/H)" if target == "oh_p50" else f"`{target}`"


def _introduction(config: ml_collections.ConfigDict) -> str:
  today = datetime.datetime.now(datetime.UTC).date()
  return (
    f"A convolutional network trained on `{config.data.name}` by galmet_jax "
    f"{tfds_sdss.__version__}, after [Wu & Boada (2019)]"
    f"(https://arxiv.org/abs/1810.12913). Exported on {today} with JAX "
    f"{jax.__version__}."
  )


def _images(frame: augment.Frame, info: sample_info.Info) -> str:
  size = info.image_size
  bands = [info.bands[augment.BANDS.index(band)] for band in frame.bands]
  averaged = ""
  if frame.resolution < frame.crop:
    averaged = f", averaged to {frame.resolution} × {frame.resolution}"
  return "\n".join(
    [
      f"- Array: uint8 `[b, {size}, {size}, 3]`, any number b of images.",
      f"- Images of the data set: {info.describe_images()}. petroR90_r is "
      "SDSS's radius of 90 % of the Petrosian flux in r.",
      f"- The network gets the central {frame.crop} × {frame.crop} pixels"
      f"{averaged}, in the bands {', '.join(bands)}, normalised by ImageNet's "
      "mean and deviation; `predict.jaxexp` does this.",
    ]
  )


def _predictions(run: Run, info: sample_info.Info) -> str:
  lines = [
    "float32 `[b, T]`, one column for each target:",
    "",
    "| target | meaning | unit | training labels |",
    "|---|---|---|---|",
  ]
  labels = run.data["train"].split.targets
  for i, target in enumerate(run.config.data.targets):
    column = info.by_name[target]
    meaning, unit = column.description, column.unit or "none"
    low, high = np.nanmin(labels[:, i]), np.nanmax(labels[:, i])
    lines.append(
      f"| `{target}` | {meaning} | {unit} | {low:#.3g} to {high:#.3g} |"
    )
  return "\n".join(lines)


def _training(run: Run, step: int) -> str:
  config, model = run.config, run.config.model
  pretrained = model.pretrained
  if first_weights.is_run(pretrained):
    pretrained = f"the run {pathlib.PurePath(pretrained).name}"
  elif not pretrained.startswith("timm:"):
    # The folder is of no use to others.
    pretrained = pathlib.PurePath(pretrained).name or "random weights"
  sizes = {name: len(data.split) for name, data in run.data.items()}
  phases = [
    f"{phase.name} ({(phase.end - phase.start) / run.steps_per_epoch:g} epochs)"
    for phase in run.phases
  ]
  block = f", {model.block} blocks" if model.network == "resnet" else ""
  rows = {
    "galaxies": ", ".join(f"{n:,} {name}" for name, n in sizes.items()),
    "network": (
      f"{model.network}, stages {'-'.join(map(str, model.stage_sizes))}{block},"
      f" width {model.width}, {model.dtype}"
    ),
    "first weights": pretrained,
    "loss": config.optim.loss,
    "optimizer": config.optim.optimizer,
    "phases": ", ".join(phases),
    "batch": f"{config.train.batch_size} galaxies",
    "weights exported": (
      f"step {step} of {run.num_steps} (`eval.checkpoint="
      f"{config.eval.checkpoint}`)"
    ),
    "seed": config.seed,
  }
  if config.data.control != "none":
    rows["control"] = f"{config.data.control}: this network must fail"
  lines = ["| | |", "|---|---|"]
  lines += [f"| {name} | {value} |" for name, value in rows.items()]
  return "\n".join([*lines, "", "`config.json` of the run has every field."])


def _results(
  config: ml_collections.ConfigDict,
  blocks: Mapping[tuple[str, str], Mapping[str, Any]],
) -> str:
  if not blocks:
    return (
      "None: `summary.json` is not about these weights with the views "
      f"`eval.tta={config.eval.tta}`. Run `--mode=evaluate`, then "
      "`--mode=export`, both with these `eval` fields."
    )
  lines = [
    "Value and 68 % bootstrap interval, for the mean prediction over the views "
    f"of `eval.tta={config.eval.tta}`. `predict.jaxexp` predicts from the "
    "first of them, the image as it is.",
    "",
    "| split | target | galaxies | "
    + " | ".join(f"{name}" for name in metrics.NAMES)
    + " |",
    "|---" * (3 + len(metrics.NAMES)) + "|",
  ]
  for (split, target), block in blocks.items():
    cells = []
    for name in metrics.NAMES:
      spec = quantities.digits(None if name in _PURE else block["rmse"])
      low, high = (metrics.show(x, spec) for x in block[f"{name}_ci68"])
      cells.append(f"{metrics.show(block[name], spec)} ({low} to {high})")
    lines.append(
      f"| {split} | `{target}` | {block['n']} | {' | '.join(cells)} |"
    )
  means = [
    metrics.show(block["rmse_training_mean"], quantities.digits(block["rmse"]))
    + f" ({split}, `{target}`)"
    for (split, target), block in blocks.items()
    if "rmse_training_mean" in block
  ]
  lines += [
    "",
    f"{', '.join(_PURE)} have no unit, the others that of the target.",
  ]
  if means:
    lines.append(
      f"The training mean as a prediction has the RMSE {', '.join(means)}."
    )
  return "\n".join([*lines, *_coverage(blocks)])


def _coverage(
  blocks: Mapping[tuple[str, str], Mapping[str, Any]],
) -> list[str]:
  """Returns lines on the intervals of a calibration; none without one."""
  rows = [
    f"| {split} | `{target}` | "
    + " | ".join(metrics.show(value, ".3f") for value in row)
    + " |"
    for (split, target), block in blocks.items()
    for row in block.get("calibration", {}).get("coverage", ())
    if row[0] in judgement.WRITTEN
  ]
  if not rows:
    return []
  return [
    "",
    "The calibration of the run gives each prediction intervals, which "
    "`predict.jaxexp` does not return. Fraction of galaxies inside, and the "
    "range that is expected for so few galaxies:",
    "",
    "| split | target | level | inside | from | to |",
    "|---|---|---|---|---|---|",
    *rows,
  ]


def _limits(blocks: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
  lines = [
    "- `predict.jaxexp` returns a number for every image, also of a star or of "
    "blank sky: it has neither intervals nor checks.",
    "- Images of another pixel scale, stretch or order of bands give wrong "
    "predictions. A scale that is wrong by a factor of 1.4, or a missing band, "
    "cannot be noticed in the image.",
    "- Predictions outside the range of the training labels are "
    "extrapolations.",
    "- The labels are estimates with errors of their own, and the training "
    "galaxies are a selection: see the data set's description.",
    "- Predictions shrink to the mean of the training labels: high values are "
    "predicted too low, low ones too high.",
  ]
  slopes = [
    f"{metrics.show(block['slope'], '.2f')} ({split}, `{target}`)"
    for (split, target), block in blocks.items()
  ]
  if slopes:
    lines[-1] += (
      " The slope of predicted on true values is " + ", ".join(slopes) + "."
    )
  return "\n".join(lines)
