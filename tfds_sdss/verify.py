"""Read a built sample from end to end and report what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import hashlib

from array_record.python import array_record_module
import numpy as np
import pandas as pd
import tensorflow_datasets as tfds
import tqdm

from tfds_sdss import build
from tfds_sdss import catalog
from tfds_sdss import images

_NUM_SHOWN = 20  # problems printed in full


@dataclasses.dataclass(frozen=True)
class Report:
  """What `verify` found.

  Attributes:
    name: the sample, such as `sdss_metallicity/mock/1.0.0`.
    table: one row per split: `recorded` and `read` galaxies, then mean, sd,
      min, quartiles and max of oh_p50 in dex, over the labels that were read.
    problems: one line each; empty if the sample is sound.
  """

  name: str
  table: pd.DataFrame
  problems: list[str]

  def __str__(self) -> str:
    lines = [
      f"{self.name}: 12 + log(O/H) in dex",
      self.table.to_string(float_format="{:.4f}".format),
    ]
    if not self.problems:
      return "\n".join([*lines, "No problems found."])
    lines += [f"{len(self.problems)} problem(s):"]
    lines += [f"  {problem}" for problem in self.problems[:_NUM_SHOWN]]
    if len(self.problems) > _NUM_SHOWN:
      lines += [f"  and {len(self.problems) - _NUM_SHOWN} more"]
    lines += ["Delete the folder and build the sample again."]
    return "\n".join(lines)


def verify(config_name: str, data_dir: str | None = None) -> Report:
  """Checks every galaxy of a sample.

  Each image is decoded, each label compared with its range; no objID and no
  image may come twice, within a split or in two of them; and each shard must
  hold as many galaxies as its builder recorded.

  Args:
    config_name: as for `build.load`.
    data_dir: as for `build.load`.

  Raises:
    DatasetNotBuiltError: if there is no such sample to check.
  """
  builder = build.load(config_name, data_dir)
  absent = {"image", "objid", "oh_p50"} - set(builder.info.features)
  if absent:
    problem = f"the features lack {', '.join(sorted(absent))}"
    return Report(builder.info.full_name, pd.DataFrame(), [problem])
  problems: list[str] = []
  rows = {}
  first_split: dict[int, str] = {}
  first_image: dict[bytes, int] = {}
  for split in catalog.SPLIT_PARTS:
    if split not in builder.info.splits:
      problems.append(f"{split}: the split is absent")
      continue
    problems += _check_shards(builder.info.splits[split])
    labels = []
    for example in _read(builder, split, problems):
      objid, oh_p50, image = (
        example[name] for name in ("objid", "oh_p50", "image")
      )
      labels.append(oh_p50)
      try:
        catalog.check_label(objid, oh_p50)
        images.decode(objid, image)
      except catalog.DataError as error:
        problems.append(f"{split}: {error}")
      if objid in first_split:
        problems.append(
          f"objID {objid} comes twice: in {first_split[objid]} and in {split}"
        )
      first_split.setdefault(objid, split)
      digest = hashlib.sha256(image).digest()
      twin = first_image.setdefault(digest, objid)
      if twin != objid:
        problems.append(
          f"objID {twin} in {first_split[twin]} and {objid} in {split} have "
          "the same image, byte for byte"
        )
    rows[split] = _statistics(builder.info.splits[split].num_examples, labels)
  table = pd.DataFrame.from_dict(rows, orient="index")
  return Report(builder.info.full_name, table, problems)


def _check_shards(split: tfds.core.SplitInfo) -> list[str]:
  """Compares each shard's number of records with the recorded one."""
  problems = []
  for path, recorded in zip(split.filepaths, split.shard_lengths, strict=True):
    try:
      reader = array_record_module.ArrayRecordReader(str(path))
      found = reader.num_records()
      reader.close()
    except RuntimeError as error:
      problems.append(f"{split.name}: {path.name} is damaged: {error}")
      continue
    if found != recorded:
      problems.append(
        f"{split.name}: {path.name} should hold {recorded} galaxies, found "
        f"{found}"
      )
  return problems


def _read(
  builder: tfds.core.DatasetBuilder, split: str, problems: list[str]
) -> Iterator[dict]:
  """Yields the readable examples of a split, images as JPEG bytes."""
  decoders = {"image": tfds.decode.SkipDecoding()}
  try:
    source = builder.as_data_source(split, decoders=decoders)
    indices = range(len(source))
  except RuntimeError as error:
    problems.append(f"{split}: cannot be opened: {error}")
    return
  for index in tqdm.tqdm(
    indices, desc=f"Verifying {split}", unit=" galaxies", disable=None
  ):
    try:
      example = source[index]
    # A damaged record raises what array_record or protobuf see fit.
    except Exception as error:
      problems.append(f"{split}: record {index} cannot be read: {error}")
      continue
    yield example


def _statistics(recorded: int, labels: list[float]) -> dict[str, float]:
  """Returns one row of the report's table."""
  quantiles = (0, 0.25, 0.5, 0.75, 1)
  names = ("min", "25 %", "50 %", "75 %", "max")
  values = np.asarray(labels or [np.nan])
  return {
    "recorded": recorded,
    "read": len(labels),
    "mean": float(np.mean(values)),
    "sd": float(np.std(values)),
    **dict(zip(names, np.quantile(values, quantiles).tolist(), strict=True)),
  }
